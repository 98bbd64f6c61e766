"""Whoever can write to the published tree, or plays back what was true once, changes no device.

One real device polls a real tree over HTTPS and reports to a real gateway; the reconciler is down.
The honest trees were all published before: each is a timestamp.json, since no other file of a tree
is ever replaced. A test shows the device a wrong one, and then what was really published.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import MetaFile, Snapshot, TargetFile, Targets

from device_agent.boot.environment import Environment, load
from reconciler.adapters.dir_layout import Layout
from reconciler.adapters.signers import load_signer
from reconciler.adapters.tuf_published import Published, load_published
from reconciler.adapters.tuf_roles import bin_of, issue, signed_bytes
from reconciler.demo.devices import VirtualDevice
from reconciler.demo.image import write_image
from reconciler.demo.stack import Stack, wait_until
from reconciler.demo.story import FLEET
from schemas.canonical import sha256_hex
from schemas.refusal import Code
from schemas.wire.decode import decode, encode
from schemas.wire.descriptor import Descriptor
from schemas.wire.manifest import Manifest
from schemas.wire.types import ComponentRef
from tests.e2e.fleet import PATIENCE, Fleet

pytestmark = pytest.mark.e2e

TREES = 8  # versions that are published in advance; a test uses one or two
MANIFEST = f"fleets/{FLEET}.json"
RELEASE_ROLE = "releases-demo-os"

RUNNING = "SELECT * FROM running"
AT_WORK = "SELECT * FROM record"
UNREPORTED = "SELECT * FROM outbox"

POLICY = """\
apiVersion: fleetcd/v1
kind: RolloutPolicy
metadata:
  name: demo
spec:
  stages:
    - {name: all, percent: 100}
  gate: {success: 100, minFinished: 1, attemptTimeout: 10m, reportLost: 10m}
  onFailure: pause
