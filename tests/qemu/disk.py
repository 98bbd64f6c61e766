"""A whole disk as it leaves the factory, as a file: made without mounts or loop devices."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.qemu.kind import Kind
from tests.qemu.partitions import END, LINUX, MIB, PARTITIONS, Disk
from tests.qemu.programs import run


def make_disk(kind: Kind, file: Path, root: Path, data: Path) -> Disk:
    """Make the disk `file` with the image `root` in slot a, and the files of `data`."""
    disk = Disk(kind, file)
    with file.open("wb") as opened:
        opened.truncate(END + MIB)  # the last one is for the second partition table
    table = "".join(
        f"start={part.start // 512}, size={part.size // 512}, name={part.name}, "
        f"type={kind.boot_partition if part.name == 'boot' else LINUX}\n"
        for part in PARTITIONS.values()
    )
    run("sfdisk", "--quiet", file, content=f"label: gpt\nunit: sectors\n{table}".encode())
    disk.put("root-a", root)
    with TemporaryDirectory(dir=file.parent) as scratch:
        disk.put("data", _data_partition(Path(scratch), data))
        kind.install(disk, Path(scratch))
    return disk


def _data_partition(scratch: Path, data: Path) -> Path:
    image = scratch / "data.img"
    size = f"{PARTITIONS['data'].size // 1024}K"
    run("mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", data, image, size)
    return image
