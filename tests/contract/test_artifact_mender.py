"""Debian's mender-artifact reads what we write, and we read what it writes."""

import subprocess
from pathlib import Path

import pytest

from device_agent.artifact.reader import Artifact, load_keys
from reconciler.adapters.artifact_files import read_artifact
from reconciler.adapters.artifact_signing import load_artifact_signer
from reconciler.adapters.artifact_writer import (
    NewArtifact,
    NewPayload,
    sign_artifact,
    software,
    write_artifact,
)
from schemas.wire.descriptor import Encoding
from tests.support.artifacts import FILES, read

pytestmark = pytest.mark.ci

# mender-artifact 3.9 knows no zstd.
COMPRESSION = {Encoding.RAW: "none", Encoding.GZIP: "gzip", Encoding.XZ: "lzma"}
MAKE_KEY = {
    "rsa": ["openssl", "genrsa", "-traditional", "-out"],
    "ecdsa": ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out"],
}


def mender(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["mender-artifact", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def files(place: Path) -> tuple[Path, ...]:
    for name, content in FILES.items():
        (place / name).write_bytes(content)
    return tuple(place / name for name in FILES)


def script(place: Path) -> Path:
    path = place / "ArtifactInstall_Enter_00_say"
    path.write_bytes(b"#!/bin/sh\n")
    path.chmod(0o755)
    return path


def keys(place: Path, kind: str) -> tuple[Path, Path]:
    private, public = place / "key.pem", place / "key.pub"
    subprocess.run([*MAKE_KEY[kind], str(private)], check=True, capture_output=True, timeout=60)
    argv = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return private, public


def ours(place: Path, encoding: Encoding = Encoding.GZIP) -> Path:
    provides, clears = software("single-file", "kiosk-1.5")
    payload = NewPayload(
        type="single-file",
        files=files(place),
        provides=provides,
        depends={"rootfs-image.version": "9"},
        clears=clears,
        meta_data=b'{"a": {"b": 1.5}}',
    )
    new = NewArtifact(
        name="kiosk-1.5",
        device_types=("kiosk", "kiosk-2"),
        payloads=(payload,),
        group="kiosks",
        depends_name=("kiosk-1.4",),
        depends_group=("kiosks",),
        scripts=(script(place),),
    )
    write_artifact(new, place / "ours.mender", encoding)
    return place / "ours.mender"


def theirs(place: Path, *options: str | Path, kind: str = "module-image") -> Path:
    output = place / "theirs.mender"
    mender("write", kind, "-n", "kiosk-1.5", "-t", "kiosk", "-o", output, *options)
    return output


@pytest.mark.parametrize("encoding", COMPRESSION)
def test_it_validates_what_we_write(tmp_path: Path, encoding: Encoding) -> None:
    made = ours(tmp_path, encoding)
    assert "validated successfully" in mender("validate", made)
    shown = mender("read", made)
    for expected in (
        "Name: kiosk-1.5",
        "[kiosk kiosk-2]",
        "Provides group: kiosks",
        "[kiosk-1.4]",
        "ArtifactInstall_Enter_00_say",
        "rootfs-image.single-file.version: kiosk-1.5",
        'Clears Provides: ["rootfs-image.single-file.*"]',
        '"b": 1.5',
        "app.bin",
        "notes.txt",
    ):
        assert expected in shown


def test_it_validates_our_root_filesystem_and_bootstrap_artifact(tmp_path: Path) -> None:
    provides, clears = software("rootfs-image", "9")
    image = NewPayload(
        type="rootfs-image", files=files(tmp_path)[:1], provides=provides, clears=clears
    )
    for payload in (image, NewPayload(type=None, provides={"rootfs-image.checksum": "abc"})):
        output = tmp_path / "ours.mender"
        new = NewArtifact(name="x", device_types=("kiosk",), payloads=(payload,))
        write_artifact(new, output, Encoding.GZIP)
        assert "validated successfully" in mender("validate", output)
        assert "rootfs-image.checksum" in mender("read", output)


@pytest.mark.parametrize("kind", MAKE_KEY)
def test_it_verifies_our_signature_and_we_verify_its(tmp_path: Path, kind: str) -> None:
    private, public = keys(tmp_path, kind)
    made = ours(tmp_path)
    signed, signed_there = tmp_path / "signed.mender", tmp_path / "signed-there.mender"
    sign_artifact(made, signed, load_artifact_signer(private))
    assert "validated successfully" in mender("validate", signed, "-k", public)
    mender("sign", made, "-k", private, "-o", signed_there)
    assert read(signed_there.read_bytes(), keys=load_keys([public.read_bytes()]))


@pytest.mark.parametrize("encoding", COMPRESSION)
def test_we_read_what_it_writes(tmp_path: Path, encoding: Encoding) -> None:
    first, second = files(tmp_path)
    made = theirs(
        tmp_path,
        *("-T", "single-file", "-f", first, "-f", second, "-s", script(tmp_path)),
        *("-d", "rootfs-image.version:9", "-p", "a:b", "-g", "kiosks", "-N", "kiosk-1.4"),
        *("--compression", COMPRESSION[encoding]),
    )
    found = Artifact(iter([made.read_bytes()]), keys=()).header
    assert (found.name, found.group, found.depends_name) == (
        "kiosk-1.5",
        "kiosks",
        ("kiosk-1.4",),
    )
    assert found.payloads[0].depends == {"rootfs-image.version": ("9",)}
    assert found.payloads[0].provides["a"] == "b"
    assert [each.name for each in found.scripts] == ["ArtifactInstall_Enter_00_say"]
    assert read(made.read_bytes()) == {(0, name): each for name, each in FILES.items()}
    assert len(read_artifact(made).files) == 2


@pytest.mark.parametrize("encoding", COMPRESSION)
def test_we_read_its_root_filesystem(tmp_path: Path, encoding: Encoding) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(3 << 20) + b"end")
    made = theirs(
        tmp_path, "-f", image, "--compression", COMPRESSION[encoding], kind="rootfs-image"
    )
    assert read(made.read_bytes()) == {(0, "image"): image.read_bytes()}
    assert read_artifact(made).header.payloads[0].type == "rootfs-image"


def test_we_read_its_bootstrap_artifact(tmp_path: Path) -> None:
    made = theirs(tmp_path, "-p", "a:b", kind="bootstrap-artifact")
    assert read_artifact(made).header.is_bootstrap
    assert read(made.read_bytes()) == {}