"""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a refusal must leave as it was. `journal`: what runs, what is at work, what failed."""

    running_slot: str
    other_slot: str
    boot: Mapping[str, bytes]
    floor: bytes
    journal: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event as the gateway stored it."""

    kind: object
    outcome: object
    failure: object
    code: object
    message: object


@dataclass(slots=True)
class Site:
    """A device, and the trees it may be shown: `trees` by version; `shown` is the newest so far."""

    fleet: Fleet
    device: VirtualDevice
    trees: dict[str, Published] = field(default_factory=dict)
    shown: int = 1

    @property
    def layout(self) -> Layout:
        return Layout(self.fleet.stack.made.tree)

    def signer(self, name: str) -> Signer:
        return load_signer(f"file:{self.fleet.stack.made.keys / name}.pem")

    def bake(self) -> None:
        """Publish all trees, while no device looks."""
        self.fleet.power_off(*self.fleet.stack.devices)
        self._remember("1")
        for _ in range(TREES):
            self._remember(self.fleet.ship())
        self.fleet.stack.stop_reconciler()
        self.show(self.trees["1"].timestamp_raw)
        self.fleet.stack.start_reconciler("gateway", "tree")
        boots = self.boot().boots
        self.fleet.power_on(self.device)
        wait_until(lambda: self.boot().boots > boots, PATIENCE, "the device has booted")

    def boot(self) -> Environment:
        variables = load(self.device.directory / "boot")
        assert variables is not None
        return variables

    def _remember(self, version: str) -> None:
        online, timestamp = self.signer("online"), self.signer("timestamp")
        published = load_published(self.layout, online.public_key, timestamp.public_key)
        self.trees[version] = published

    def following(self) -> tuple[str, Published]:
        """Return the next version that the device has not been shown, and its tree."""
        self.shown += 1
        return str(self.shown), self.trees[str(self.shown)]

    def show(self, timestamp: bytes) -> None:
        replaced(self.layout.timestamp, timestamp)

    def converge(self) -> None:
        """Show what was really published last, and wait until the device runs it."""
        self.show(self.trees[str(self.shown)].timestamp_raw)
        self.wait_runs(str(self.shown))

    def wait_runs(self, version: str) -> None:
        def settled() -> bool:
            queries = (AT_WORK, UNREPORTED)
            busy = any(self.fleet.journal(self.device, query) for query in queries)
            boot, running = self.boot(), self.device.running_version()
            return not busy and boot.running == boot.primary and running == version

        wait_until(settled, PATIENCE, f"the device runs {version}")

    def journal(self) -> Mapping[str, object]:
        queries = (RUNNING, AT_WORK, "SELECT * FROM failed")
        return {query: self.fleet.journal(self.device, query) for query in queries}

    def footprint(self) -> Footprint:
        running = "ab".index(self.boot().running)
        return Footprint(
            running_slot=sha256_hex(self.device.slots[running].read_bytes()),
            other_slot=sha256_hex(self.device.slots[1 - running].read_bytes()),
            boot={f.name: f.read_bytes() for f in (self.device.directory / "boot").iterdir()},
            floor=(self.device.directory / "state" / "trust" / "floor.json").read_bytes(),
            journal=self.journal(),
        )

    def refusals(self) -> list[Refusal]:
        rows = self.fleet.rows(
            "SELECT kind, outcome, failure, code, message FROM events"
            " WHERE key = ? AND code IS NOT NULL ORDER BY received_at",
            self.device.key,
        )
        return [Refusal(*row) for row in rows]

    def refused(self, show: Callable[[], None]) -> Refusal:
        """Show the device something wrong; return the refusal that it reports."""
        before = len(self.refusals())
        show()
        wait_until(lambda: len(self.refusals()) > before, PATIENCE, "the device reports a refusal")
        (refusal,) = self.refusals()[before:]
        return refusal


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("tampering") / "stack"
    with Stack(directory, devices=2, policy=POLICY) as stack:
        fleet = Fleet(stack)
        fleet.begin()
        site = Site(fleet, stack.devices[0])
        site.bake()
        yield site


@pytest.fixture
def site(prepared: Site) -> Site:
    prepared.converge()
    return prepared


def test_a_tampered_manifest_is_refused_and_changes_nothing(site: Site) -> None:
    before = site.footprint()
    _, tree = site.following()
    manifest = document(site, tree, MANIFEST)
    with replacing(manifest, flipped(manifest.read_bytes())):
        refusal = site.refused(lambda: site.show(tree.timestamp_raw))
        assert (refusal.kind, refusal.code) == ("refused", Code.HASH)
        assert MANIFEST in str(refusal.message)
        assert site.footprint() == before
    site.converge()


def test_an_old_tree_that_is_played_back_is_refused_and_changes_nothing(site: Site) -> None:
    site.following()
    site.converge()
    before = site.footprint()
    old = site.trees[str(site.shown - 1)]
    refusal = site.refused(lambda: site.show(old.timestamp_raw))
    assert (refusal.kind, refusal.code) == ("refused", Code.ROLLBACK)
    assert str(old.timestamp.version) in str(refusal.message)
    assert site.footprint() == before
    site.following()
    site.converge()


def test_an_expired_timestamp_is_refused_and_changes_nothing(site: Site) -> None:
    before = site.footprint()
    _, tree = site.following()
    expired = deepcopy(tree.timestamp)
    issue(expired, datetime.now(UTC) - timedelta(days=8))
    stale = signed_bytes(expired, [site.signer("timestamp")])
    refusal = site.refused(lambda: site.show(stale))
    assert (refusal.kind, refusal.code) == ("refused", Code.EXPIRED)
    assert "timestamp" in str(refusal.message)
    assert site.footprint() == before
    site.converge()


def test_a_release_that_another_key_signed_is_refused_and_changes_nothing(site: Site) -> None:
    before = site.footprint()
    version, tree = site.following()
    wanted = tree.releases[RELEASE_ROLE].targets
    forged = deepcopy(wanted)
    evil = TargetFile.from_data(release_path(version), b"{}", ["sha256"])
    forged.targets[release_path(version)] = evil
    nobody = CryptoSigner.generate_ed25519()
    file = site.layout.metadata(RELEASE_ROLE, wanted.version)
    with replacing(file, signed_bytes(forged, [nobody])):
        refusal = site.refused(lambda: site.show(tree.timestamp_raw))
        assert (refusal.kind, refusal.code) == ("refused", Code.SIGNATURE)
        assert RELEASE_ROLE in str(refusal.message)
        after = site.footprint()
        # The rest of the tree is genuine, and raises the floor; what was refused does not.
        assert after == replace(before, floor=after.floor)
        assert floor_of(after, "timestamp") == tree.timestamp.version
        assert floor_of(after, RELEASE_ROLE) == floor_of(before, RELEASE_ROLE) < wanted.version
    site.converge()


def test_a_tampered_artifact_is_refused_and_never_started(site: Site) -> None:
    before = site.footprint()
    version, tree = site.following()
    image = (site.fleet.stack.directory / f"demo-os-{version}.img").read_bytes()
    artifact = site.layout.artifact(sha256_hex(image))
    with replacing(artifact, flipped(image)):
        refusal = site.refused(lambda: site.show(tree.timestamp_raw))
        assert (refusal.kind, refusal.outcome) == ("finished", "failed")
        assert (refusal.failure, refusal.code) == ("checksum", Code.HASH)
        after = site.footprint()
        # The download goes straight into the slot that does not run, and nothing starts that.
        assert (after.running_slot, after.boot) == (before.running_slot, before.boot)
        assert after.journal[RUNNING] == before.journal[RUNNING]
        assert not after.journal[AT_WORK]
        assert floor_of(after, "timestamp") == tree.timestamp.version, "the metadata is genuine"
    site.following()  # what failed here is not tried again; what comes next is
    site.converge()


def test_what_a_stolen_online_key_signs_is_not_installed_without_a_release_key(
    site: Site,
) -> None:
    before = site.footprint()
    while site.shown <= TREES:
        version, tree = site.following()
    refusal = site.refused(lambda: invent_a_release(site, tree))
    assert (refusal.kind, refusal.code) == ("refused", Code.NOT_RELEASED)
    assert "demo-os@6.6.6" in str(refusal.message)
    after = site.footprint()
    # The stolen key may say what should run now, and so the floor follows it.
    assert after == replace(before, floor=after.floor)
    site.fleet.stack.stop_reconciler()
    site.fleet.stack.start_reconciler()  # publishes the truth over it
    site.wait_runs(version)


def invent_a_release(site: Site, tree: Published) -> None:
    """Publish a manifest that asks for software of our own, with the online keys alone."""
    layout, online = site.layout, site.signer("online")
    image = site.fleet.stack.directory / "evil.img"
    write_image(image, "6.6.6", health="good")
    replaced(layout.artifact(sha256_hex(image.read_bytes())), image.read_bytes())
    path = release_path(str(site.shown))
    digest = tree.releases[RELEASE_ROLE].targets.targets[path].hashes["sha256"]
    genuine = decode(Descriptor, layout.target(path, digest).read_bytes())
    artifact = replace(genuine.artifacts[0], sha256=sha256_hex(image.read_bytes()))
    evil = replace(genuine, version="6.6.6", artifacts=(artifact,))
    manifest = decode(Manifest, document(site, tree, MANIFEST).read_bytes())
    assert manifest.next is not None
    components = {"os": ComponentRef(evil.release, evil.digest)}
    asks = replace(manifest, next=replace(manifest.next, components=components))
    documents = {MANIFEST: encode(asks), release_path("6.6.6"): encode(evil)}
    versions = {}
    for target, data in documents.items():
        role = bin_of(target)
        versions[role] = add_target(layout, tree.bins[role], role, target, data, online)
    publish_snapshot(site, tree, versions)


def add_target(
    layout: Layout, old: Targets, role: str, path: str, data: bytes, online: Signer
) -> int:
    """Write a document and the bin's next version that lists it; return that version."""
    new = deepcopy(old)
    new.version += 1
    new.targets[path] = TargetFile.from_data(path, data, ["sha256"])
    replaced(layout.target(path, sha256_hex(data)), data)
    replaced(layout.metadata(role, new.version), signed_bytes(new, [online]))
    return new.version


