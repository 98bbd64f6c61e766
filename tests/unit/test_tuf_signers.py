"""Signing keys by URI: what is accepted, and what each refusal tells to do."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from reconciler.adapters.signers import create_key, load_signer
from reconciler.errors import Misconfigured


def refusal_of(uri: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        load_signer(uri)
    return str(caught.value)


def test_a_key_that_was_made_can_be_loaded_and_signs_alike(tmp_path: Path) -> None:
    made = create_key(tmp_path / "key.pem")
    loaded = load_signer(f"file:{tmp_path / 'key.pem'}")
    assert loaded.public_key == made.public_key
    made.public_key.verify_signature(loaded.sign(b"data"), b"data")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    first = create_key(tmp_path / "key.pem")
    with pytest.raises(Misconfigured, match="never overwritten"):
        create_key(tmp_path / "key.pem")
    assert load_signer(f"file:{tmp_path / 'key.pem'}").public_key == first.public_key


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    create_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o640)
    assert "mode 0640" in (said := refusal_of(f"file:{tmp_path / 'key.pem'}"))
    assert "chmod 600" in said


def test_an_absent_key_is_named(tmp_path: Path) -> None:
    assert "key.pem: No such file" in refusal_of(f"file:{tmp_path / 'key.pem'}")


@pytest.mark.parametrize("uri", ["", "key.pem", "hsm:2?label=x", "file:", "awskms:alias/x"])
def test_an_unknown_scheme_says_which_are_known(uri: str) -> None:
    assert "file:PATH" in refusal_of(uri)


def test_what_is_not_an_open_ed25519_key_is_refused(tmp_path: Path) -> None:
    pem, pkcs8 = Encoding.PEM, PrivateFormat.PKCS8
    locked = BestAvailableEncryption(b"password")
    wrong = {
        "text": b"not a key",
        "p256": ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, pkcs8, NoEncryption()),
        "locked": Ed25519PrivateKey.generate().private_bytes(pem, pkcs8, locked),
    }
    for name, data in wrong.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
        assert "openssl genpkey -algorithm ed25519" in refusal_of(f"file:{tmp_path / name}")
