"""Hostile artifacts on their way to a device's modules; the numbers are those of cases.toml."""

import os
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.artifact.policy import ArtifactPolicy
from device_agent.errors import InstallFailed, UpdateRejected
from schemas.refusal import Code
from schemas.wire.descriptor import Artifact, Encoding
from tests.support.artifact_keys import KEYS, SIGNERS
from tests.support.artifacts import Build, assemble, member, refusal, tar
from tests.support.installing import BytesSource
from tests.support.mender_device import STREAM, MenderDevice, app

GOOD = Build(payloads=({"app.bin": b"content" * 999},), kinds=("stores",))
PACKED = replace(GOOD, encoding=Encoding.ZSTD)
DATA = "data/0000.tar.zst"
HEADER = "header.tar.zst"
MAGIC = b"\x28\xb5\x2f\xfd"


@pytest.fixture
def device(tmp_path: Path) -> MenderDevice:
    device = MenderDevice(tmp_path)
    device.module("stores")
    device.module("streams", {"Download": STREAM})
    return device


def code(device: MenderDevice, data: bytes) -> Code:
    with pytest.raises(UpdateRejected) as caught:
        device.contents(data)
    return caught.value.code


@pytest.mark.parametrize("name", ["../canary", "/canary", "a/../../canary"])
@pytest.mark.parametrize("kind", ["stores", "streams"])
def test_43_a_name_that_leads_out_writes_nothing_outside(
    device: MenderDevice, name: str, kind: str
) -> None:
    build = Build(payloads=({name: b"x"},), kinds=(kind,))
    assert code(device, build.bytes()) is Code.PATH
    assert list(device.root.rglob("canary")) == []


@pytest.mark.parametrize("kind", ["stores", "streams"])
def test_44_a_link_is_neither_stored_nor_streamed(device: MenderDevice, kind: str) -> None:
    link = member("app.bin", kind=b"2", link=str(device.root).encode())
    build = replace(GOOD, data=tar(link, member("app.bin", b"x")), kinds=(kind,))
    assert code(device, build.bytes()) is Code.TYPE
    assert list(device.tree().glob("files/*")) == []


def test_44_a_link_that_a_module_left_is_not_written_through(device: MenderDevice) -> None:
    target = device.root / "target"
    device.module("stores", {"Download": f"mkdir files; ln -s {target} files/app.bin"})
    with pytest.raises(InstallFailed, match="symbolic links"):
        device.contents(GOOD.bytes())
    assert not target.exists()


def test_48_modes_of_the_artifact_are_not_taken_over(device: MenderDevice) -> None:
    [(name, content)] = dict(GOOD.payloads[0] or {}).items()
    device.download(replace(GOOD, data=tar(member(name, content, mode=0o6777))))
    assert (device.tree() / "files" / name).stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_53_an_artifact_that_is_cut_off_installs_nothing(
    device: MenderDevice, share: float
) -> None:
    data = GOOD.bytes()
    assert code(device, data[: int(share * len(data))] or b"\0") is Code.TRUNCATED
    device.installer.cleanup(app(data))
    assert not device.tree().exists()


def test_54_what_follows_the_artifact_undoes_the_download(device: MenderDevice) -> None:
    assert code(device, GOOD.bytes() + b"x") is Code.TRAILING


@pytest.mark.parametrize("part", [DATA, HEADER])
def test_56_a_frame_that_needs_more_memory_than_a_device_has_is_refused(part: str) -> None:
    long = subprocess.run(
        ["zstd", "-q", "-c", "--ultra", "--long=27"],
        input=bytes(200),
        capture_output=True,
        check=True,
    ).stdout
    window = MAGIC + bytes([0, 0xA8]) + struct.pack("<I", 1)[:3]  # 2^31 bytes
    for frame in (long, window):
        assert refusal(swapped(part, frame)).code is Code.LIMIT


@pytest.mark.parametrize("part", [DATA, HEADER])
@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(MAGIC + bytes([0x21, 7, 2]) + struct.pack("<I", 1)[:3], id="dictionary"),
        pytest.param(struct.pack("<II", 0x184D2A50, 4) + b"skip", id="skippable"),
    ],
)
def test_57_a_frame_that_wants_a_dictionary_or_is_skipped_is_refused(
    part: str, frame: bytes
) -> None:
    assert refusal(swapped(part, frame)).code is Code.FORMAT


@pytest.mark.parametrize("kind", ["stores", "streams"])
def test_58_a_file_with_one_wrong_bit_stays_nowhere(device: MenderDevice, kind: str) -> None:
    build = replace(GOOD, data=tar(member("app.bin", b"Content" * 999)), kinds=(kind,))
    assert code(device, build.bytes()) is Code.HASH
    assert list(device.tree().glob("files/*")) == []


def test_59_an_unsigned_artifact_reaches_no_module_where_keys_are_configured(
    device: MenderDevice,
) -> None:
    device.policy = ArtifactPolicy(keys=KEYS)
    assert code(device, GOOD.bytes()) is Code.SIGNATURE
    wrong = replace(GOOD, sign=lambda manifest: SIGNERS["rsa"](manifest + b"\n"))
    assert code(device, wrong.bytes()) is Code.SIGNATURE
    assert device.calls == []


def test_60_a_file_without_room_is_refused_before_it_is_stored(
    device: MenderDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(device.root)
    monkeypatch.setattr(
        "device_agent.modules.stream.shutil.disk_usage", lambda _: usage._replace(free=6992)
    )
    assert code(device, GOOD.bytes()) is Code.SPACE
    assert list(device.tree().glob("files/*")) == []


def test_61_an_artifact_from_a_pipe_is_read_once(device: MenderDevice) -> None:
    pipe, data = device.root / "pipe", replace(GOOD, kinds=("streams",)).bytes()
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()

    class Pipe(BytesSource):
        def stream(self, artifact: Artifact) -> Iterator[bytes]:  # noqa: ARG002 - the port's shape
            with pipe.open("rb", buffering=0) as file:
                yield from iter(lambda: file.read(1000), b"")

    device.installer.download(app(data), Pipe(data))
    writer.join(10)
    assert device.read("app-app.bin") == b"content" * 999


def test_62_a_module_that_the_image_does_not_have_is_not_looked_for_elsewhere(
    device: MenderDevice,
) -> None:
    device.module("evil").rename(device.root / "evil")
    (device.modules / "link").symlink_to(device.root / "evil")
    for kind in ("evil", "link", "../evil"):
        assert code(device, replace(GOOD, kinds=(kind,)).bytes()) is Code.MODULE
    assert device.calls == []


def swapped(part: str, content: bytes) -> bytes:
    """Return PACKED with other bytes for `part`, which the manifest agrees to."""
    parts = PACKED.parts()
    if part == HEADER:
        parts = replace(PACKED, listed={HEADER: content}).parts()
    return assemble((parts | {part: content}).items())
