"""The device's key: who it is, and the signature under everything that it says.

The id is the hash of the public key, so there is nothing else to keep. P-256 keys sign as ES256,
Ed25519 keys as EdDSA (RFC 7518, RFC 8037). The API of cryptography 38, Debian 12's, is enough.
"""

import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from device_agent import durable
from device_agent.errors import AgentError
from schemas.canonical import canonical, key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_LIMIT = 16 * 1024  # bytes of the key file
_COORDINATE = 32  # bytes of r and of s in a P-256 signature


class UnusableKey(AgentError):
    """The key file must not or cannot be used. A person has to look at it; the message says why."""


class Identity:
    """Signs with a private key. Build it with `load_or_create`."""

    def __init__(
        self, algorithm: str, public_key_der: bytes, sign: Callable[[bytes], bytes]
    ) -> None:
        self.algorithm, self.public_key_der, self._sign = algorithm, public_key_der, sign
        self.key_id = key_id(public_key_der)

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Return the identity in `path`, made now if there is none. Raises UnusableKey.

        The file is a PEM of PKCS #8 that only its owner may read. However many processes get here
        at once, there is one key, and it is on the disk before anybody has seen it.
        """
        try:
            if not path.exists():
                _create(path)
            pem = _read(path)
        except OSError as error:
            raise UnusableKey(f"{path}: {error.strerror}") from error
        return cls._from_pem(pem, path)

    @classmethod
    def _from_pem(cls, pem: bytes, path: Path) -> Self:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UnusableKey(
                f"{path}: not a PEM of an unencrypted private key: {error}"
            ) from error
        match key:
            case ed25519.Ed25519PrivateKey():
                return cls("EdDSA", _public_der(key), key.sign)
            case ec.EllipticCurvePrivateKey() if isinstance(key.curve, ec.SECP256R1):
                return cls("ES256", _public_der(key), lambda data: _sign_es256(key, data))
            case _:
                raise UnusableKey(f"{path}: neither a P-256 nor an Ed25519 key")

    def sign(self, payload: bytes, typ: str) -> str:
        """Return the compact JWS of `payload`, with `alg`, `kid` and `typ` in its header."""
        header = canonical({"alg": self.algorithm, "kid": self.key_id, "typ": typ})
        signed = f"{_base64url(header)}.{_base64url(payload)}"
        return f"{signed}.{_base64url(self._sign(signed.encode('ascii')))}"


def _create(path: Path) -> None:
    """Make a P-256 key in `path`, unless somebody else has just done so. Raises OSError."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    durable.make_directory(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    durable.write(draft, pem, 0o600)
    try:
        path.hardlink_to(draft)  # as O_EXCL, but with the bytes in it already
    except FileExistsError:
        return
    finally:
        durable.remove(draft)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise UnusableKey(
                f"{path}: mode {mode:04o} lets others at the device's private key;"
                f" make a new key if they may have read it, else: chmod 600 {path}"
            )
        return file.read(_LIMIT)


def _public_der(key: "PrivateKeyTypes") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _sign_es256(key: "EllipticCurvePrivateKey", data: bytes) -> bytes:
    """Return r and s, 32 bytes each: JWS does not use the DER that the library gives."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
