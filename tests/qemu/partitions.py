"""The disk of a board as a file: its partitions, and what lies in them, read from outside."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.qemu.programs import run

if TYPE_CHECKING:
    from tests.qemu.kind import Kind

MIB = 1024 * 1024
SLOT = 96 * MIB  # bytes of a slot, and of an image
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"  # a partition type


@dataclass(frozen=True, slots=True)
class Partition:
    """`number` as in /dev/nvme0n1pN; `start` and `size` in bytes."""

    number: int
    name: str
    start: int
    size: int

    @property
    def device(self) -> str:
        return f"/dev/nvme0n1p{self.number}"


def _laid_out() -> dict[str, Partition]:
    sizes = {"boot": 4 * MIB, "variables": 4 * MIB, "root-a": SLOT, "root-b": SLOT}
    found: dict[str, Partition] = {}
    start = MIB
    for number, (name, size) in enumerate({**sizes, "data": 32 * MIB}.items(), 1):
        found[name] = Partition(number, name, start, size)
        start += size
    return found


PARTITIONS = _laid_out()
END = max(part.start + part.size for part in PARTITIONS.values())


@dataclass(frozen=True, slots=True)
class Disk:
    """`file` is the whole disk of a board of this `kind`."""

    kind: "Kind"
    file: Path

    def read(self, partition: str, length: int, *, at: int = 0) -> bytes:
        """Return `length` bytes of a partition."""
        with self.file.open("rb") as file:
            file.seek(PARTITIONS[partition].start + at)
            return file.read(length)

    def write(self, partition: str, content: bytes, *, at: int = 0) -> None:
        with self.file.open("r+b") as file:
            file.seek(PARTITIONS[partition].start + at)
            file.write(content)

    def put(self, partition: str, image: Path) -> None:
        """Copy `image` to the start of a partition; where it has holes, nothing is changed."""
        argv = ["dd", f"if={image}", f"of={self.file}", "bs=1M"]
        seek = PARTITIONS[partition].start // MIB
        run(*argv, f"seek={seek}", "conv=notrunc,sparse", "status=none")

    def variables(self) -> list[Mapping[str, str] | None]:
        """Return both copies of the boot variables, None for one that is not intact."""
        return self.kind.variables(self)

    def data(self, target: Path) -> Path:
        """Copy what is on the data partition into the new directory `target`, and return that.

        As the next start would find it: the filesystem's journal is replayed, and nothing else may
        be wrong with it. Raises RuntimeError.
        """
        target.mkdir()
        with self._data_image() as image:
            run("debugfs", "-R", f"rdump / {target}", image)
        return target

    def change_data(self, *commands: str) -> None:
        """Run commands of debugfs on the data partition. Raises RuntimeError when it then is not
        whole; what debugfs thinks of a command is not told."""
        with self._data_image() as image:
            for command in commands:
                run("debugfs", "-w", "-R", command, image)
            run("e2fsck", "-fn", image)
            self.write("data", image.read_bytes())

    def data_room(self) -> int:
        """Return how many bytes are free on the data partition, root's share included."""
        with self._data_image() as image:
            said = run("dumpe2fs", "-h", image).decode()
        facts = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        return int(facts["Free blocks"]) * int(facts["Block size"])

    @contextmanager
    def _data_image(self) -> Iterator[Path]:
        with TemporaryDirectory(dir=self.file.parent) as scratch:
            image = Path(scratch) / "data.img"
            image.write_bytes(self.read("data", PARTITIONS["data"].size))
            run("e2fsck", "-E", "journal_only", "-fy", image, accept={0, 1})
            run("e2fsck", "-fn", image)
            yield image


def tree(root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below `root`, by its path there."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