def publish_snapshot(site: Site, tree: Published, versions: Mapping[str, int]) -> None:
    snapshot: Snapshot = deepcopy(tree.snapshot)
    snapshot.version += 1
    for role, version in versions.items():
        snapshot.meta[f"{role}.json"] = MetaFile(version)
    raw = signed_bytes(snapshot, [site.signer("online")])
    replaced(site.layout.metadata("snapshot", snapshot.version), raw)
    stamp = deepcopy(tree.timestamp)
    stamp.version += 1
    stamp.snapshot_meta = MetaFile(snapshot.version, len(raw), {"sha256": sha256_hex(raw)})
    site.show(signed_bytes(stamp, [site.signer("timestamp")]))


def document(site: Site, tree: Published, path: str) -> Path:
    """Return the file of a document that the reconciler assigned."""
    digest = tree.digest_of(path, bin_of(path))
    assert digest is not None
    return site.layout.target(path, digest)


def release_path(version: str) -> str:
    return f"releases/demo-os/{version}.json"


def floor_of(footprint: Footprint, role: str) -> int:
    version: int = json.loads(footprint.floor)["roles"][role]["version"]
    return version


def flipped(data: bytes) -> bytes:
    """Return `data` with one bit changed, somewhere in its middle."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def replaced(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(data)
    part.replace(path)


@contextmanager
def replacing(path: Path, data: bytes) -> Iterator[None]:
    """Have other bytes in a file of the tree for a while."""
    honest = path.read_bytes()
    replaced(path, data)
    try:
        yield
    finally:
        replaced(path, honest)
