"""The agent's world in memory, and builders for deployments. Bootloader and journal are real ones:
the file bootloader and SQLite need nothing but a directory."""
# ruff: noqa: ARG002, ARG005 - these are ports' shapes

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

from device_agent.core.component import Component, Contents, RebootNeed
from device_agent.core.record import Record
from device_agent.core.scripts import Action, OnFailure, ScriptState
from device_agent.core.states import Gate, State
from device_agent.errors import InstallFailed, UpdateRejected
from device_agent.ports import (
    ArtifactSource,
    Bootloader,
    Installer,
    Machine,
    Ports,
    Trusted,
)
from schemas.refusal import Code
from schemas.wire.descriptor import Artifact, Descriptor, Encoding, Health, Scope
from schemas.wire.manifest import AdmitRule, Manifest, Next, Stable, Stop
from schemas.wire.report import FailureClass
from schemas.wire.shard import ShardEntry
from schemas.wire.types import ComponentRef, ComponentSet
from tests.support.documents import COMMIT, NOW

FLEET, DEVICE = "kiosks", "kiosk-0001"


def a_descriptor(
    name: str,
    version: str = "2",
    *,
    installer: str = "rootfs-ab",
    scope: Scope = Scope.SLOT,
    image: bytes = b"new image",
    checks: tuple[str, ...] = ("command:true",),
    epoch: int = 0,
    compatible: str = "hardware=x86",
    upgrade_from: str | None = None,
) -> Descriptor:
    digest = hashlib.sha256(image).hexdigest()
    artifact = Artifact(compatible, digest, len(image), len(image), Encoding.RAW)
    return Descriptor(
        name,
        version,
        installer,
        scope,
        epoch,
        (artifact,),
        health=Health(within=10, checks=checks),
        upgrade_from=upgrade_from,
    )


def a_component(name: str, descriptor: Descriptor) -> Component:
    ref = ComponentRef(descriptor.release, descriptor.digest)
    return Component(name, ref, descriptor, descriptor.artifacts[0])


ROOTFS = a_component("os", a_descriptor("kiosk-os"))
MODULE = a_component("app", a_descriptor("kiosk-app", installer="files", scope=Scope.DATA))
OTHER = a_component("cfg", a_descriptor("kiosk-cfg", installer="files", scope=Scope.DATA))


def a_set(*components: Component) -> ComponentSet:
    return ComponentSet({component.name: component.ref for component in components})


OLD = ComponentSet({"os": ComponentRef("kiosk-os@1", "sha256:" + "1" * 64)})


def a_record(*components: Component, slot: str | None = "b", **changes: object) -> Record:
    """Return a new deployment of `components`, attempt 1, about to download."""
    content = a_set(*components)
    record = Record(
        set=content.id,
        content=content,
        rollout="r-8be01aa2",
        attempt=1,
        components=components,
        slot=slot if components and components[0].is_rootfs else None,
        state=State.DOWNLOAD,
        boot_id="",
        stage="canary",
        fresh_for=60,
    )
    return replace(record, **changes)  # type: ignore[arg-type]  # field values by name


def a_manifest(content: ComponentSet, **changes: object) -> Manifest:
    """Return a manifest whose `next` is `content`, for everybody."""
    wanted = Next(
        "r-8be01aa2",
        content.id,
        content.components,
        content.config,
        content.vars,
        (AdmitRule(through="f" * 16, stage="all"),),
        None,
    )
    manifest = Manifest(
        fleet=FLEET,
        generation=1,
        commit=COMMIT,
        issued=NOW,
        stop=None,
        poll=60,
        fresh_for=60,
        windows=(),
        attempt=1,
        next=wanted,
        stable=Stable(OLD.id, 1, OLD.components, {}, {}),
        keep=(),
    )
    return replace(manifest, **changes)  # type: ignore[arg-type]  # field values by name


ENTRY = ShardEntry(name=DEVICE, fleet=FLEET, labels={"product": "kiosk"})
STOP = Stop("something smells", "operator", NOW)


def a_trusted(manifest: Manifest | None, entry: ShardEntry | None = ENTRY) -> Trusted:
    return Trusted(entry, manifest, timestamp_version=7, issued=NOW, fetched=1000.0)


@dataclass
class FakeTrust:
    """Answers with `answers`, one for each refresh; the last one stays. An error is raised."""

    answers: list[Trusted | Exception]
    descriptors: Mapping[str, Descriptor] = field(default_factory=dict)
    asked: int = 0

    def refresh(self) -> Trusted:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def descriptor(self, ref: ComponentRef) -> Descriptor:
        found = self.descriptors.get(ref.release)
        if found is None:
            raise UpdateRejected(
                Code.NOT_RELEASED, f"{ref.release} is in no release role", FailureClass.SIGNATURE
            )
        return found


