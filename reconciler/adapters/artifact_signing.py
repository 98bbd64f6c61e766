"""Signs artifacts of Mender's format with a private key in a file."""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from reconciler.errors import Misconfigured
from schemas.artifact.signature import HALF, is_supported, trusted_key
from schemas.artifact.trusted_key import TrustedKey
from schemas.refusal import Refusal

KEY_LIMIT = 16 * 1024  # bytes

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class ArtifactSigner:
    """Signs manifests; the key's kind decides how."""

    private: PrivateKey

    def sign(self, manifest: bytes) -> bytes:
        """Return the content of `manifest.sig`."""
        match self.private:
            case RSAPrivateKey():
                raw = self.private.sign(manifest, PKCS1v15(), SHA256())
            case EllipticCurvePrivateKey():
                r, s = decode_dss_signature(self.private.sign(manifest, ECDSA(SHA256())))
                raw = r.to_bytes(HALF, "big") + s.to_bytes(HALF, "big")
            case Ed25519PrivateKey():
                raw = self.private.sign(manifest)
        return b64encode(raw)


def load_artifact_signer(path: Path) -> ArtifactSigner:
    """Return the signer of the private key in `path`. Raises Misconfigured."""
    try:
        private = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"key {path}: not an unencrypted private key in PEM") from error
    if not hasattr(private, "public_key") or not is_supported(private.public_key()):
        raise Misconfigured(
            f"key {path}: not RSA of 2048 bits or more, nor ECDSA P-256, nor Ed25519"
        )
    return ArtifactSigner(cast(PrivateKey, private))


def load_trusted_key(path: Path) -> TrustedKey:
    """Return the public key in `path`. Raises Misconfigured."""
    try:
        return trusted_key(_read(path))
    except Refusal as refusal:
        raise Misconfigured(f"key {path}: {refusal.what}") from refusal


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(KEY_LIMIT)
    except OSError as error:
        raise Misconfigured(f"key {path}: {error.strerror}") from error
