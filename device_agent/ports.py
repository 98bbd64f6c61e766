"""What the agent's driver needs from the world. Every method may be called twice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from device_agent.core.component import BootFacts as BootFacts
from device_agent.core.component import Component as Component
from device_agent.core.component import Contents as Contents
from device_agent.core.component import RebootNeed as RebootNeed
from device_agent.core.scripts import Action as Action
from device_agent.core.scripts import OnFailure as OnFailure
from device_agent.core.scripts import ScriptState as ScriptState
from device_agent.core.states import Gate as Gate
from schemas.wire.descriptor import Artifact, Descriptor, Health
from schemas.wire.manifest import Manifest
from schemas.wire.shard import ShardEntry
from schemas.wire.types import ComponentRef


@dataclass(frozen=True, slots=True)
class Trusted:
    """What the published tree says, verified. `fetched` is time.monotonic() less the HTTP Age.

    `entry` None: no entry for this key. `manifest` None: no fleet, or no manifest is there yet.
    """

    entry: ShardEntry | None
    manifest: Manifest | None
    timestamp_version: int
    issued: datetime
    fetched: float
    clock_trusted: bool = True


class Trust(Protocol):
    """The only maker of Trusted and of trusted descriptors."""

    def refresh(self) -> Trusted:
        """Fetch and verify. Raises TransientError (network) or UpdateRejected (bad metadata)."""
        ...

    def descriptor(self, ref: ComponentRef) -> Descriptor:
        """Return the release-signed descriptor whose digest is the manifest's. After refresh()."""
        ...


class ArtifactSource(Protocol):
    def stream(self, artifact: Artifact) -> Iterator[bytes]:
        """Yield the artifact's bytes as they are stored (compressed), resuming broken connections.

        Whoever consumes it to the end may trust the bytes: the last step checks size and digest.
        Raises TransientError when the network stays away, UpdateRejected on a wrong digest or size.
        """
        ...


class Digest(Protocol):
    """A hash on its way, as hashlib makes them."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@runtime_checkable
class ResumableSource(Protocol):
    """An ArtifactSource that can go on in the middle of an artifact."""

    def resume(self, artifact: Artifact, offset: int, digest: Digest) -> Iterator[bytes]:
        """Yield the bytes from `offset` on; `digest` has seen those before, and sees these.

        Raises as ArtifactSource.stream(): E_HASH also when those before were not the signed ones.
        """
        ...


class Installer(Protocol):
    """Installs components of one kind: rootfs-ab, or an Update Module. In the driver's order.

    Everything raises InstallFailed when it went wrong; download also passes on what its source
    raises, and UpdateRejected before it has changed anything.
    """

    def download(self, component: Component, source: ArtifactSource) -> Contents | None:
        """Take the artifact to where install() needs it. Again: all of it, or what is missing.

        Returns what an artifact of Mender's format says of itself, None for any other.
        """
        ...

    def install(self, component: Component) -> None: ...

    def reboot_need(self, component: Component) -> RebootNeed: ...

    def activate(self, component: Component) -> None:
        """The last act before the reboot: point the bootloader at it, or call ArtifactReboot."""
        ...

    def verify(self, component: Component) -> None:
        """After the reboot: is what runs what was installed?"""
        ...

    def commit(self, component: Component) -> None:
        """Keep it. Again: no effect."""
        ...

    def supports_rollback(self, component: Component) -> bool: ...

    def rollback(self, component: Component) -> None:
        """Undo install() or activate(). Again: no effect."""
        ...

    def rollback_reboot(self, component: Component) -> None:
        """For a module that reboots by itself: ArtifactRollbackReboot. Again: as the first time."""
        ...

    def verify_rollback(self, component: Component) -> None: ...

    def failure(self, component: Component) -> None: ...

    def cleanup(self, component: Component) -> None: ...


class Bootloader(Protocol):
    """Which slot starts. Facts are read from the bootloader, never from memory."""

    def facts(self) -> BootFacts: ...

    def activate(self, slot: str, *, tries: int) -> None:
        """Start `slot` on trial from the next boot; the primary stays the fallback."""
        ...

    def commit(self) -> None:
        """Make the running slot the primary. Again: no effect."""
        ...

    def cancel(self) -> None:
        """Drop the trial, if any: the primary starts next. Again: no effect."""
        ...

    def adopt(self) -> None:
        """Make the running slot the primary, because the primary does not start: the caller has
        seen it. Raises InstallFailed for a slot on trial. Again: no effect."""
        ...


class Scripts(Protocol):
    """State scripts: the image's own, and those that artifacts brought."""

    def run(
        self,
        state: ScriptState,
        action: Action,
        components: Sequence[str],
        on_failure: OnFailure = OnFailure.STOP,
    ) -> None:
        """Run the scripts of `state` and `action`, those of `components` in their order.

        Raises InstallFailed (SCRIPT), for the first one that fails; Error scripts run all the same.
        """
        ...

    def check_image(self) -> None:
        """Raise InstallFailed (SCRIPT) unless the image's scripts are of a version known here."""
        ...

    def clear(self) -> None:
        """Remove what artifacts brought. Again: no effect. Raises OSError."""
        ...


class Owner(Protocol):
    """The device's owner, who may say not now."""

    def objection(self, gate: Gate) -> str | None:
        """Return who objects to passing `gate` now, and why; None when nobody does."""
        ...


class Machine(Protocol):
    def reboot(self) -> None:
        """Restart the machine. Does not return; raises InstallFailed if it lived on too long."""
        ...


class HealthCheck(Protocol):
    def run(self, health: Health) -> None:
        """Return when all checks pass; raise InstallFailed when they have not within the time,
        TransientError if what is missing is the published tree alone."""
        ...


class Clock(Protocol):
    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway answered: an HTTP status, and a body that was bounded while reading."""

    status: int
    body: bytes


class Gateway(Protocol):
    """Where reports go. Raises TransientError when it cannot be reached in time."""

    def get(self, path: str) -> Answer: ...

    def post(self, path: str, body: bytes) -> Answer: ...


class Identity(Protocol):
    """The device's key. `key_id` is `sha256:` and 64 hex digits over `public_key_der`."""

    @property
    def key_id(self) -> str: ...

    @property
    def public_key_der(self) -> bytes: ...

    def sign(self, payload: bytes, typ: str) -> str:
        """Return the compact JWS over `payload`, with `typ` in its header."""
        ...


Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Ports:
    """The world, as the driver sees it. Only app.py and tests build one.

    `installer` finds one by the descriptor's word, or raises UpdateRejected (E_MODULE);
    `attributes` are the device's facts; `new_id` makes event ids (32 hex digits).
    """

    trust: Trust
    source: ArtifactSource
    installer: Callable[[str], Installer]
    bootloader: Bootloader
    machine: Machine
    health: HealthCheck
    scripts: Scripts
    owner: Owner
    clock: Clock
    attributes: Mapping[str, str]
    new_id: Callable[[], str]
