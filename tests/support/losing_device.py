"""A device that runs set 1 in slot `a`, and whose slots may become unloadable."""
# ruff: noqa: ARG002 - a port's shape

from dataclasses import dataclass, replace
from pathlib import Path

from device_agent.boot.environment import load, save
from device_agent.boot.file import FileBootloader
from device_agent.core.component import BootFacts, RebootNeed
from device_agent.errors import InstallFailed
from device_agent.ports import Component
from device_agent.status import About, Status, look
from device_agent.step import Stepped
from schemas.resolve import Running
from schemas.wire.report import Event, EventKind, FailureClass, Outcome
from tests.support.agent_fakes import FakeInstaller, Rebooted, a_component, a_descriptor, a_set
from tests.support.documents import NOW
from tests.support.falling_through import OTHER, start
from tests.support.polling_device import APP1, Device

OS1, OS2 = a_descriptor("kiosk-os", "1"), a_descriptor("kiosk-os", "2")
SET1 = a_set(a_component("kiosk-os", OS1))


class IntoTheOtherSlot(FakeInstaller):
    """A rootfs goes into the slot that does not run, which loads from then on."""

    def __init__(self, device: "LosingDevice") -> None:
        super().__init__()
        self._device, self._loader = device, FileBootloader(device.root)

    def reboot_need(self, component: Component) -> RebootNeed:
        return RebootNeed.AGENT if component.is_rootfs else RebootNeed.NO

    def _call(self, name: str, component: Component) -> None:
        super()._call(name, component)
        other = OTHER[self._loader.facts().running]
        match name:
            case "install":
                self._device.broken -= {other}
            case "activate":
                self._loader.activate(other, tries=2)
            case "commit":
                self._loader.commit()
            case "rollback":
                self._loader.cancel()
            case "verify_rollback":
                self._expect_primary()

    def _expect_primary(self) -> None:
        facts = self._loader.facts()
        if facts.running != facts.primary:
            raise InstallFailed("the primary does not run", FailureClass.ROLLBACK)


class LosingDevice(Device):
    """A device that runs set 1 in slot `a`, and whose slots may become unloadable."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, OS1, OS2, APP1)
        self.broken: set[str] = set()
        self.restarts = 0
        self.committed_in("a")

    def committed_in(self, slot: str) -> None:
        """Let the journal and the variables say that set 1 was committed in `slot`."""
        with self.journal._transaction():
            self.journal._store_running(Running(SET1.id, SET1), slot)
        variables = load(self.root)
        assert variables
        save(self.root, replace(variables, primary=slot, running=slot))

    def power_cycle(self) -> str:
        return start(self.root, lambda slot: slot not in self.broken)

    def loses(self, slot: str) -> None:
        """Damage the slot's kernel, and restart."""
        self.broken |= {slot}
        self.power_cycle()

    def off_the_primary(self) -> None:
        """Run `b` as after a trial that was cancelled, before the restart."""
        self.loader.activate("b", tries=2)
        self.power_cycle()
        self.loader.cancel()

    def poll_through_restarts(self) -> Stepped:
        for _ in range(5):
            try:
                return self.poll()
            except (Rebooted, SystemExit):
                self.restarts += 1
                self.power_cycle()
        raise AssertionError("restarted again and again")

    def slots(self) -> tuple[str, str, str | None]:
        facts = self.loader.facts()
        return facts.running, facts.primary, facts.trial

    def ended(self) -> Outcome | None:
        return self.last_word.outcome

    @property
    def told(self) -> list[Event]:
        return [event for event in self.reporter.heard if event.kind is EventKind.REFUSED]

    @property
    def status(self) -> Status:
        about = About("kiosk-0001", "agent/1", daemon=False)
        found = look(about, self.root / "journal.db", FileBootloader(self.root).facts, NOW)
        assert isinstance(found, Status)
        return found


@dataclass
class ReadOnly:
    """A bootloader whose variables cannot be written: a worn or write-protected flash."""

    inner: FileBootloader

    def facts(self) -> BootFacts:
        return self.inner.facts()

    def activate(self, slot: str, *, tries: int) -> None:
        raise AssertionError("nothing may begin")

    def commit(self) -> None:
        raise AssertionError("nothing may begin")

    def cancel(self) -> None:
        raise InstallFailed("the flash is read-only", FailureClass.REBOOT)

    adopt = cancel


class NeverRestarts:
    """A reboot command that fails."""

    asked = 0

    def reboot(self) -> None:
        self.asked += 1
        raise InstallFailed("'systemctl reboot': it is masked", FailureClass.REBOOT)
