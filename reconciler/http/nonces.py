"""Nonces without a table of those given out: only the spent ones are remembered."""

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta

from reconciler.domain.ingest import Nonce

LIFETIME = timedelta(minutes=5)
ENROL = "enrol"  # the purpose of nonces that anybody may ask for
_TIME, _RANDOM, _MAC = 8, 16, 16  # bytes


class NonceMint:
    """Makes nonces for a purpose (ENROL, or the id of the one device key that may use it) and
    knows its own: expiry, random bytes, and a MAC over both and the purpose."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def mint(self, purpose: str, now: datetime) -> str:
        expires = int((now + LIFETIME).timestamp())
        body = expires.to_bytes(_TIME, "big") + secrets.token_bytes(_RANDOM)
        return base64.urlsafe_b64encode(body + self._mac(body, purpose)).rstrip(b"=").decode()

    def check(self, text: str, purpose: str, now: datetime) -> Nonce | None:
        """Return the nonce if it is ours, for this purpose and not expired. It may be spent."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(raw) != _TIME + _RANDOM + _MAC:
            return None
        body, mac = raw[:-_MAC], raw[-_MAC:]
        if not hmac.compare_digest(mac, self._mac(body, purpose)):
            return None
        expires = datetime.fromtimestamp(int.from_bytes(body[:_TIME], "big"), UTC)
        return Nonce(raw.hex(), expires) if now < expires else None

    def _mac(self, body: bytes, purpose: str) -> bytes:
        message = body + purpose.encode()
        return hmac.new(self._secret, message, hashlib.sha256).digest()[:_MAC]