@dataclass
class FakeClock:
    """Time that stands still until somebody moves it. Monotonic starts at 1000 seconds."""

    time: datetime = NOW
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds

    def pass_(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass
class FakeInstaller:
    """Writes down its calls as `call component`. `errors` by call are raised, each time."""

    calls: list[str] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)
    need: RebootNeed = RebootNeed.NO
    undoable: bool = True
    not_undoable: tuple[str, ...] = ()
    contents: dict[str, Contents] = field(default_factory=dict)

    def _call(self, name: str, component: Component) -> None:
        self.calls.append(f"{name} {component.name}")
        error = self.errors.get(f"{name} {component.name}") or self.errors.get(name)
        if error:
            raise error

    def download(self, component: Component, source: ArtifactSource) -> Contents | None:
        self._call("download", component)
        return self.contents.get(component.name)

    def install(self, component: Component) -> None:
        self._call("install", component)

    def reboot_need(self, component: Component) -> RebootNeed:
        self._call("reboot_need", component)
        return self.need

    def activate(self, component: Component) -> None:
        self._call("activate", component)

    def verify(self, component: Component) -> None:
        self._call("verify", component)

    def commit(self, component: Component) -> None:
        self._call("commit", component)

    def supports_rollback(self, component: Component) -> bool:
        self._call("supports_rollback", component)
        return self.undoable and component.name not in self.not_undoable

    def rollback(self, component: Component) -> None:
        self._call("rollback", component)

    def rollback_reboot(self, component: Component) -> None:
        self._call("rollback_reboot", component)

    def verify_rollback(self, component: Component) -> None:
        self._call("verify_rollback", component)

    def failure(self, component: Component) -> None:
        self._call("failure", component)

    def cleanup(self, component: Component) -> None:
        self._call("cleanup", component)


class NoSource:
    """For installers that do not look at what they download."""

    def stream(self, artifact: Artifact) -> Iterator[bytes]:
        yield from ()


@dataclass
class FakeScripts:
    """Writes down which scripts run, in `calls` or where it is told. `failing` by name fail."""

    calls: list[str] = field(default_factory=list)
    failing: tuple[str, ...] = ()
    going_on: list[str] = field(default_factory=list)

    def run(
        self,
        state: ScriptState,
        action: Action,
        components: Sequence[str],
        on_failure: OnFailure = OnFailure.STOP,
    ) -> None:
        name = f"{state}_{action}"
        self.going_on += [name] if on_failure is OnFailure.GO_ON else []
        self.calls.append(f"{name} {' '.join(components)}".rstrip())
        if name in self.failing:
            raise InstallFailed(f"{name}: it broke", FailureClass.SCRIPT)

    def check_image(self) -> None:
        if "version" in self.failing:
            raise InstallFailed("version: unknown", FailureClass.SCRIPT)

    def clear(self) -> None:
        pass


@dataclass
class FakeOwner:
    """Objects to the gates in `objections`."""

    objections: dict[Gate, str] = field(default_factory=dict)

    def objection(self, gate: Gate) -> str | None:
        return self.objections.get(gate)


@dataclass
class FakeHealth:
    error: Exception | None = None
    checked: list[Health] = field(default_factory=list)

    def run(self, health: Health) -> None:
        self.checked.append(health)
        if self.error:
            raise self.error


class Rebooted(BaseException):
    """The machine went away: nothing of the agent may catch this."""


class FakeMachine:
    def reboot(self) -> None:
        raise Rebooted


def ids() -> Callable[[], str]:
    """Return a source of event ids that never repeats: 1, 2, 3, … in 32 hex digits."""
    numbers = count(1)
    return lambda: f"{next(numbers):032x}"


def fake_ports(
    bootloader: Bootloader,
    *,
    trust: FakeTrust,
    installer: Installer,
    machine: Machine | None = None,
    health: FakeHealth | None = None,
    clock: FakeClock | None = None,
    scripts: FakeScripts | None = None,
    owner: FakeOwner | None = None,
) -> Ports:
    """Return a world in which every kind of component is installed by `installer`."""
    return Ports(
        trust=trust,
        source=NoSource(),
        installer=lambda name: installer,
        bootloader=bootloader,
        machine=machine or FakeMachine(),
        health=health or FakeHealth(),
        scripts=scripts or FakeScripts(),
        owner=owner or FakeOwner(),
        clock=clock or FakeClock(),
        attributes={"hardware": "x86"},
        new_id=ids(),
    )
