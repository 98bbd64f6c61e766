"""Who may sign an artifact, and how."""

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from device_agent.artifact.reader import Artifact, load_keys
from device_agent.errors import UpdateRejected
from schemas.refusal import Code
from tests.support.artifact_keys import EC, KEYS, OWNER, SIGNERS, pem
from tests.support.artifacts import FILES, Build, assemble, read, refusal


@pytest.mark.parametrize("kind", SIGNERS)
def test_an_artifact_that_a_trusted_key_signed_is_read_and_names_the_key(kind: str) -> None:
    whole = Build(sign=SIGNERS[kind]).bytes()
    artifact = Artifact(iter([whole]), keys=KEYS)
    assert artifact.signed_by == OWNER[kind].id
    assert read(whole, keys=KEYS) == {(0, name): each for name, each in FILES.items()}


@pytest.mark.parametrize("kind", SIGNERS)
def test_a_key_that_is_not_trusted_signs_in_vain(kind: str) -> None:
    others = tuple(key for key in KEYS if key != OWNER[kind])
    assert refusal(Build(sign=SIGNERS[kind]).bytes(), keys=others).code == Code.SIGNATURE


@pytest.mark.parametrize("kind", SIGNERS)
def test_without_keys_a_signature_is_not_looked_at(kind: str) -> None:
    assert read(Build(sign=SIGNERS[kind]).bytes())
    assert read(Build(sign=lambda _: b"?").bytes())
    assert Artifact(iter([Build(sign=SIGNERS[kind]).bytes()]), keys=()).signed_by is None


def test_a_signed_bootstrap_artifact_is_accepted() -> None:
    assert read(Build(payloads=(None,), sign=SIGNERS["rsa"]).bytes(), keys=KEYS) == {}


def test_the_newline_of_a_text_editor_does_not_harm() -> None:
    whole = Build(sign=lambda manifest: SIGNERS["rsa"](manifest) + b"\n").bytes()
    assert read(whole, keys=KEYS)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"=",
        b"a",
        b"a b=",
        b"!" * 88,
        b64encode(bytes(64)),
        b64encode(b"\x30\x02\x01"),
        b"YQ==",
    ],
    ids=repr,
)
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    assert refusal(Build(sign=lambda _: signature).bytes(), keys=KEYS).code == Code.SIGNATURE


def test_r_and_s_in_little_endian_are_not_accepted() -> None:
    def reversed_halves(manifest: bytes) -> bytes:
        raw = b64decode(SIGNERS["ecdsa as r and s"](manifest))
        return b64encode(raw[:32][::-1] + raw[32:][::-1])

    assert refusal(Build(sign=reversed_halves).bytes(), keys=KEYS).code == Code.SIGNATURE


def test_a_signature_of_other_bytes_is_refused() -> None:
    parts = Build(sign=SIGNERS["ed25519"]).parts()
    other = Build(sign=SIGNERS["ed25519"], payloads=({"a": b"1"},)).parts()
    mixed = parts | {"manifest.sig": other["manifest.sig"]}
    assert refusal(assemble(mixed.items()), keys=KEYS).code == Code.SIGNATURE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a key",
        EC.private_numbers().private_value.to_bytes(32, "big"),
        pem(rsa.generate_private_key(65537, 1024).public_key()),  # noqa: S505 - the case
        pem(ec.generate_private_key(ec.SECP384R1()).public_key()),
        pem(x25519.X25519PrivateKey.generate().public_key()),
    ],
    ids=["nothing", "text", "bytes", "rsa 1024", "p-384", "x25519"],
)
def test_a_key_that_could_verify_nothing_is_refused(data: bytes) -> None:
    with pytest.raises(UpdateRejected) as caught:
        load_keys([data])
    assert caught.value.code == Code.FORMAT
