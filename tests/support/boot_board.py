"""A board for bootloader adapters: what its kernel tells about itself, and what a power cut leaves.

The kernel's part is real files in the kernel's formats; the bootloader's part is each rig's own.
"""

import secrets
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from device_agent.boot.running import MountedRoot, boot_id

Disk = dict[str, bytes]  # every file of a board by its name

_ROOT = "24 1 {device} / / rw,relatime shared:1 - ext4 /dev/root rw\n"


class Board:
    """Two slots, `a` and `b`, files that are mounted through loop devices 7:0 and 7:1."""

    DEVICES: ClassVar = {"a": "7:0", "b": "7:1"}

    def __init__(self, directory: Path) -> None:
        self._mountinfo, self._boot_id = directory / "mountinfo", directory / "boot_id"
        self._slots = {slot: directory / f"slot_{slot}" for slot in self.DEVICES}
        self._block_devices = directory / "sys"
        for slot, device in self.DEVICES.items():
            self._slots[slot].write_bytes(b"")
            backing = self._block_devices / device / "loop" / "backing_file"
            backing.parent.mkdir(parents=True, exist_ok=True)
            backing.write_text(f"{self._slots[slot]}\n")

    def start(self, slot: str) -> str:
        """Boot the kernel of `slot`; return the slot."""
        self._mountinfo.write_text(_ROOT.format(device=self.DEVICES[slot]))
        self._boot_id.write_text(f"{secrets.token_hex(16)}\n")
        return slot

    def running(self) -> str:
        return MountedRoot(self._slots, self._mountinfo, self._block_devices)()

    def boot_id(self) -> str:
        return boot_id(self._boot_id)


def take(directory: Path) -> Disk:
    """Return the files of `directory`, not those in directories below it."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def put_back(directory: Path, disk: Disk) -> None:
    for path in directory.iterdir():
        if path.is_file() and path.name not in disk:
            path.unlink()
    for name, content in disk.items():
        (directory / name).write_bytes(content)


def torn(states: Sequence[Disk]) -> Iterator[Disk]:
    """Yield every one of `states`, and between two of them what a write cut short leaves.

    Where one write replaced bytes in place, a prefix of the new ones is there: each of the first
    five (a checksum and a flag), then eight more lengths.
    """
    for old, new in pairwise(states):
        yield old
        for name, written in new.items():
            yield from (old | {name: part} for part in _parts(old[name], written))
    yield states[-1]


def _parts(old: bytes, new: bytes) -> Iterator[bytes]:
    different = [at for at, (was, now) in enumerate(zip(old, new, strict=True)) if was != now]
    if different:
        first, length = different[0], different[-1] - different[0] + 1
        steps = {*range(1, 6), *(length * step // 8 for step in range(1, 8))}
        yield from (new[: first + cut] + old[first + cut :] for cut in sorted(steps))
