"""`fleetcd artifact`: what it writes a device reads, and it refuses what a device refuses."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding as KeyEncoding
from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat
from typer.testing import CliRunner

from device_agent.artifact.reader import Artifact, load_keys
from reconciler.adapters.artifact_files import read_artifact
from reconciler.adapters.artifact_signing import PrivateKey, load_artifact_signer
from reconciler.adapters.artifact_writer import NewArtifact, NewPayload, write_artifact
from reconciler.cli.artifact import artifact
from reconciler.errors import Misconfigured, ReconcilerError, ReleaseRefused
from schemas.wire.descriptor import Encoding
from tests.support.artifact_keys import EC, ED, PEMS, RSA
from tests.support.artifacts import FILES, Build, assemble, compress, read, refusal

PRIVATE: dict[str, PrivateKey] = {"rsa": RSA, "ecdsa": EC, "ed25519": ED}
NAMED = ("--name", "kiosk-1.5", "--device-type", "kiosk")


def run(*arguments: str | Path) -> str:
    shown = CliRunner().invoke(artifact, list(map(str, arguments)), catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.output


def private_key(place: Path, kind: str) -> Path:
    path = place / f"{kind}.pem"
    pem = PRIVATE[kind].private_bytes(KeyEncoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem)
    return path


def public_key(place: Path, kind: str) -> Path:
    path = place / f"{kind}.pub"
    path.write_bytes(PEMS[list(PRIVATE).index(kind)])
    return path


def files(place: Path) -> list[Path]:
    for name, content in FILES.items():
        (place / name).write_bytes(content)
    return [place / name for name in FILES]


def written(place: Path, *options: str | Path) -> Path:
    output = place / "made.mender"
    run("write", *files(place), "-o", output, "-T", "single-file", *NAMED, *options)
    return output


@pytest.mark.parametrize("encoding", Encoding)
def test_a_device_reads_what_was_written(tmp_path: Path, encoding: Encoding) -> None:
    script, meta_data = tmp_path / "ArtifactInstall_Enter_00", tmp_path / "meta"
    script.write_bytes(b"#!/bin/sh\n")
    meta_data.write_bytes(b'{"a": 1.5}')
    made = written(
        tmp_path, "--compression", encoding, "-s", script, "-m", meta_data, "-p", "a:b:c"
    )
    found = Artifact(iter([made.read_bytes()]), keys=()).header
    (payload,) = found.payloads
    assert (found.name, found.device_types) == ("kiosk-1.5", ("kiosk",))
    assert payload.provides == {"rootfs-image.single-file.version": "kiosk-1.5", "a": "b:c"}
    assert payload.clears == ("rootfs-image.single-file.*",)
    assert payload.meta_data == b'{"a": 1.5}'
    assert [(each.name, each.content) for each in found.scripts] == [(script.name, b"#!/bin/sh\n")]
    assert read(made.read_bytes()) == {(0, name): each for name, each in FILES.items()}


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first = written(tmp_path).read_bytes()
    assert written(tmp_path).read_bytes() == first


def test_several_payloads_are_written_and_read(tmp_path: Path) -> None:
    paths = files(tmp_path)
    payloads = tuple(NewPayload(type="single-file", files=(path,)) for path in paths)
    output = tmp_path / "several.mender"
    new = NewArtifact(name="x", device_types=("kiosk",), payloads=(*payloads, NewPayload(None)))
    write_artifact(new, output, Encoding.GZIP)
    assert read(output.read_bytes()) == {
        (index, path.name): path.read_bytes() for index, path in enumerate(paths)
    }


def test_a_root_filesystem_provides_its_checksum(tmp_path: Path) -> None:
    image, output = files(tmp_path)[0], tmp_path / "made.mender"
    run("write", image, "-o", output, "-T", "rootfs-image", *NAMED)
    found = read_artifact(output)
    provides = found.header.payloads[0].provides
    assert provides["rootfs-image.checksum"] == found.files[0].checksum
    assert provides["rootfs-image.version"] == "kiosk-1.5"


def test_a_bootstrap_artifact_has_no_files(tmp_path: Path) -> None:
    output = tmp_path / "made.mender"
    run("write", "-o", output, *NAMED, "-p", "rootfs-image.checksum:abc")
    found = read_artifact(output)
    assert found.header.is_bootstrap
    assert found.header.payloads[0].provides == {"rootfs-image.checksum": "abc"}


@pytest.mark.parametrize("kind", PRIVATE)
def test_what_is_signed_while_or_after_it_is_written_verifies(tmp_path: Path, kind: str) -> None:
    key, public = private_key(tmp_path, kind), public_key(tmp_path, kind)
    once, later = tmp_path / "once.mender", tmp_path / "later.mender"
    written(tmp_path, "--key", key).rename(once)
    run("sign", written(tmp_path), "--key", key, "-o", later)
    for made in (once, later):
        assert load_keys([public.read_bytes()])[0].id in run("verify", made, "--key", public)
        assert read(made.read_bytes(), keys=load_keys(PEMS))


def test_signing_again_replaces_the_signature_and_nothing_else(tmp_path: Path) -> None:
    made = written(tmp_path, "--key", private_key(tmp_path, "rsa"))
    run("sign", made, "--key", private_key(tmp_path, "ed25519"))
    run("verify", made, "--key", public_key(tmp_path, "ed25519"))
    with pytest.raises(ReleaseRefused, match="E_SIGNATURE"):
        run("verify", made, "--key", public_key(tmp_path, "rsa"))
    run("sign", made, "--key", private_key(tmp_path, "rsa"))
    again = made.read_bytes()
    assert again == written(tmp_path, "--key", private_key(tmp_path, "rsa")).read_bytes()


def test_an_unsigned_artifact_does_not_verify(tmp_path: Path) -> None:
    with pytest.raises(ReleaseRefused, match="E_SIGNATURE: the artifact is not signed"):
        run("verify", written(tmp_path), "--key", public_key(tmp_path, "rsa"))


def test_what_is_in_an_artifact_is_shown(tmp_path: Path) -> None:
    options = ("--group", "kiosks", "-N", "kiosk-1.4", "-N", "kiosk-1.3", "-G", "tvs")
    shown = run("read", written(tmp_path, *options, "-d", "a:b"))
    for expected in (
        "kiosk-1.4, kiosk-1.3",
        "tvs",
        "a: b",
        "kiosk-1.5",
        "kiosks",
        "single-file",
        "app.bin  1280  ",
        "notes.txt  4  ",
    ):
        assert expected in shown
    assert "2 files" in run("validate", tmp_path / "made.mender")


def hostile() -> dict[str, bytes]:
    """Return artifacts that are refused, by what is wrong with them."""
    whole = Build().bytes()
    found = {"not an artifact": b"x" * 5000, "cut off": whole[:-1], "trailing": whole + b"x"}
    for encoding in (Encoding.GZIP, Encoding.XZ, Encoding.ZSTD):
        parts = Build(encoding=encoding).parts()
        *_, name = parts
        packed = parts[name]
        changes = {
            "a second member": packed * 2,
            "a cut": packed[:-1],
            "no such thing": b"x" * len(packed),
            "a bomb": compress(encoding, bytes(8 << 20)),
        }
        for what, data in changes.items():
            found[f"{what} in {encoding}"] = assemble((parts | {name: data}).items())
    return found


HOSTILE = hostile()


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_a_device_refuses_is_not_valid_here_either(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "hostile.mender"
    path.write_bytes(data)
    assert refusal(data).message
    with pytest.raises(ReleaseRefused, match=r"hostile\.mender: E_"):
        read_artifact(path)


@pytest.mark.parametrize("name", ["a b", "ümlaut", "x" * 91])
def test_a_file_that_devices_would_refuse_is_not_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    output = tmp_path / "made.mender"
    with pytest.raises(ReleaseRefused):
        run("write", tmp_path / name, "-o", output, "-T", "single-file", *NAMED)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_script_of_no_state_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "Idle_Enter_00").write_bytes(b"")
    with pytest.raises(ReleaseRefused, match="E_MODULE"):
        written(tmp_path, "-s", tmp_path / "Idle_Enter_00")


@pytest.mark.parametrize(
    "arguments",
    [
        ("write", "-n", "x"),
        ("write", "-t", "x"),
        ("write", "file", *NAMED),
        ("write", *NAMED, "-p", "no-colon"),
        ("sign", "file"),
        ("verify", "file"),
        ("verify", "file", "--key", "missing"),
    ],
    ids=" ".join,
)
def test_a_command_that_lacks_something_says_what(arguments: tuple[str, ...]) -> None:
    with pytest.raises(Misconfigured, match=r"--|key missing|KEY:VALUE"):
        run(*arguments)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReconcilerError, match=r"gone\.mender: No such file"):
        run("read", tmp_path / "gone.mender")


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 1024),  # noqa: S505 - the case
    ],
    ids=["p-384", "rsa 1024"],
)
def test_a_key_that_devices_would_refuse_signs_nothing(
    tmp_path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(KeyEncoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(Misconfigured, match="not RSA of 2048"):
        load_artifact_signer(path)


def test_a_file_that_is_no_key_signs_nothing(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes_raw())
    with pytest.raises(Misconfigured, match="not an unencrypted private key"):
        load_artifact_signer(tmp_path / "key.pem")
