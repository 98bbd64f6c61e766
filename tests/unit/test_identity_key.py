"""The device's key: made once, kept to itself, and signing what a stock JWS library verifies."""

import base64
import multiprocessing
import os
import stat
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from device_agent.identity import Identity, UnusableKey
from schemas.canonical import key_id

PAYLOAD = b'{"iss":"me"}'


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def stored(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def verified(identity: Identity, token: str) -> tuple[dict[str, object], bytes]:
    """Let PyJWT check the signature; return the header and the payload."""
    key = load_der_public_key(identity.public_key_der)
    assert isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey)
    decoded = jwt.api_jws.decode_complete(token, key, algorithms=[identity.algorithm])
    return decoded["header"], decoded["payload"]


def test_a_new_device_makes_a_p256_key_that_only_its_owner_may_read(tmp_path: Path) -> None:
    path = tmp_path / "state" / "device.pem"
    old = os.umask(0)
    try:
        identity = Identity.load_or_create(path)
    finally:
        os.umask(old)
    assert identity.algorithm == "ES256"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert [entry.name for entry in path.parent.iterdir()] == ["device.pem"]


def test_the_key_stays_the_same_and_so_does_the_id(tmp_path: Path) -> None:
    first = Identity.load_or_create(tmp_path / "device.pem")
    second = Identity.load_or_create(tmp_path / "device.pem")
    assert second.key_id == first.key_id == key_id(first.public_key_der)


def make(path: Path) -> str:
    return Identity.load_or_create(path).key_id


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "device.pem"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        ids = pool.map(make, [path] * 12)
    assert set(ids) == {Identity.load_or_create(path).key_id}


@pytest.mark.parametrize("kind", ["ES256", "EdDSA"])
def test_what_it_signs_is_verified_by_pyjwt(tmp_path: Path, kind: str) -> None:
    keys: dict[str, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey] = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    identity = Identity.load_or_create(stored(tmp_path / "key.pem", pem(keys[kind])))
    header, payload = verified(identity, identity.sign(PAYLOAD, "fleetcd-report+jws"))
    assert header == {"alg": kind, "kid": identity.key_id, "typ": "fleetcd-report+jws"}
    assert payload == PAYLOAD


def test_a_signature_is_64_raw_bytes_however_small_its_numbers_are(tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path / "device.pem")
    tokens = [identity.sign(PAYLOAD, "t") for _ in range(3000)]  # one in 256 has a leading zero
    assert {len(base64.urlsafe_b64decode(token.split(".")[2] + "==")) for token in tokens} == {64}
    assert not any("=" in token for token in tokens)


def test_another_devices_signature_is_not_accepted(tmp_path: Path) -> None:
    one = Identity.load_or_create(tmp_path / "one.pem")
    other = Identity.load_or_create(tmp_path / "other.pem")
    with pytest.raises(jwt.InvalidSignatureError):
        verified(one, other.sign(PAYLOAD, "t"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_that_others_may_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = stored(tmp_path / "key.pem", pem(ec.generate_private_key(ec.SECP256R1())), mode)
    with pytest.raises(UnusableKey, match=f"mode {mode:04o}.*chmod 600 {path}"):
        Identity.load_or_create(path)


def test_a_file_that_is_no_key_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = stored(tmp_path / "key.pem", b"")
    with pytest.raises(UnusableKey, match="not a PEM"):
        Identity.load_or_create(path)
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["p384", "rsa"],
)
def test_a_key_of_another_kind_is_refused(
    tmp_path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    with pytest.raises(UnusableKey, match="neither a P-256 nor an Ed25519 key"):
        Identity.load_or_create(stored(tmp_path / "key.pem", pem(key)))


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    with pytest.raises(UnusableKey, match="unencrypted"):
        Identity.load_or_create(stored(tmp_path / "key.pem", locked))


def test_a_place_that_cannot_hold_a_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnusableKey, match=f"{tmp_path}/file/key.pem"):
        Identity.load_or_create(tmp_path / "file" / "key.pem")
