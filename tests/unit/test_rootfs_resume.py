"""An interrupted download of an image goes on where it was, after bytes that it can trust."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.errors import InstallFailed, TransientError, UpdateRejected
from device_agent.fetch.download import HttpArtifactSource, Patience
from device_agent.fetch.http import HttpClient
from device_agent.install import slot_writer
from device_agent.install.rootfs_ab import RootfsAB
from device_agent.ports import Digest, ResumableSource
from schemas.refusal import Code
from schemas.wire.descriptor import Artifact, Encoding
from schemas.wire.report import FailureClass
from tests.support.fault_server import Asked, FaultServer, Reply, served
from tests.support.installing import BytesSource, component, packed
from tests.support.trust_device import IMPATIENT, LOOPBACK

BLOCK = 4096
WINDOW = 4 * BLOCK
IMAGE = b"".join(number.to_bytes(4, "big") for number in range(10 * BLOCK // 4))
OTHER = bytes(byte ^ 0xFF for byte in IMAGE)


@dataclass
class RangesSource:
    """An ArtifactSource and ResumableSource over `stored` that breaks off where it is told.

    `asked` are the offsets it was asked for.
    """

    stored: bytes
    breaks_at: int | None = None
    asked: list[int] = field(default_factory=list)

    def stream(self, artifact: Artifact) -> Iterator[bytes]:
        return self.resume(artifact, 0, hashlib.sha256())

    def resume(self, artifact: Artifact, offset: int, digest: Digest) -> Iterator[bytes]:
        self.asked.append(offset)
        for at in range(offset, len(self.stored), 1000):
            if self.breaks_at is not None and at >= self.breaks_at:
                raise TransientError("the network stays away")
            digest.update(self.stored[at : at + 1000])
            yield self.stored[at : at + 1000]
        if self.breaks_at is not None:
            raise TransientError("the network stays away before the end is sure")
        if digest.hexdigest() != artifact.sha256:
            raise UpdateRejected(Code.HASH, "not the signed bytes", FailureClass.CHECKSUM)


class Device:
    """Slot `b` is written in small blocks, and synced after four of them."""

    def __init__(self, root: Path) -> None:
        self.slots = {name: root / f"{name}.img" for name in "ab"}
        for slot in self.slots.values():
            slot.write_bytes(bytes(12 * BLOCK))
        boot(root)
        self._root = root

    @property
    def installer(self) -> RootfsAB:
        """A new one each time, as after a restart of the agent."""
        return RootfsAB(self.slots, FileBootloader(self._root), self._root)

    def damage(self, offset: int) -> None:
        with self.slots["b"].open("r+b") as slot:
            slot.seek(offset)
            slot.write(b"damage")

    @property
    def written(self) -> bytes:
        return self.slots["b"].read_bytes()


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr(slot_writer, "CHUNK", BLOCK)
    monkeypatch.setattr(slot_writer, "BLOCK", BLOCK)
    monkeypatch.setattr(slot_writer, "WINDOW", WINDOW)
    return Device(tmp_path)


NEW = component(IMAGE)


def interrupted(device: Device, source: ResumableSource) -> None:
    assert isinstance(source, RangesSource)
    with pytest.raises(TransientError):
        device.installer.download(NEW, source)


def test_a_download_goes_on_after_the_last_bytes_that_were_synced(device: Device) -> None:
    interrupted(device, RangesSource(IMAGE, breaks_at=WINDOW + BLOCK + 100))
    again = RangesSource(IMAGE)
    device.installer.download(NEW, again)
    assert again.asked == [WINDOW]
    device.installer.install(NEW)
    assert device.written.startswith(IMAGE)


def test_each_interruption_is_taken_up_where_the_last_one_was(device: Device) -> None:
    for breaks_at in (WINDOW + 2000, 2 * WINDOW + 2000):
        interrupted(device, RangesSource(IMAGE, breaks_at=breaks_at))
    again = RangesSource(IMAGE)
    device.installer.download(NEW, again)
    assert again.asked == [2 * WINDOW]
    device.installer.install(NEW)


def test_half_an_image_is_never_installed(device: Device) -> None:
    interrupted(device, RangesSource(IMAGE, breaks_at=2 * WINDOW + 2000))
    with pytest.raises(InstallFailed, match="no slot holds a complete download"):
        device.installer.install(NEW)
    with pytest.raises(InstallFailed, match="no slot holds a complete download"):
        device.installer.activate(NEW)


def test_a_slot_that_was_changed_meanwhile_is_written_from_the_start(device: Device) -> None:
    interrupted(device, RangesSource(IMAGE, breaks_at=WINDOW + 2000))
    device.damage(WINDOW - 100)
    again = RangesSource(IMAGE)
    device.installer.download(NEW, again)
    assert again.asked == [0]
    device.installer.install(NEW)


def test_what_is_left_of_another_image_is_written_over_from_the_start(device: Device) -> None:
    interrupted(device, RangesSource(IMAGE, breaks_at=WINDOW + 2000))
    other = RangesSource(OTHER)
    device.installer.download(component(OTHER), other)
    assert other.asked == [0]
    assert device.written.startswith(OTHER)


def test_a_damaged_marker_costs_a_download_and_not_the_update(device: Device) -> None:
    interrupted(device, RangesSource(IMAGE, breaks_at=WINDOW + 2000))
    (device.slots["b"].parent / "rootfs-ab.json").write_bytes(b"\x00" * 200)
    device.installer.download(NEW, RangesSource(IMAGE))
    device.installer.install(NEW)


def test_a_wrong_beginning_from_another_server_costs_a_download_and_not_the_update(
    device: Device,
) -> None:
    interrupted(device, RangesSource(OTHER[:WINDOW] + IMAGE[WINDOW:], breaks_at=WINDOW + 2000))
    again = RangesSource(IMAGE)
    device.installer.download(NEW, again)
    assert again.asked == [WINDOW, 0]
    device.installer.install(NEW)
    assert device.written.startswith(IMAGE)


def test_wrong_bytes_twice_are_refused(device: Device) -> None:
    interrupted(device, RangesSource(OTHER, breaks_at=WINDOW + 2000))
    with pytest.raises(UpdateRejected) as caught:
        device.installer.download(NEW, RangesSource(OTHER))
    assert caught.value.code is Code.HASH


@pytest.mark.parametrize("size", [WINDOW, 2 * WINDOW, 2 * WINDOW - 1])
def test_bytes_whose_digest_nobody_has_checked_are_never_a_complete_download(
    device: Device, size: int
) -> None:
    new = component(IMAGE[:size])
    with pytest.raises(TransientError):
        device.installer.download(new, RangesSource(OTHER[:size], breaks_at=size))
    with pytest.raises(UpdateRejected):
        device.installer.download(new, RangesSource(OTHER[:size]))
    with pytest.raises(InstallFailed, match="no slot holds a complete download"):
        device.installer.install(new)


def test_over_http_only_the_rest_is_asked_for_after_a_restart(device: Device) -> None:
    def route(asked: Asked) -> Reply:
        reply = served(IMAGE, asked)
        return reply if "range" in asked.headers else replace(reply, cut=WINDOW + 2000)

    with FaultServer(route) as server:
        for patience in (Patience(total=1), Patience()):
            over_http = HttpArtifactSource(
                server.url, HttpClient(LOOPBACK, IMPATIENT), patience=patience
            )
            with suppress(TransientError):
                device.installer.download(NEW, over_http)
        assert [asked.headers.get("range") for asked in server.asked] == [None, f"bytes={WINDOW}-"]
    device.installer.install(NEW)


def test_a_source_that_cannot_go_on_in_the_middle_is_read_from_the_start(device: Device) -> None:
    interrupted(device, RangesSource(IMAGE, breaks_at=WINDOW + 2000))
    again = BytesSource(IMAGE)
    device.installer.download(NEW, again)
    assert again.streams == 1
    device.installer.install(NEW)


@pytest.mark.parametrize("encoding", [Encoding.GZIP, Encoding.XZ, Encoding.ZSTD])
def test_a_compressed_image_is_fetched_again_and_what_is_there_is_not_written_again(
    device: Device, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, stored = component(IMAGE, encoding=encoding), packed(encoding, IMAGE)
    device.slots["b"].write_bytes(IMAGE[: 9 * BLOCK].ljust(12 * BLOCK, b"?"))  # as if cut off there
    changed, real = [], os.pwrite

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        changed.append(offset)
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    again = RangesSource(stored)
    device.installer.download(new, again)
    assert again.asked == [0]
    assert changed == [9 * BLOCK]
    device.installer.install(new)
