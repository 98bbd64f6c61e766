"""A whole device in a directory: slots, boot variables, what modules manage, a journal."""

import secrets
from pathlib import Path

from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.component import BootFacts, Component
from device_agent.core.states import State
from device_agent.journal import Journal
from device_agent.modules.installer import ModuleSettings
from device_agent.modules.tree import Tree
from schemas.wire.descriptor import Scope
from tests.crash.scenarios import (
    NEW_IMAGE,
    OLD_FILE,
    OLD_IMAGE,
    OLD_PROVIDES,
    SHIPPED_FILE,
    Fault,
    Scenario,
)

_MODULES = Path(__file__).parents[1] / "support" / "modules"
BEFORE_REBOOT = (State.DOWNLOAD, State.INSTALL_WAIT, State.INSTALL, State.REBOOT_WAIT)


class SmallJournal(Journal):
    """Keeps no room back: the file says nothing, and each instant would copy it."""

    def make_reserve(self) -> None:
        pass


class World:
    """What survives a power cut. A slot-scoped component has a file in each slot."""

    def __init__(self, root: Path, scenario: Scenario) -> None:
        self.root, self.scenario = root, scenario
        self.slots = {name: root / f"{name}.img" for name in "ab"}
        self.modules = ModuleSettings(
            (_MODULES,),
            root,
            "x86",
            {},
            settle=lambda _: None,  # its module syncs what it writes
        )

    def make(self) -> None:
        self.slots["a"].write_bytes(OLD_IMAGE)
        self.slots["b"].write_bytes(b"\0" * len(OLD_IMAGE))
        for part in self.scenario.parts:
            if not part.is_rootfs:
                self.file(part, "a").write_bytes(OLD_FILE)
            if part.descriptor.scope is Scope.SLOT:
                self.file(part, "b").write_bytes(SHIPPED_FILE)
        boot(self.root)
        journal = self.journal()
        journal.drop_standalone(OLD_PROVIDES)
        journal.close()

    def file(self, component: Component, slot: str) -> Path:
        """Return the file that the component's module manages while `slot` runs."""
        scoped = f"{slot}." if component.descriptor.scope is Scope.SLOT else ""
        return self.root / f"{component.name}.{scoped}file"

    def mark(self, component: Component, what: str) -> Path:
        """Return a file of the module's own, on the data partition: there, or not."""
        return self.root / f"{component.name}.{what}"

    @property
    def kept_scripts(self) -> Path:
        """Where the state scripts lie that artifacts bring."""
        return self.root / "scripts"

    def tree(self, component: Component) -> Tree:
        return self.modules.tree(component.name)

    @property
    def facts(self) -> BootFacts:
        return FileBootloader(self.root).facts()

    def journal(self) -> Journal:
        return SmallJournal(self.root / "journal.db", id=secrets.token_hex(16))

    def journaled(self) -> State:
        """Return the state that the journal says, IDLE without a deployment."""
        journal = self.journal()
        record = journal.record()
        journal.close()
        return record.state if record else State.IDLE

    def committed(self) -> bool:
        """Return whether the journal holds the new set for what runs."""
        journal = self.journal()
        installed = journal.installed()
        journal.close()
        return installed is not None

    def restart(self) -> None:
        """Power comes back: the firmware picks a slot. One that does not start is reset."""
        for restarted in self.root.glob("*.needs-restart"):
            if self.scenario.fault is not Fault.NEVER_BACK:
                restarted.unlink()
        for _ in range(4):
            booted = boot(self.root).slot
            image = self.slots[booted].read_bytes()
            assert image in (OLD_IMAGE, NEW_IMAGE), f"slot {booted} was started half-written"
            allowed = booted == "a" or self.journaled() not in BEFORE_REBOOT
            assert allowed, f"slot {booted} was started unasked"
            if image == OLD_IMAGE or self.scenario.fault is not Fault.BOOT:
                return
        raise AssertionError("the firmware never fell back")
