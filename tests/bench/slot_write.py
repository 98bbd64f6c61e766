"""How fast an image comes into a slot, beside what a shell would do with `dd`, in turn.

The slot is a loop device over a file. Two images take turns, the agent writes one and `dd` the
other, so that each write finds an image in which nothing is the same. What lies in memory of the
slot is dropped before each write.
"""

import hashlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.wire.descriptor import Encoding
from tests.bench.figures import Figure, Peer, Scale, seconds
from tests.bench.loop_device import PATH, given, loop_device, settle
from tests.bench.mender_slots import mender_slots, rootfs_artifact

MIB = 1024 * 1024
SIZE = {Scale.FULL: 128 * MIB, Scale.TINY: 2 * MIB}
REPEATS = {Scale.FULL: 5, Scale.TINY: 1}
WITHIN = 120.0  # seconds for one write
PAGE = 4096
EXTENT = 256 * 1024  # bytes that change together where 95 % of an image stays
# As large as windows and dictionaries may be: 16 MiB.
PACK: Mapping[Encoding, Sequence[str]] = {
    Encoding.GZIP: ("gzip", "-c"),
    Encoding.XZ: ("xz", "-c", "-7", "--threads=2"),
    Encoding.ZSTD: ("zstd", "-q", "-c", "-3", "--long=24", "--threads=2"),
}
UNPACK: Mapping[Encoding, str] = {
    Encoding.RAW: "cat",
    Encoding.GZIP: "gzip -dc",
    Encoding.XZ: "xz -dc",
    Encoding.ZSTD: "zstd -dc",
}


