"""Signing keys by URI: `file:PATH` is an Ed25519 private key in PEM, for its owner only."""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Signer

from reconciler.adapters.durable import create_private
from reconciler.errors import Misconfigured

KEY_LIMIT = 16 * 1024  # bytes


def load_signer(uri: str) -> Signer:
    """Return the signer that `uri` names. Raises Misconfigured: what is wrong, what to do."""
    scheme, _, rest = uri.partition(":")
    if scheme == "file" and rest:
        return _file_signer(Path(rest))
    raise Misconfigured(f"signer {uri!r}: this version knows file:PATH (an Ed25519 key in PEM)")


def create_key(path: Path) -> Signer:
    """Make an Ed25519 key at `path` (mode 0600). Raises Misconfigured if something is there."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        create_private(path, pem)
    except FileExistsError as error:
        raise Misconfigured(f"{path} exists; a key is never overwritten") from error
    return CryptoSigner(private)


def _file_signer(path: Path) -> Signer:
    try:
        pem = _read_private(path)
    except OSError as error:
        raise Misconfigured(f"key {path}: {error.strerror}") from error
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise Misconfigured(
            f"key {path}: not an unencrypted private key in PEM (PKCS#8); make one with"
            f" `openssl genpkey -algorithm ed25519 -out {path}`"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise Misconfigured(
            f"key {path}: only Ed25519 keys can be verified by every device;"
            f" make one with `openssl genpkey -algorithm ed25519 -out {path}`"
        )
    return CryptoSigner(private)


def _read_private(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise Misconfigured(
                f"key {path}: mode {mode:04o} lets others use it; run `chmod 600 {path}`"
            )
        return file.read(KEY_LIMIT)
