"""A loop device for a bench, and what the kernel counts of it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECTOR = 512  # bytes; the unit of /sys/block/*/stat, whatever the device's is


@contextmanager
def loop_device(backing: Path, size: int) -> Iterator[Path]:
    """Make a loop device of `size` bytes over the new file `backing`. Needs root."""
    backing.touch()
    os.truncate(backing, size)
    argv = ("losetup", "--find", "--show", str(backing))
    environment = {"PATH": PATH}
    made = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    device = made.stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(("losetup", "--detach", device), check=True, env=environment)


def settle(device: Path) -> None:
    """Flush everything, and drop what lies in memory of `device` and of the file behind it."""
    os.sync()
    backing = Path(f"/sys/block/{device.name}/loop/backing_file").read_text().rstrip("\n")
    for path in (device, Path(backing)):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def given(device: Path) -> int:
    """Return how many bytes `device` was given to write since it exists."""
    return int(Path(f"/sys/block/{device.name}/stat").read_text().split()[6]) * SECTOR
