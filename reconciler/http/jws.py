"""The signed bodies of devices: compact JWS (RFC 7515), opened strictly and verified by PyJWT.

The algorithm follows from the registered key, never from the header, and the header can bring
neither a key nor the address of one.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from functools import lru_cache

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from reconciler.errors import ReconcilerError
from schemas.canonical import key_id
from schemas.refusal import Refusal
from schemas.wire.decode import parse

MAX_HEADER = 1024  # bytes
_HEADER = frozenset({"alg", "kid", "typ"})
_KEY_ID = re.compile(r"sha256:[0-9a-f]{64}")
_ALGORITHMS = {name: jwt.get_algorithm_by_name(name) for name in ("ES256", "EdDSA")}


class JwsRefused(ReconcilerError):
    """Answer with `status`. `reason` is one of few words, for counting."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass(frozen=True, slots=True)
class Envelope:
    """A JWS that was taken apart, not verified: `payload` may only be looked at."""

    algorithm: str
    kid: str
    payload: bytes
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class DeviceKey:
    id: str
    algorithm: str
    public: EllipticCurvePublicKey | Ed25519PublicKey


def open_envelope(body: bytes, typ: str) -> Envelope:
    """Take a compact JWS of type `typ` apart. Raises JwsRefused: 400 for what is none, 401 for a
    header that is not exactly `alg`, `kid` and this `typ`."""
    parts = body.split(b".")
    if len(parts) != 3:
        raise JwsRefused(400, "format", "the body is not a compact JWS: header.payload.signature")
    try:
        header = parse(_decoded(parts[0]), limit=MAX_HEADER)
    except Refusal as error:
        raise JwsRefused(400, "format", f"JWS header: {error}") from error
    if not isinstance(header, dict) or not all(isinstance(each, str) for each in header.values()):
        raise JwsRefused(401, "header", "JWS header: alg, kid and typ as strings")
    if header.keys() != _HEADER:
        raise JwsRefused(401, "header", "JWS header: exactly alg, kid and typ are accepted")
    if header["typ"] != typ:
        raise JwsRefused(401, "type", f"JWS header: typ {typ} is expected here")
    if not _KEY_ID.fullmatch(header["kid"]):  # the database is asked for it, with others in a batch
        raise JwsRefused(401, "header", "JWS header: kid is sha256: and 64 hex digits")
    payload, signature = _decoded(parts[1]), _decoded(parts[2])
    signed = parts[0] + b"." + parts[1]
    return Envelope(header["alg"], header["kid"], payload, signed, signature)


def verify(envelope: Envelope, key: DeviceKey) -> None:
    """Return if `key` signed the envelope with its own algorithm; raise JwsRefused (401) if not."""
    if envelope.algorithm != key.algorithm:
        raise JwsRefused(401, "algorithm", f"this key signs with {key.algorithm}")
    if envelope.kid != key.id:
        raise JwsRefused(401, "signature", "kid is not the id of the signing key")
    algorithm = _ALGORITHMS[key.algorithm]
    if not algorithm.verify(envelope.signed, key.public, envelope.signature):
        raise JwsRefused(401, "signature", "the signature does not verify")


@lru_cache(maxsize=16_384)
def device_key(public_key: str) -> DeviceKey:
    """Return the key in base64 of a SubjectPublicKeyInfo DER. Raises ValueError: what is wrong.

    Only the one DER spelling of a key is accepted, so that one key has one id.
    """
    try:
        der = base64.b64decode(public_key, validate=True)
        public = load_der_public_key(der)
    except Exception as error:
        raise ValueError("not base64 of a SubjectPublicKeyInfo") from error
    match public:
        case EllipticCurvePublicKey(curve=SECP256R1()):
            algorithm = "ES256"
        case Ed25519PublicKey():
            algorithm = "EdDSA"
        case _:
            raise ValueError("only P-256 and Ed25519 keys are accepted")
    if public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != der:
        raise ValueError("not the canonical DER encoding of the key")
    return DeviceKey(key_id(der), algorithm, public)


def _decoded(part: bytes) -> bytes:
    if b"=" in part:
        raise JwsRefused(400, "format", "base64url in a JWS has no padding")
    try:
        return base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise JwsRefused(400, "format", "a part of the JWS is not base64url") from error
