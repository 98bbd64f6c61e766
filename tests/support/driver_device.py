"""A device for tests of the driver: real journal and bootloader, installers that note calls."""

from pathlib import Path

from device_agent import driver
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.component import RebootNeed
from device_agent.core.record import Record
from device_agent.driver import Result
from device_agent.errors import InstallFailed, TransientError
from device_agent.journal import Journal
from device_agent.ports import Ports
from schemas.wire.report import Event, EventKind, FailureClass
from tests.support.agent_fakes import (
    MODULE,
    ROOTFS,
    FakeClock,
    FakeHealth,
    FakeInstaller,
    FakeTrust,
    Rebooted,
    a_manifest,
    a_record,
    a_trusted,
    fake_ports,
)

NETWORK = TransientError("E_NETWORK: no route to host")
BROKEN = InstallFailed("it broke", FailureClass.INSTALL)


class Device:
    """A journal and a file bootloader in `root`, and a world that says go."""

    def __init__(self, root: Path, record: Record, installer: FakeInstaller | None = None) -> None:
        self.root, self.record = root, record
        self.installer = installer or FakeInstaller()
        self.clock, self.health = FakeClock(), FakeHealth()
        self.trust = FakeTrust([a_trusted(a_manifest(record.content))])
        boot(root)
        self.journal = Journal(root / "journal.db", id="0" * 32)
        driver.begin(self.journal, self.ports, record)

    @property
    def ports(self) -> Ports:
        return fake_ports(
            FileBootloader(self.root),
            trust=self.trust,
            installer=self.installer,
            health=self.health,
            clock=self.clock,
        )

    def run(self) -> Result:
        return driver.run(self.journal, self.ports)

    def run_through_restarts(self) -> Result:
        for _ in range(5):
            try:
                return self.run()
            except Rebooted:
                boot(self.root)
        raise AssertionError("restarted again and again")

    @property
    def calls(self) -> list[str]:
        return self.installer.calls

    @property
    def events(self) -> list[Event]:
        return list(self.journal.batch(room=1 << 20).events)

    @property
    def states(self) -> list[str]:
        return [event.state or "" for event in self.events]

    @property
    def last_word(self) -> Event:
        (word,) = [event for event in self.events if event.kind is EventKind.FINISHED]
        return word

    @property
    def waiting(self) -> str:
        record = self.journal.record()
        assert record
        return record.waiting or ""


def a_module_device(root: Path, **answers: object) -> Device:
    return Device(root, a_record(MODULE), FakeInstaller(**answers))  # type: ignore[arg-type]


class SlotInstaller(FakeInstaller):
    """A rootfs as the bootloader sees it; a module in all other respects."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._loader = FileBootloader(root)

    def reboot_need(self, component: object) -> RebootNeed:
        return RebootNeed.AGENT if component == ROOTFS else RebootNeed.NO

    def _call(self, name: str, component: object) -> None:
        super()._call(name, component)  # type: ignore[arg-type]  # a Component
        if component != ROOTFS:
            return
        match name:
            case "activate":
                self._loader.activate("b", tries=2)
            case "commit":
                self._loader.commit()
            case "rollback":
                self._loader.cancel()
