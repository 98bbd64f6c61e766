"""Which slot runs: the one whose device is mounted as the root. Asked of the kernel every time."""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_agent.boot.none import KERNEL_BOOT_ID
from device_agent.errors import InstallFailed
from schemas.wire.report import FailureClass

_MOUNTINFO = Path("/proc/self/mountinfo")
_BLOCK_DEVICES = Path("/sys/dev/block")
_LIMIT = 16 * 1024 * 1024  # bytes of mountinfo
_DEEPEST = 8  # devices stacked on devices, roots upon roots
_ESCAPED = re.compile(r"\\([0-7]{3})")


def boot_id(path: Path = KERNEL_BOOT_ID) -> str:
    """Return the kernel's id of this boot, 32 hex digits. Raises InstallFailed."""
    try:
        return path.read_text(encoding="ascii").strip().replace("-", "")
    except OSError as error:
        raise InstallFailed(f"{path}: {error.strerror}", FailureClass.REBOOT) from error


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of mountinfo, proc_pid_mountinfo(5). `device` is `major:minor`."""

    device: str
    point: Path
    kind: str
    source: str
    options: str


class MountedRoot:
    """Finds the running slot among `slots`, which are block devices, links to them, or files.

    It sees through loop devices, device-mapper (verity), filesystems with device numbers of their
    own (btrfs), and overlays whose lower directory is a slot that is mounted where all can see it.
    """

    def __init__(
        self,
        slots: Mapping[str, Path],
        mountinfo: Path = _MOUNTINFO,
        block_devices: Path = _BLOCK_DEVICES,
    ) -> None:
        self._slots = dict(slots)
        self._mountinfo, self._block_devices = mountinfo, block_devices

    def __call__(self) -> str:
        """Return the slot's name. Raises InstallFailed, saying what to configure."""
        try:
            with self._mountinfo.open("rb") as file:
                text = file.read(_LIMIT).decode("utf-8", "surrogateescape")
            mounts = tuple(_parse(text))
            root = _mount_at(Path("/"), mounts)
            found = self._slots_under(root, mounts) if root else set()
        except OSError as error:
            raise _failed(f"cannot see what runs: {error}") from error
        if len(found) != 1:
            raise self._unknown(root, found)
        return found.pop()

    def _slots_under(self, root: Mounted, mounts: Sequence[Mounted]) -> set[str]:
        """Return the slots that `root` is made of: one, unless the configuration is wrong."""
        layer = root
        for _ in range(_DEEPEST):
            if layer.kind != "overlay":
                return {name for name in self._slots if self._holds(layer, self._slots[name])}
            below = _mount_at(_lowest_directory(layer.options), mounts)
            if below is None or below.point == Path("/"):
                return set()
            layer = below
        return set()

    def _holds(self, mount: Mounted, slot: Path) -> bool:
        """Say whether `mount` is of `slot`, by itself or through devices stacked upon it."""
        wanted = _device_number(slot)
        if wanted and wanted == _device_number(Path("/", mount.source)):
            return True
        return any(
            device == wanted or self._backed_by(device, slot) for device in self._stack(mount)
        )

    def _stack(self, mount: Mounted) -> Iterator[str]:
        """Yield the numbers of the mount's device and of those it is made of."""
        devices = [mount.device]
        for _ in range(_DEEPEST):
            yield from devices
            devices = [
                number.read_text().strip()
                for device in devices
                for number in sorted(self._block_devices.glob(f"{device}/slaves/*/dev"))
            ]

    def _backed_by(self, device: str, slot: Path) -> bool:
        backing = self._block_devices / device / "loop" / "backing_file"
        try:
            return slot.samefile(backing.read_text().rstrip("\n"))
        except OSError:  # no loop device, or its file is out of sight
            return False

    def _unknown(self, root: Mounted | None, found: set[str]) -> InstallFailed:
        slots = ", ".join(f"{name} is {path}" for name, path in sorted(self._slots.items()))
        what = f"{root.source} ({root.kind}, {root.device})" if root else "nothing that can be seen"
        if found:
            return _failed(f"boot.slots: {slots}: both are {what}, the mounted root; correct them")
        return _failed(
            f"boot.slots: {slots}, but the mounted root is {what}: name the devices that the"
            " device starts from; below an overlay the slot must stay mounted"
        )


def _parse(mountinfo: str) -> Iterator[Mounted]:
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        if len(before) >= 6 and len(after) >= 3:
            point, source, options = (_plain(word) for word in (before[4], after[1], after[2]))
            yield Mounted(before[2], Path(point), after[0], source, options)


def _mount_at(path: Path, mounts: Sequence[Mounted]) -> Mounted | None:
    """Return the mount that `path` is on: the deepest one, and of those the last, on top."""
    around = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(around), key=lambda mount: len(mount.point.parts), default=None)


def _lowest_directory(options: str) -> Path:
    """Return the last of an overlay's lower directories: the image below what covers it."""
    lower = [
        value
        for name, _, value in (option.partition("=") for option in options.split(","))
        if name in ("lowerdir", "lowerdir+")
    ]
    return Path(re.split(r"(?<!\\):", lower[-1])[-1].replace("\\:", ":") if lower else "/")


def _device_number(path: Path) -> str:
    """Return `major:minor` of a block device, "" for anything else or nothing."""
    try:
        status = path.stat()
    except OSError:
        return ""
    if not stat.S_ISBLK(status.st_mode):
        return ""
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _plain(word: str) -> str:
    return _ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), word)


def _failed(message: str) -> InstallFailed:
    return InstallFailed(message, FailureClass.REBOOT)
