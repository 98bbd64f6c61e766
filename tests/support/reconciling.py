"""A reconciler in process over real parts: Git, signed tree, SQLite, gateway; the clock is ours."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from reconciler.adapters.dir_release import read_release
from reconciler.adapters.sql_store import SqlStore
from reconciler.adapters.tuf_tree import DirectoryTree
from reconciler.adapters.yaml_loader import Loader
from reconciler.commit import CommitReader
from reconciler.conditions import Conditions
from reconciler.domain.planner import Hints
from reconciler.http.app import create_app
from reconciler.http.metrics import Health
from reconciler.ports import FleetSource, Store, Tree
from reconciler.reconcile import Reconciler
from schemas.kinds.release import descriptor
from schemas.order import order
from schemas.wire.decode import encode
from schemas.wire.manifest import Manifest
from schemas.wire.project import ProjectStatus
from schemas.wire.report import Event, Heartbeat, Outcome
from schemas.wire.status import Condition, Decision, FleetStatus
from tests.support import fleet_yaml
from tests.support.gateway_app import JOSE
from tests.support.gateway_asgi import Answer, Caller
from tests.support.gateway_device import SigningDevice, event, heartbeat
from tests.support.gateway_world import StillView, Watch
from tests.support.git_upstream import Upstream, source_of
from tests.support.signed_tree import QuickDisk, SignedTree

FLEET = "kiosks"
POLICY = fleet_yaml.policy(
    "test",
    "{name: canary, count: 1, gate: {success: 100, minFinished: 1}}, {name: all, percent: 100}",
    "onFailure: rollback",
)


class FullDisk(QuickDisk):
    """A disk that has no space while `full`."""

    full = False

    def write(self, files: Iterable[tuple[Path, bytes]]) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(files)


@contextmanager
def log_lines() -> Iterator[list[dict[str, Any]]]:
    """Collect what is logged in the block."""
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]  # the library's own mapping type


def errors(lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["log_level"] == "error"]


@dataclass
class Installation:
    """Everything that outlives a reconciler. `restart` gives a new one over the same files."""

    path: Path
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        self.signed = SignedTree(self.path / "tree", now=self.watch.now)
        self.upstream = Upstream(self.path / "git")
        self.disk = FullDisk()
        self.devices = [SigningDevice(f"kiosk-{number:04}") for number in range(1, 4)]
        self.database = self.path / "fleetcd.db"
        self.store: SqlStore = self.open_store()
        self.tree = self._writer()
        self.conditions, self.health = Conditions(self.watch), Health()
        self._serving: tuple[SqlStore, Caller] | None = None
        self._viewed: tuple[bytes, DirectoryTree] | None = None
        self.upstream.commit(self._inventory())

    # What people do

    def ship(self, version: str, *, signed: bool = True, more: Mapping[str, str] = {}) -> str:
        """Push a commit that asks for `version`, released and (unless told) signed."""
        path, text = f"releases/demo-os/{version}.yaml", fleet_yaml.release(version)
        if signed:
            self.signed.release(descriptor(read_release(path, text.encode())))
        fleet = fleet_yaml.fleet(FLEET, more="policy: test").replace(
            "demo-os@1", f"demo-os@{version}"
        )
        files = {path: text, "fleets/kiosks.yaml": fleet, **more}
        return self.upstream.push(
            {
                **{name: content.encode() for name, content in files.items()},
                **{f"releases/.signed/{n}": data for n, data in self.signed.releases.items()},
            }
        )

    def push(self, path: str, text: str) -> str:
        return self.upstream.push({path: text.encode()})

    def _inventory(self) -> dict[str, bytes]:
        devices = ", ".join(f'{{name: {d.name}, key: "{d.key}"}}' for d in self.devices)
        spec = f"{{defaults: {{labels: {{product: kiosk}}}}, devices: [{devices}]}}"
        return {
            "fleetcd.yaml": fleet_yaml.document("Project", "test", "{}").encode(),
            "policies.yaml": POLICY.encode(),
            "inventory.yaml": fleet_yaml.document("DeviceList", "all", spec).encode(),
        }

    # Processes

    def open_store(self) -> SqlStore:
        return SqlStore.open(f"sqlite:///{self.database}", self.watch)

    def _writer(self) -> DirectoryTree:
        keys = self.signed.keys
        return DirectoryTree(
            self.signed.layout.root, online=keys.online, timestamp=keys.timestamp, disk=self.disk
        )

    def start(
        self,
        *,
        tree: Tree | None = None,
        store: Store | None = None,
        source: FleetSource | None = None,
    ) -> Reconciler:
        """Return a started reconciler that knows nothing yet; an earlier one has ended."""
        self.tree.release_lease()
        self.tree = self._writer()
        self.conditions = Conditions(self.watch)
        source = source or source_of(self.upstream.bare, self.path / "state")
        reconciler = Reconciler(
            source=source,
            reader=CommitReader(source, Loader()),
            tree=tree or self.tree,
            store=store or self.store,
            hints=Hints(),
            conditions=self.conditions,
            pulse=self.health,
            clock=self.watch,
        )
        reconciler.start()
        return reconciler

    def lose_database(self) -> None:
        for file in self.path.glob("fleetcd.db*"):
            file.unlink()

    def gateway(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Ask the gateway; after a restart (`store` is another) it is a new one."""
        if self._serving is None or self._serving[0] is not self.store:
            view = StillView()
            app = create_app(store=self.store, view=view, health=self.health, clock=self.watch)
            self._serving = self.store, Caller(app)
        return self._serving[1](method, path, body, JOSE)

    # Devices

    def join(self) -> None:
        """Enrol all devices; each has been heard of once."""
        for device in self.devices:
            nonce = self.gateway("GET", "/v1/nonce").json["nonce"]
            claims = device.enrol_claims(nonce, self.watch.now)
            body = device.sign(claims, typ="fleetcd-enrol+jws")
            assert self.gateway("POST", "/v1/enrol", body).json["state"] == "accepted"
            assert self.report(device, heard=heartbeat()).status == 200

    def report(
        self, device: SigningDevice, *events: Event, heard: Heartbeat | None = None
    ) -> Answer:
        """Post a signed report; where the gateway asks for a nonce, the device sends one."""
        answer = self._post(device, events, heard, None)
        if answer.status == 409 and "nonce" in answer.json:
            answer = self._post(device, events, heard, answer.json["nonce"])
        return answer

    def _post(
        self,
        device: SigningDevice,
        events: tuple[Event, ...],
        heard: Heartbeat | None,
        nonce: str | None,
    ) -> Answer:
        report = device.report(*events, heartbeat=heard, nonce=nonce, at=self.watch.now)
        return self.gateway("POST", "/v1/report", device.sign(encode(report)))

    def succeed(self, device: SigningDevice) -> Answer:
        """Let the device report that it runs what rolls out."""
        following = self.manifest.next
        assert following is not None
        done = event(
            following.rollout,
            outcome=Outcome.OK,
            set=following.set,
            attempt=self.manifest.attempt,
        )
        return self.report(device, done, heard=heartbeat(following.set))

    # What is to be seen

    @property
    def status(self) -> FleetStatus:
        return self.view.statuses()[FLEET]

    @property
    def manifest(self) -> Manifest:
        return self.view.manifests()[FLEET]

    @property
    def project(self) -> ProjectStatus:
        project = self.view.project()
        assert project is not None
        return project

    @property
    def view(self) -> DirectoryTree:
        """Return a reader of the tree as it is now."""
        stamp = self.signed.layout.timestamp.read_bytes()
        if self._viewed is None or self._viewed[0] != stamp:
            self._viewed = stamp, self.signed.writer()
        return self._viewed[1]

    @property
    def timestamp_left(self) -> timedelta:
        left: timedelta = self.signed.signed("timestamp").expires - self.watch.now
        return left

    def stages(self) -> list[str]:
        rollout = self.status.rollout
        assert rollout is not None
        return [opened.stage for opened in rollout.exposure]

    def by_order(self) -> list[SigningDevice]:
        """Return the devices as the open rollout ranks them: the canary first."""
        rollout = self.status.rollout
        assert rollout is not None
        return sorted(self.devices, key=lambda device: order(rollout.id, device.name))

    def condition(self, subject: str) -> Condition:
        condition = self.conditions.get(subject)
        assert condition is not None, f"nothing is known about {subject}"
        return condition

    def decisions(self) -> tuple[Decision, ...]:
        return tuple(d for _, d in self.store.history(fleet=FLEET, rollout=None, limit=100))


def rolled_out(path: Path) -> Installation:
    """Return an installation whose version 1 is published for the canary, and whose devices have
    joined. Nothing runs."""
    there = Installation(path)
    there.ship("1")
    reconciler = there.start()
    passes(reconciler, 1)
    there.join()
    passes(reconciler, 1)
    return there


def passes(reconciler: Reconciler, number: int = 3) -> None:
    """Let the loop run: ask Git and publish, `number` times."""
    for _ in range(number):
        reconciler.look()
        reconciler.publish()
