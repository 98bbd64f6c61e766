"""A device that trusts a tree it is served over loopback."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from device_agent.errors import UpdateRejected
from device_agent.fetch.http import HttpClient, Network
from device_agent.fetch.paced import Limits
from device_agent.trust.http_tree import HttpTree
from device_agent.trust.source import Found, TreeFile, TreeSource
from device_agent.trust.tuf_trust import TrustSettings, TufTrust
from schemas.canonical import shard_of
from schemas.refusal import Code
from schemas.wire.types import ComponentRef
from tests.support.documents import DESCRIPTOR, ENTRY, KEY, MANIFEST
from tests.support.fault_server import FaultServer, files
from tests.support.trust_tree import TrustTree

FLEET = MANIFEST.fleet
SHARD_PATH = f"devices/{shard_of(KEY)}.json"
FLEET_PATH = f"fleets/{FLEET}.json"
RELEASE_PATH = f"releases/{DESCRIPTOR.name}/{DESCRIPTOR.version}.json"
RELEASED = ComponentRef(DESCRIPTOR.release, DESCRIPTOR.digest)
LOOPBACK = Network(http_hosts=frozenset({"127.0.0.1"}))
IMPATIENT = Limits(connect=5, headers=1.5, stall=1.0, total=2.0, rate=2000, window=0.3)


@dataclass
class SetClock:
    """A wall clock that stands `ahead` of the real one."""

    ahead: timedelta = timedelta()
    fixed: datetime | None = None

    def now(self) -> datetime:
        return self.fixed or datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()


class FolderTree:
    """A TreeSource over a directory: no network, no etags."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def open(self, path: str, etag: str | None) -> Iterator[TreeFile]:  # noqa: ARG002 - a port
        file = self._directory / path
        if file.is_file():
            yield TreeFile(Found.FILE, iter([file.read_bytes()]))
        else:
            yield TreeFile(Found.MISSING)

    def close(self) -> None:
        pass


@dataclass
class TrustDevice:
    """Everything that outlives the agent's process is under `state`."""

    state: Path
    tree: TrustTree
    server: FaultServer
    root: bytes
    clock: SetClock = field(default_factory=SetClock)
    limits: Limits = IMPATIENT

    def trust(self, source: TreeSource | None = None) -> TufTrust:
        """Return a Trust as a process that has just started has it."""
        client = HttpClient(LOOPBACK, self.limits)
        settings = TrustSettings(self.state, self.root, KEY)
        return TufTrust(settings, source or HttpTree(self.server.url, client), self.clock)

    def floor(self) -> bytes:
        path = self.state / "floor.json"
        return path.read_bytes() if path.exists() else b""

    def cached(self, name: str) -> Path:
        return self.state / "tuf" / name

    def lose_cache(self) -> None:
        shutil.rmtree(self.state / "tuf", ignore_errors=True)
        shutil.rmtree(self.state / "documents", ignore_errors=True)

    @contextmanager
    def refused(self, code: Code) -> Iterator[None]:
        """Expect the block to be refused with `code`, a reason, and no change to the floor."""
        floor = self.floor()
        with pytest.raises(UpdateRejected) as caught:
            yield
        assert caught.value.code is code, str(caught.value)
        assert len(caught.value.message) > 10
        assert self.floor() == floor


@contextmanager
def trust_device(tmp_path: Path) -> Iterator[TrustDevice]:
    """Serve a small good tree (a fleet, a device, a release) to a device that knows its root."""
    tree = TrustTree(tmp_path / "tree")
    tree.put_entries({KEY: ENTRY})
    tree.put_manifest(MANIFEST)
    tree.put_release(DESCRIPTOR)
    tree.publish()
    with FaultServer(files(tree.directory)) as server:
        yield TrustDevice(tmp_path / "state" / "trust", tree, server, tree.root_bytes())


@contextmanager
def trusting_device(tmp_path: Path) -> Iterator[TrustDevice]:
    """A device that has trusted the tree already: generation 7, timestamp version 3."""
    with trust_device(tmp_path) as device:
        device.tree.refresh_timestamp()
        device.tree.refresh_timestamp()
        trust = device.trust()
        trust.refresh()
        trust.descriptor(RELEASED)
        yield device


def republish(device: TrustDevice, generation: int) -> None:
    """Publish the fleet's manifest again, as `generation`."""
    device.tree.put_manifest(replace(MANIFEST, generation=generation))
    device.tree.publish()
