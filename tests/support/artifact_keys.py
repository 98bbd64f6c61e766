"""Keys that sign artifacts, made once for a test run, and what they sign with."""

from base64 import b64encode
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from device_agent.artifact.reader import load_keys

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(public: PublicKeyTypes) -> bytes:
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _rsa(manifest: bytes) -> bytes:
    return b64encode(RSA.sign(manifest, padding.PKCS1v15(), SHA256()))


def _der(manifest: bytes) -> bytes:
    return b64encode(EC.sign(manifest, ec.ECDSA(SHA256())))


def _raw(manifest: bytes) -> bytes:
    r, s = decode_dss_signature(EC.sign(manifest, ec.ECDSA(SHA256())))
    return b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def _ed25519(manifest: bytes) -> bytes:
    return b64encode(ED.sign(manifest))


SIGNERS: dict[str, Callable[[bytes], bytes]] = {
    "rsa": _rsa,
    "ecdsa as r and s": _raw,
    "ecdsa in der": _der,
    "ed25519": _ed25519,
}
PEMS = [pem(RSA.public_key()), pem(EC.public_key()), pem(ED.public_key())]
KEYS = load_keys(PEMS)
OWNER = {
    "rsa": KEYS[0],
    "ecdsa as r and s": KEYS[1],
    "ecdsa in der": KEYS[1],
    "ed25519": KEYS[2],
}
