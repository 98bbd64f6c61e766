"""Writes an artifact into a slot as the agent's step does, and prints JSON: what that took.

`python -m tests.bench.slot_write_child ARTIFACT ENCODING SIZE SHA256 SLOT DIRECTORY`: bytes are
read from the file ARTIFACT instead of the network; the slot that runs is a file in DIRECTORY.
Seconds of download() and of install(), which reads back; peak bytes of this process, which holds
what a step of the daemon imports.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import device_agent.app
import device_agent.gateway_client
import device_agent.health
import device_agent.identity
import device_agent.step
import device_agent.trust.tuf_trust  # noqa: F401 - its weight is a step's, as that of those above
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.component import Component
from device_agent.install.rootfs_ab import RootfsAB
from schemas.wire.descriptor import ROOTFS_AB, Artifact, Descriptor, Encoding, Scope
from schemas.wire.types import ComponentRef

CHUNK = 64 * 1024  # bytes, about what arrives from the network at once


@dataclass(frozen=True, slots=True)
class FileSource:
    """An ArtifactSource that hashes and judges as the one over HTTP does."""

    path: Path

    def stream(self, artifact: Artifact) -> Iterator[bytes]:
        digest = hashlib.sha256()
        with self.path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                yield chunk
        assert digest.hexdigest() == artifact.sha256


def main(path: str, encoding: str, size: str, sha256: str, slot: str, directory: str) -> None:
    place, stored = Path(directory), Path(path).stat().st_size
    artifact = Artifact("", sha256, stored, int(size), Encoding(encoding))
    descriptor = Descriptor("kiosk-os", "1.5.0", ROOTFS_AB, Scope.SLOT, 1, (artifact,))
    ref = ComponentRef(descriptor.release, descriptor.digest)
    component = Component(name="os", ref=ref, descriptor=descriptor, artifact=artifact)
    running = place / "running.img"
    running.touch()
    boot(place)
    installer = RootfsAB({"a": running, "b": Path(slot)}, FileBootloader(place), place)
    began = time.perf_counter()
    installer.download(component, FileSource(Path(path)))
    written = time.perf_counter()
    installer.install(component)
    read = time.perf_counter()
    installer.cleanup(component)
    found = {"write": written - began, "read": read - written, "peak": _peak()}
    print(json.dumps(found))


def _peak() -> int:
    """Return the most bytes that this process held. The kernel's account for wait4(2) would start
    at what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
