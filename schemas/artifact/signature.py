"""`manifest.sig`: one signature over the manifest's bytes, in base64. Pure.

RSA (PKCS#1 v1.5) and ECDSA P-256 over SHA-256 as in Mender's format; Ed25519 is an extension of
ours, which mender-artifact does not know. The library that verifies takes time and memory to load:
who reads artifacts without keys does not import this module.
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable
from typing import cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from schemas.artifact.trusted_key import TrustedKey
from schemas.canonical import key_id
from schemas.refusal import Code, Refusal

RSA_BITS = 2048  # at least
HALF = 32  # bytes of r, and of s

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


def trusted_key(pem: bytes) -> TrustedKey:
    """Return the public key in `pem`. Raises Refusal (E_FORMAT): not PEM, or of another kind."""
    try:
        public = load_pem_public_key(pem)
    except (ValueError, TypeError) as error:
        raise Refusal(Code.FORMAT, "not a public key in PEM") from error
    if not is_supported(public):
        raise Refusal(
            Code.FORMAT, f"not RSA of {RSA_BITS} bits or more, nor ECDSA P-256, nor Ed25519"
        )
    known = cast(PublicKey, public)
    spki = known.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return TrustedKey(key_id(spki), known)


def is_supported(public: object) -> bool:
    """Say whether artifacts can be signed by the owner of `public`."""
    match public:
        case RSAPublicKey():
            return public.key_size >= RSA_BITS
        case EllipticCurvePublicKey():
            return isinstance(public.curve, SECP256R1)
        case _:
            return isinstance(public, Ed25519PublicKey)


def verify(manifest: bytes, signature: bytes, keys: Iterable[TrustedKey]) -> str:
    """Return the id of the key of `keys` that signed `manifest`; `signature` is the file.

    Raises Refusal (E_SIGNATURE).
    """
    try:
        raw = b64decode(signature.rstrip(b"\n"), validate=True)
    except binascii.Error as error:
        raise _refused("manifest.sig is not base64") from error
    for key in keys:
        if _is_signed(manifest, raw, key.public):
            return key.id
    raise _refused("no trusted key has signed the manifest")


def _is_signed(manifest: bytes, raw: bytes, public: PublicKey) -> bool:
    try:
        match public:
            case RSAPublicKey():
                public.verify(raw, manifest, PKCS1v15(), SHA256())
            case EllipticCurvePublicKey():
                public.verify(_der(raw), manifest, ECDSA(SHA256()))
            case Ed25519PublicKey():
                public.verify(raw, manifest)
    except InvalidSignature:
        return False
    return True


def _der(raw: bytes) -> bytes:
    """Return an ECDSA signature in DER; mender-artifact writes r and s, hardware keys DER."""
    if len(raw) != 2 * HALF:
        return raw
    r, s = int.from_bytes(raw[:HALF], "big"), int.from_bytes(raw[HALF:], "big")
    return encode_dss_signature(r, s)


def _refused(what: str) -> Refusal:
    return Refusal(Code.SIGNATURE, what, remedy="sign it with a key that this device trusts")
