"""Bugs of the state machine, the driver and the journal, each with a scenario that shows it."""

from device_agent import driver, journal, undo, work
from device_agent.artifact.provides import provides_after
from device_agent.core import record, selection, states
from device_agent.core.record import Record
from device_agent.core.states import Outcome, Place, State
from tests.crash.harness import Mode
from tests.crash.planting import Edit, Edits, Plant, resume, transition

POWER, KILL = Mode.POWER_CUT, Mode.PROCESS_KILL

TABLES: dict[str, tuple[Plant, str, Mode]] = {
    "a half-installed module is installed on": (
        resume(State.INSTALL, Place.NO_SLOT, State.HEALTH),
        "module",
        KILL,
    ),
    "an interrupted install is done again": (
        resume(State.INSTALL, Place.NO_SLOT, State.INSTALL),
        "module",
        KILL,
    ),
    "an interrupted install in the trial boot is done again": (
        resume(State.MODULES, Place.TRIAL, State.MODULES),
        "rootfs-and-module",
        KILL,
    ),
    "an interrupted commit is always rolled back": (
        resume(State.COMMIT, Place.TRIAL, State.ROLLBACK),
        "good",
        KILL,
    ),
    "a committed slot is rolled back": (
        resume(State.COMMIT, Place.COMMITTED, State.ROLLBACK),
        "good",
        POWER,
    ),
    "a failed health check is ignored": (
        transition(State.HEALTH, Outcome.FAILURE, State.COMMIT),
        "unhealthy",
        KILL,
    ),
    "the health check is left out": (
        transition(State.MODULES, Outcome.SUCCESS, State.COMMIT),
        "rootfs-and-module-unhealthy",
        KILL,
    ),
    "a failed install is kept": (
        transition(State.INSTALL, Outcome.FAILURE, State.HEALTH),
        "module-install-fails",
        KILL,
    ),
    "a rollback does not return to the old slot": (
        transition(State.ROLLBACK, Outcome.SUCCESS, State.FAILURE),
        "unhealthy",
        KILL,
    ),
    "cleaning up is forgotten": (
        transition(State.FINISH, Outcome.SUCCESS, State.IDLE),
        "module",
        KILL,
    ),
}

DRIVER: dict[str, tuple[Plant, str, Mode]] = {
    "a state is journaled after its work": (
        Edits(
            (
                Edit(
                    driver._drive,
                    "        journal.enter(record, [_event(record, ports)] if news else [])\n",
                    "",
                ),
                Edit(
                    driver._drive,
                    "        record = noted(record, step)\n",
                    "        journal.enter(record, [_event(record, ports)] if news else [])\n"
                    "        record = noted(record, step)\n",
                ),
            )
        ),
        "module",
        KILL,
    ),
    "the boot id is ignored": (
        Edit(states.resume_state, "boot.boot_id != memory.boot_id or ", ""),
        "good",
        POWER,
    ),
    "the reason of a rollback after a cut is forgotten": (
        Edit(driver.run, "resumed(record, state)", "record"),
        "module",
        KILL,
    ),
    "every end is reported as good": (
        Edit(driver._drive, "noted(record, step)", "noted(record, replace(step, problem=None))"),
        "unhealthy",
        KILL,
    ),
    "who gave up tells nobody": (
        Edit(driver._last_words, "else State.FAILURE", "else State.IDLE"),
        "module-never-back",
        KILL,
    ),
    "going round in circles is not noticed": (
        Edit(record.looping, "return record.entries >", "return False and record.entries >"),
        "module-never-back",
        KILL,
    ),
    "what was begun is not counted": (
        Edit(record.entered, "begun += 1", "begun += 0"),
        "module-unhealthy",
        KILL,
    ),
    "what was cut off is not undone": (
        Edit(Record.undo, "[: self.begun]", "[: self.begun - 1]"),
        "module",
        KILL,
    ),
    "the first component is undone first": (
        Edit(
            Record.undo, "reversed(self.components[: self.begun])", "self.components[: self.begun]"
        ),
        "second-module-install-fails",
        KILL,
    ),
    "a module in the new slot is undone in the old one": (
        Edit(Record.undo, "item.is_rootfs or not self._in_new_slot(item)", "item"),
        "three-unhealthy",
        POWER,
    ),
    "what cannot be undone is not put last": (
        Edit(record.noted, "component.name == step.last", "False"),
        "final-module-last",
        KILL,
    ),
    "nobody asks what can be undone": (
        Edit(work._take, "last=last", "last=None"),
        "final-payloads-last",
        KILL,
    ),
    "a new root filesystem comes without its modules": (
        Edit(selection.select, "item.scope is Scope.SLOT", "False"),
        "three",
        KILL,
    ),
}

JOURNAL: dict[str, tuple[Plant, str, Mode]] = {
    "what runs is not remembered": (
        Edit(record.consequences, "if committed else None", "if False else None"),
        "good",
        KILL,
    ),
    "the set counts as installed before it is committed": (
        Edit(
            record.consequences,
            "record.state is State.FINISH",
            "record.state in (State.COMMIT, State.FINISH)",
        ),
        "module-commit-fails",
        KILL,
    ),
    "provides are stored before the commit point": (
        Edit(
            record.consequences,
            "contents if committed",
            "contents if record.state in (State.COMMIT, State.FINISH)",
        ),
        "two-payloads",
        KILL,
    ),
    "provides do not say that nobody knows": (
        Edit(record.consequences, "if over and unknown", "if False"),
        "second-payload-commit-fails",
        KILL,
    ),
    "provides are not stored": (
        Edit(record.consequences, "contents if committed else ()", "()"),
        "empty-payload",
        KILL,
    ),
    "stale provides are kept": (
        Edit(provides_after, "if not any(", "if True or not any("),
        "two-payloads",
        KILL,
    ),
    "what failed is tried again": (
        Edit(record.consequences, "if failed else None", "if False else None"),
        "unhealthy",
        KILL,
    ),
    "the report is a transaction of its own": (
        Edit(
            journal.Journal._enter,
            "            for event in events:\n                self._append(event)\n",
            "        for event in events:\n            with self._transaction():\n"
            "                self._append(event)\n",
        ),
        "module",
        KILL,
    ),
    "a transaction counts before it is synced": (
        Edit(journal.Journal.__init__, "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"),
        "module-unhealthy",
        POWER,
    ),
}

UNDO: dict[str, tuple[Plant, str, Mode]] = {
    "a module is rolled back that cannot be": (
        Edit(undo._can_be_undone, ".supports_rollback(component)", ""),
        "final-module-unhealthy",
        KILL,
    ),
    "what cannot be undone is kept quiet": (
        Edit(
            undo._can_be_undone,
            'trouble.note([component.name], f"{component.name} cannot be rolled back")\n',
            "pass\n",
        ),
        "final-module-unhealthy",
        KILL,
    ),
    "a failed rollback is kept quiet": (
        Edit(undo._undo, "trouble.note([component.name],", "str("),
        "module-rollback-fails",
        KILL,
    ),
    "whether the restart led back is not looked at": (
        Edit(undo._verify, "_of(component, ports).verify_rollback(component)", "pass"),
        "module-never-back",
        KILL,
    ),
    "modules are not told that they failed": (
        Edit(undo._tell_failure, "_of(component, ports).failure(component)", "pass"),
        "module-unhealthy",
        KILL,
    ),
}