@dataclass(frozen=True, slots=True)
class Packed:
    """An image as it is stored, and the bytes that it has unpacked."""

    path: Path
    encoding: Encoding
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of the write, of reading back, and of the whole process; its peak bytes; and the
    bytes that the device was given."""

    write: float
    read: float
    whole: float
    peak: float
    given: float


def slot_write(scale: Scale, directory: Path) -> tuple[Figure, ...]:
    """Write an image packed in each way; then one of which 95 % is there already.

    Nothing is measured without loop devices, and nothing beside mender-client where it is missing.
    """
    if os.geteuid() or not shutil.which("losetup", path=PATH):
        print("not measured: it needs root, and losetup for loop devices", file=sys.stderr)
        return ()
    size = SIZE[scale]
    ours, theirs = (_image(directory / f"{seed}.img", seed, size) for seed in (1, 2))
    figures: list[Figure] = []
    with loop_device(directory / "slot.img", size) as slot:
        for encoding in Encoding:
            pair = _packed(ours, encoding), _packed(theirs, encoding)
            figures += _in_turn(slot, pair, directory, REPEATS[scale])
        if shutil.which("mender") and shutil.which("mender-artifact"):
            figures += _beside_mender(slot, ours, theirs, directory, REPEATS[scale])
        nearly = _packed(_changed(theirs, directory / "nearly.img"), Encoding.ZSTD)
        before = _packed(theirs, Encoding.RAW)
        figures += _mostly_there(slot, before, nearly, directory, REPEATS[scale])
    return tuple(figures)


def _in_turn(
    slot: Path, pair: tuple[Packed, Packed], place: Path, repeats: int
) -> Iterator[Figure]:
    mine, others = pair
    write_by_dd(slot, others)
    runs = [(write(slot, mine, place), write_by_dd(slot, others)) for _ in range(repeats)]
    took = [run for run, _ in runs]
    mib, name = mine.size / MIB, f"slot, {mine.encoding}"
    peer = Peer(
        f"{UNPACK[mine.encoding]}, piped to dd conv=fsync", tuple(mib / time for _, time in runs)
    )
    yield Figure(f"{name}, write", "MiB/s", tuple(mib / one.write for one in took), peer)
    yield Figure(f"{name}, read back", "MiB/s", tuple(mib / one.read for one in took))
    yield Figure(f"{name}, agent's peak", "MiB", tuple(one.peak / MIB for one in took))
    if mine.encoding is Encoding.ZSTD:
        yield Figure(f"{name}, peak of the program zstd", "MiB", (_unpacking(mine) / MIB,))


def _unpacking(image: Packed) -> float:
    """Return the peak bytes of the program that unpacks `image` for the agent."""
    child = str(Path(__file__).with_name("measured_child.py"))
    program = ("zstd", "-q", "--decompress", "--stdout", str(image.path))
    argv = (sys.executable, "-I", "-S", child, *program)
    done = subprocess.run(argv, capture_output=True, check=True, timeout=WITHIN)
    found: Mapping[str, float] = json.loads(done.stdout)
    return found["peak"]


def _beside_mender(
    slot: Path, mine: Path, others: Path, place: Path, repeats: int
) -> Iterator[Figure]:
    """Whole processes; ours also reads the slot back. Then what is left without their start and
    end: what a large image takes longer than a small one."""
    large, inside = mine.stat().st_size, place / "mender"
    small = large // 64
    little, others_little = (_image(place / f"{seed}.img", seed, small) for seed in (4, 5))
    runs = []
    with mender_slots(inside, slot) as device:
        turns = [
            (_packed(our, Encoding.GZIP), rootfs_artifact(their, inside / f"{their.stem}.mender"))
            for our, their in ((mine, others), (little, others_little))
        ]
        for _ in range(repeats):
            took = []
            for our, their in turns:
                took.append(write(slot, our, place).whole)
                settle(slot)
                took.append(device.install(their))
            runs.append(took)
    ours, theirs, ours_little, theirs_little = map(tuple, zip(*runs, strict=True))
    peer = Peer("Debian's mender-client, the same size and packing", theirs)
    yield Figure(f"slot, gzip, whole install of {large // MIB} MiB", "s", ours, peer)
    more = f"slot, gzip, what {(large - small) // MIB} MiB more take"
    peer = Peer("Debian's mender-client, likewise", _beyond(theirs, theirs_little))
    yield Figure(more, "s", _beyond(ours, ours_little), peer)


def _beyond(longer: Sequence[float], shorter: Sequence[float]) -> tuple[float, ...]:
    return tuple(one - other for one, other in zip(longer, shorter, strict=True))


def _mostly_there(
    slot: Path, before: Packed, new: Packed, place: Path, repeats: int
) -> Iterator[Figure]:
    took, times = [], []
    for _ in range(repeats):
        times.append(write_by_dd(slot, new))
        write_by_dd(slot, before)
        took.append(write(slot, new, place))
    mib, name = new.size / MIB, "slot, zstd, 95 % there"
    differ = sum(1 for _ in _extents(new.size)) * EXTENT / MIB
    given = tuple(one.given / MIB for one in took)
    yield Figure(f"{name}, written", "MiB", given, Peer("the bytes that differ", (differ,)))
    peer = Peer("zstd -dc, piped to dd conv=fsync", tuple(mib / time for time in times))
    yield Figure(f"{name}, write", "MiB/s", tuple(mib / one.write for one in took), peer)


def write(slot: Path, image: Packed, place: Path) -> Took:
    """Let the agent write `image` into `slot`, in a process of its own."""
    device = place / "device"
    device.mkdir()
    settle(slot)
    before = given(slot)
    argv = (sys.executable, "-m", "tests.bench.slot_write_child", str(image.path))
    about = (image.encoding, str(image.size), image.sha256, str(slot), str(device))
    began = time.perf_counter()
    done = subprocess.run((*argv, *about), capture_output=True, check=True, timeout=WITHIN)
    whole = time.perf_counter() - began
    found: Mapping[str, float] = json.loads(done.stdout)
    shutil.rmtree(device)
    return Took(**found, whole=whole, given=given(slot) - before)


def write_by_dd(slot: Path, image: Packed) -> float:
    """Return the seconds that a shell takes to write `image`."""
    unpack = f"{UNPACK[image.encoding]} {shlex.quote(str(image.path))}"
    script = f"{unpack} | dd of={slot} bs=1M iflag=fullblock conv=fsync status=none"
    settle(slot)
    return seconds(lambda: subprocess.run(("sh", "-c", script), check=True, timeout=WITHIN))


def _image(path: Path, seed: int, size: int) -> Path:
    """Write pages of noise and of text in turn: half of it can be compressed."""
    noise = random.Random(seed)
    text = f"{seed}: a line of a log that repeats itself\n".encode() * (PAGE // 36 + 1)
    with path.open("wb") as file:
        for _ in range(size // (2 * PAGE)):
            file.write(noise.randbytes(PAGE) + text[:PAGE])
    return path


def _changed(image: Path, path: Path) -> Path:
    """Copy `image`, with every twentieth extent changed."""
    noise = random.Random(3)
    shutil.copyfile(image, path)
    with path.open("r+b") as file:
        for at in _extents(image.stat().st_size):
            file.seek(at)
            file.write(noise.randbytes(EXTENT))
    return path


def _extents(size: int) -> range:
    return range(0, size - EXTENT + 1, 20 * EXTENT)


def _packed(image: Path, encoding: Encoding) -> Packed:
    """Return `image` as it is stored, packed once."""
    stored = image
    if encoding is not Encoding.RAW:
        stored = image.with_suffix(f".{encoding}")
        with stored.open("wb") as file:
            subprocess.run((*PACK[encoding], str(image)), stdout=file, check=True)
    with stored.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Packed(stored, encoding, image.stat().st_size, digest)
