"""What the slot writer promises holds for block devices as for files: a loop device is one."""

import errno
import fcntl
import hashlib
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import pytest

from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.errors import InstallFailed, UpdateRejected
from device_agent.install import slot_writer
from device_agent.install.holes import punch
from device_agent.install.rootfs_ab import RootfsAB
from device_agent.install.slot_writer import BLOCK, CHUNK, SlotWriter, Written
from device_agent.install.slots import digest_of, open_slot
from schemas.refusal import Code
from tests.support.installing import component, source_of

if TYPE_CHECKING:
    from hashlib import _Hash

MIB = 1024 * 1024
SIZE = 8 * MIB  # bytes of a slot
NOISE = random.Random(1).randbytes(5 * MIB + 300)  # its end is no sector's
LOSETUP = shutil.which("losetup", path="/usr/sbin:/sbin:/usr/bin:/bin")
LOOPS = bool(LOSETUP) and os.geteuid() == 0 and Path("/dev/loop-control").exists()
needs_loops = pytest.mark.skipif(
    not LOOPS, reason="needs root and loop devices (apt install mount)"
)
KINDS = ("file", pytest.param("loop device", marks=needs_loops))


class Slot(Protocol):
    """A slot of SIZE bytes that reads as zeros, and the file behind it."""

    @property
    def path(self) -> Path: ...

    @property
    def backing(self) -> Path: ...


class FileSlot:
    def __init__(self, backing: Path) -> None:
        backing.touch()
        os.truncate(backing, SIZE)
        self.path = self.backing = backing


class LoopSlot(FileSlot):
    def __init__(self, backing: Path) -> None:
        super().__init__(backing)
        assert LOSETUP
        argv = [LOSETUP, "--find", "--show", str(backing)]
        made = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
        self.path = Path(made.stdout.strip())

    def detach(self) -> None:
        assert LOSETUP
        subprocess.run([LOSETUP, "--detach", str(self.path)], check=True, timeout=30)


@pytest.fixture(params=KINDS)
def slot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Slot]:
    if request.param == "file":
        yield FileSlot(tmp_path / "disk.img")
        return
    device = LoopSlot(tmp_path / "disk.img")
    yield device
    device.detach()


def fill(slot: Slot, image: bytes, claims: list[int] | None = None) -> Written:
    """Write `image` into the slot in pieces as a decompressor gives them."""
    claimed = [] if claims is None else claims
    with writing(slot, lambda length, _: claimed.append(length)) as writer:
        put(writer, image)
        return writer.finish()


@contextmanager
def writing(
    slot: Slot,
    synced: Callable[[int, str], None] = lambda _length, _sha256: None,
    digest: "_Hash | None" = None,
) -> Iterator[SlotWriter]:
    """Open the slot; when it is left no thread may be left."""
    threads, descriptor = threading.active_count(), open_slot(slot.path)
    try:
        with SlotWriter(descriptor, 0, digest or hashlib.sha256(), synced) as writer:
            yield writer
    finally:
        os.close(descriptor)
        assert threading.active_count() == threads


def put(writer: SlotWriter, image: bytes) -> None:
    for at in range(0, len(image), 100_000):
        writer.write(image[at : at + 100_000])


def held(slot: Slot, length: int) -> bytes:
    with slot.path.open("rb") as file:
        return file.read(length)


def test_the_slot_holds_the_image_byte_for_byte(slot: Slot) -> None:
    written = fill(slot, NOISE)
    assert held(slot, len(NOISE)) == NOISE
    assert (written.length, written.changed) == (len(NOISE), len(NOISE))
    assert written.sha256 == hashlib.sha256(NOISE).hexdigest()


def test_it_is_durable_when_the_write_returns(slot: Slot) -> None:
    """What lies in the file behind a device is what was flushed to the device."""
    fill(slot, NOISE)
    assert slot.backing.read_bytes()[: len(NOISE)] == NOISE


def test_what_follows_the_image_is_left_alone(slot: Slot) -> None:
    fill(slot, b"\xff" * SIZE)
    fill(slot, NOISE)
    assert held(slot, SIZE)[len(NOISE) :] == b"\xff" * (SIZE - len(NOISE))


