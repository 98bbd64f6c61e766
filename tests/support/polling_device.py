"""A device that polls: its agent over a real journal and file bootloader, the rest in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.errors import TransientError, UpdateRejected
from device_agent.journal import Journal
from device_agent.ports import Bootloader, Machine
from device_agent.reporter import Reporter, Sent
from device_agent.step import Agent, Stepped
from schemas.wire.descriptor import Descriptor, Scope
from schemas.wire.manifest import Manifest
from schemas.wire.report import Event, Heartbeat
from tests.support.agent_fakes import (
    FakeClock,
    FakeInstaller,
    FakeMachine,
    FakeOwner,
    FakeScripts,
    FakeTrust,
    a_component,
    a_descriptor,
    a_manifest,
    a_set,
    a_trusted,
    fake_ports,
)

APP1 = a_descriptor("kiosk-app", "1", installer="files", scope=Scope.DATA, epoch=1)
APP2 = a_descriptor("kiosk-app", "2", installer="files", scope=Scope.DATA, epoch=2)
NETWORK = TransientError("E_NETWORK: no route to host")


@dataclass
class Listening:
    """A reporter that keeps the heartbeats, and empties the outbox unless it is `deaf`."""

    journal: Journal
    deaf: bool = False
    beats: list[Heartbeat] = field(default_factory=list)
    heard: list[Event] = field(default_factory=list)

    def send(self, heartbeat: Heartbeat | None) -> Sent:
        if self.deaf:
            return Sent.LATER
        batch = self.journal.batch(room=1 << 20)
        self.heard += batch.events
        self.journal.acknowledge(batch, last=batch.seq)
        if heartbeat:
            self.beats.append(heartbeat)
        return Sent.ALL


class Device:
    """A device of the fleet in tests.support.agent_fakes, that begins with nothing."""

    def __init__(self, root: Path, *descriptors: Descriptor) -> None:
        boot(root)
        self.root = root
        self.journal = Journal(root / "journal.db", id="0" * 32)
        self.trust = FakeTrust([NETWORK], {item.release: item for item in descriptors})
        self.clock, self.installer = FakeClock(), FakeInstaller()
        self.scripts, self.owner = FakeScripts(), FakeOwner()
        self.reporter = Listening(self.journal)
        self.loader: Bootloader = FileBootloader(root)
        self.machine: Machine = FakeMachine()
        self.bootstrap: Callable[[], UpdateRejected | None] = lambda: None

    @property
    def agent(self) -> Agent:
        ports = fake_ports(
            self.loader,
            trust=self.trust,
            installer=self.installer,
            machine=self.machine,
            clock=self.clock,
            scripts=self.scripts,
            owner=self.owner,
        )
        reporter: Reporter = self.reporter  # type: ignore[assignment]  # it has the one method
        return Agent(self.journal, ports, reporter, 3600.0, "agent/1", self.bootstrap)

    def wants(self, *descriptors: Descriptor, **changes: object) -> Manifest:
        """Publish a manifest for these releases."""
        content = a_set(*(a_component(item.name, item) for item in descriptors))
        manifest = a_manifest(content, **changes)
        self.trust.answers = [a_trusted(manifest)]
        return manifest

    def poll(self) -> Stepped:
        return self.agent.poll()

    @property
    def last_word(self) -> Event:
        word = self.journal.last_outcome()
        assert word
        return word
