"""What it takes to install an artifact of Mender's format, beside Debian's mender-client.

The same artifact, the same Update Module, a mount namespace for each agent, installs in turn. Half
of the payload can be compressed. The disk is flushed before each install, not in between: what an
agent flushes itself is its own time.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Figure, Peer, Scale
from tests.support.differential import Device, both, target
from tests.support.differential_artifacts import Recipe, by_mender_artifact

MIB = 1024 * 1024
SIZE = {Scale.FULL: 64 * MIB, Scale.TINY: MIB}
REPEATS = {Scale.FULL: 7, Scale.TINY: 1}
LOOKS = {Scale.FULL: 3, Scale.TINY: 1}  # installs in which the memory of all processes is summed
LOOK = 0.005  # seconds between two sums
WITHIN = 60.0  # seconds for one install
PEER = "Debian's mender-client"
ENCODINGS = {"none": "none", "gzip": "gzip", "lzma": "xz"}
MODULE = "payload"
WAYS = ("streamed", "stored")


@dataclass(frozen=True, slots=True)
class _Install:
    """Seconds of the wall and of all processors, bytes of the largest process."""

    wall: float
    cpu: float
    peak: float


def mender_payload(scale: Scale, directory: Path) -> tuple[Figure, ...]:
    """Install 64 MiB, packed in each way, by a module that streams and by one that does not.

    Nothing is measured where mount namespaces cannot be made, or the peer is missing.
    """
    if os.geteuid() or not shutil.which("mender"):
        print("not measured: it needs root, and Debian's mender-client", file=sys.stderr)
        return ()
    payload = directory / "payload.bin"
    payload.write_bytes(half_compressible(SIZE[scale]))
    figures: list[Figure] = []
    for compression, shown in ENCODINGS.items():
        artifact = directory / f"{compression}.mender"
        by_mender_artifact(Recipe(MODULE, (payload,)), compression, artifact)
        for way in WAYS:
            name = f"install {SIZE[scale] // MIB} MiB, {shown}, {way}"
            figures += _measured(name, artifact, directory / f"{shown}-{way}", way, scale)
    return tuple(figures)


def half_compressible(size: int) -> bytes:
    """Return pages of noise and of text in turn, always the same ones."""
    noise, page = random.Random(1), 4096
    text = b"a line of a log that repeats itself\n" * (page // 36 + 1)
    pairs = size // (2 * page)
    return b"".join(noise.randbytes(page) + text[:page] for _ in range(pairs))


def _measured(name: str, artifact: Path, place: Path, way: str, scale: Scale) -> Iterator[Figure]:
    place.mkdir()
    theirs, ours = both(place)
    for device in (theirs, ours):
        device.add_module(MODULE, _module(way, target(place)))
        _timed(device, artifact)  # warms up: files in memory, databases made
    runs = [(_timed(ours, artifact), _timed(theirs, artifact)) for _ in range(REPEATS[scale])]
    sums = [(_summed(ours, artifact), _summed(theirs, artifact)) for _ in range(LOOKS[scale])]
    shutil.rmtree(place)
    for quantity, unit, values in (
        ("wall", "s", [(our.wall, their.wall) for our, their in runs]),
        ("CPU", "s", [(our.cpu, their.cpu) for our, their in runs]),
        ("largest process", "MiB", [(our.peak / MIB, their.peak / MIB) for our, their in runs]),
        ("all processes", "MiB", [(our / MIB, their / MIB) for our, their in sums]),
    ):
        our_values, their_values = zip(*values, strict=True)
        yield Figure(f"{name}, {quantity}", unit, our_values, Peer(PEER, their_values))


def _module(way: str, to: Path) -> str:
    """Return a module that writes what it streams to `to`, beside its tree; or leaves storing it
    to the agent."""
    stream = f'while f="$(cat stream-next)"; [ -n "$f" ]; do cat "$f" >{to}/streamed; done'
    return f"""#!/bin/sh
case "$1" in
    Download) {stream if way == "streamed" else ":"} ;;
    SupportsRollback) echo Yes ;;
esac
"""


def _timed(device: Device, artifact: Path) -> _Install:
    """Install, roll back, and return what the install took."""
    os.sync()
    child = Path(__file__).with_name("measured_child.py")
    argv = [sys.executable, "-I", "-S", str(child), *device.argv("install", artifact)]
    done = subprocess.run(
        argv, capture_output=True, check=True, timeout=WITHIN, env=device.environment
    )
    found: Mapping[str, float] = json.loads(done.stdout)
    assert found["status"] == 0, found
    assert found["floor"] < found["peak"], found
    _roll_back(device)
    return _Install(found["wall"], found["cpu"], found["peak"])


def _summed(device: Device, artifact: Path) -> float:
    """Install, roll back, and return the most bytes that all processes had together."""
    most = 0.0
    with subprocess.Popen(
        device.argv("install", artifact),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=device.environment,
    ) as process:
        until = time.monotonic() + WITHIN
        while process.poll() is None and time.monotonic() < until:
            most = max(most, sum(map(_memory, _family(process.pid))))
            time.sleep(LOOK)
        process.kill()
    assert process.returncode == 0, process.returncode
    _roll_back(device)
    return most


def _roll_back(device: Device) -> None:
    ran = device.run("rollback")
    assert ran.status == 0, ran.errors


def _family(pid: int) -> Sequence[int]:
    """Return `pid` and all its descendants."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:  # it has ended
        return (pid,)
    return (pid, *(one for child in map(int, text.split()) for one in _family(child)))


def _memory(pid: int) -> int:
    """Return the bytes of `pid`, what it shares divided among those that share it (Pss)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