def test_an_image_that_is_there_already_is_not_written_again(slot: Slot) -> None:
    fill(slot, NOISE)
    assert fill(slot, NOISE).changed == 0


class LateDigest:
    """Falls behind the writer."""

    def __init__(self) -> None:
        self._inner = hashlib.sha256()

    def update(self, data: bytes, /) -> None:
        threading.Event().wait(0.05)
        self._inner.update(data)

    def hexdigest(self) -> str:
        return self._inner.hexdigest()


def test_the_end_waits_for_the_digest(slot: Slot) -> None:
    image = NOISE[: 5 * BLOCK]
    with writing(slot, digest=cast("_Hash", LateDigest())) as writer:
        put(writer, image)
        assert writer.finish().sha256 == hashlib.sha256(image).hexdigest()


def test_only_the_chunks_that_differ_are_written(slot: Slot) -> None:
    fill(slot, NOISE)
    new = bytearray(NOISE)
    for at in (10, BLOCK + 20, BLOCK + CHUNK - 1, len(NOISE) - 1):
        new[at] ^= 1
    tail = len(NOISE) % CHUNK
    assert fill(slot, bytes(new)).changed == 2 * CHUNK + tail
    assert held(slot, len(NOISE)) == new


def test_zeros_over_an_old_image_take_no_space(slot: Slot) -> None:
    fill(slot, NOISE)
    before = slot.backing.stat().st_blocks
    fill(slot, bytes(4 * MIB))
    assert held(slot, 4 * MIB) == bytes(4 * MIB)
    assert slot.backing.stat().st_blocks <= before - 4 * MIB // 512


def test_zeros_of_a_slot_that_reads_as_zeros_leave_its_holes(slot: Slot) -> None:
    assert fill(slot, bytes(SIZE)).changed == 0
    assert slot.backing.stat().st_blocks * 512 < MIB


def test_a_slot_that_cannot_have_holes_gets_zeros(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(slot, NOISE)
    asked = []

    def cannot(descriptor: int, offset: int, length: int) -> bool:
        asked.append(offset)
        return False

    monkeypatch.setattr(slot_writer, "punch", cannot)
    assert fill(slot, bytes(5 * MIB)).changed == 5 * MIB
    assert held(slot, 5 * MIB) == bytes(5 * MIB)
    assert asked == [0]


def test_a_slot_that_cannot_be_written_past_the_cache_is_written_through_it(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_writer, "_reopened", lambda _: None)
    assert fill(slot, NOISE).changed == len(NOISE)
    assert held(slot, len(NOISE)) == NOISE


def test_sectors_larger_than_expected_cost_the_way_past_the_cache_and_not_the_write(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, real = [], os.pwrite

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            refused.append(offset)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    fill(slot, NOISE)
    assert held(slot, len(NOISE)) == NOISE
    assert refused == [0]


def test_a_hole_that_the_kernel_refuses_is_an_error(slot: Slot) -> None:
    with slot.path.open("rb") as readable, pytest.raises(OSError, match="Bad file descriptor"):
        punch(readable.fileno(), 0, CHUNK)


def test_a_window_is_claimed_once_it_is_full_and_the_image_goes_on(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_writer, "WINDOW", 2 * BLOCK)
    claims: list[int] = []
    fill(slot, NOISE[: 4 * BLOCK], claims)
    assert claims == [2 * BLOCK]
    fill(slot, NOISE, claims)
    assert claims == [2 * BLOCK, 2 * BLOCK, 4 * BLOCK]


def test_a_claim_has_the_digest_of_what_is_there_by_then(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_writer, "WINDOW", 2 * BLOCK)
    claims: list[tuple[str, bytes]] = []

    def claim(length: int, sha256: str) -> None:
        claims.append((sha256, slot.backing.read_bytes()[:length]))

    with writing(slot, claim) as writer:
        put(writer, NOISE)
        writer.finish()
    assert [len(there) for _, there in claims] == [2 * BLOCK, 4 * BLOCK]
    assert all(hashlib.sha256(there).hexdigest() == sha256 for sha256, there in claims)


def test_blocks_that_wait_stay_as_they_are_while_the_next_is_filled(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real = threading.Event(), os.preadv

    def preadv(descriptor: int, buffers: list[bytearray], offset: int) -> int:
        assert gate.wait(10)
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    almost = (slot_writer.AHEAD + 1) * BLOCK - 1
    with writing(slot) as writer:
        put(writer, NOISE[:almost])
        gate.set()
        put(writer, NOISE[almost:])
        writer.finish()
    assert held(slot, len(NOISE)) == NOISE


def test_a_device_that_fails_ends_the_write_and_nothing_after_it_is_written_or_claimed(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_writer, "WINDOW", BLOCK)
    offsets, claims, real = list[int](), list[int](), os.pwrite

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        offsets.append(offset)
        if offset == 2 * BLOCK:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="Input/output error"):
        fill(slot, NOISE, claims)
    assert offsets == [0, BLOCK, 2 * BLOCK]
    assert claims == [BLOCK, 2 * BLOCK]


def test_a_device_that_fails_at_the_end_is_noticed_by_the_end(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pwrite(_descriptor: int, _data: memoryview, _offset: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", pwrite)
    with writing(slot) as writer:
        put(writer, NOISE[:BLOCK])
        with pytest.raises(OSError, match="Input/output error"):
            writer.finish()


def test_a_claim_that_fails_ends_the_write(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_writer, "WINDOW", BLOCK)

    def full(_length: int, _sha256: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with writing(slot, full) as writer, pytest.raises(OSError, match="No space left"):
        put(writer, NOISE)
        writer.finish()


def test_a_source_that_fails_leaves_no_thread_behind(slot: Slot) -> None:
    with pytest.raises(ConnectionResetError), writing(slot) as writer:
        put(writer, NOISE)
        raise ConnectionResetError


def test_the_digest_of_a_slot_is_that_of_its_bytes(slot: Slot) -> None:
    fill(slot, NOISE)
    with slot.path.open("rb") as file:
        assert digest_of(file.fileno(), len(NOISE)).digest() == hashlib.sha256(NOISE).digest()


def test_an_image_is_installed_and_read_back(slot: Slot, tmp_path: Path) -> None:
    installer, new = rootfs(slot, tmp_path), component(NOISE)
    installer.download(new, source_of(NOISE))
    installer.install(new)
    with slot.path.open("r+b") as device:
        device.write(b"rot")
    with pytest.raises(InstallFailed, match="slot b does not hold"):
        installer.install(new)


def test_an_image_larger_than_the_slot_is_refused_untouched(slot: Slot, tmp_path: Path) -> None:
    image = NOISE * 2
    with pytest.raises(UpdateRejected) as caught:
        rootfs(slot, tmp_path).download(component(image), source_of(image))
    assert caught.value.code is Code.SPACE
    assert held(slot, SIZE) == bytes(SIZE)


@needs_loops
def test_a_slot_that_is_mounted_is_refused_untouched(tmp_path: Path) -> None:
    slot, point = FileSlot(tmp_path / "disk.img"), tmp_path / "mnt"
    point.mkdir()
    mkfs = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin") or "mkfs.ext4"
    image, at = str(slot.path), str(point)
    for argv in ([mkfs, "-q", image], ["mount", "-o", "loop,ro", image, at]):
        subprocess.run(argv, check=True, timeout=60)
    try:
        before = held(slot, SIZE)
        with pytest.raises(InstallFailed, match=f"is mounted on {point}; unmount it"):
            rootfs(slot, tmp_path).download(component(NOISE), source_of(NOISE))
        assert held(slot, SIZE) == before
    finally:
        subprocess.run(["umount", str(point)], check=True, timeout=60)


def rootfs(other: Slot, root: Path) -> RootfsAB:
    """Return the installer of a device that runs `a`, a file; `other` is its slot `b`."""
    running = root / "a.img"
    running.write_bytes(b"running")
    boot(root)
    return RootfsAB({"a": running, "b": other.path}, FileBootloader(root), root)
