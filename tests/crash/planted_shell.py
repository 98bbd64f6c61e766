"""Bugs of what works on the device, each with a scenario that shows it; and bugs that show nothing,
each with the guard that makes it harmless."""

from dataclasses import dataclass

from device_agent import durable, undo, work
from device_agent.boot import environment, firmware
from device_agent.boot.file import FileBootloader
from device_agent.core import states
from device_agent.core.states import Place, State
from device_agent.install.rootfs_ab import RootfsAB
from device_agent.install.slot_writer import OpenSlot, SlotWriter
from device_agent.modules import stream
from device_agent.modules.installer import UpdateModuleInstaller
from device_agent.modules.mender import MenderInstaller
from tests.crash.harness import Mode
from tests.crash.planting import Edit, Edits, Plant, all_of, resume

POWER, KILL = Mode.POWER_CUT, Mode.PROCESS_KILL

WORK: dict[str, tuple[Plant, str, Mode]] = {
    "the slot is activated before the fresh check": (
        Edit(
            work._install,
            ".install(component)\n",
            ".install(component)\n    of(component, ports).activate(component)\n",
        ),
        "superseded-before-reboot",
        POWER,
    ),
    "leave scripts run after a failure": (
        Edit(
            work._with_scripts,
            "    except AgentError:\n",
            "    except AgentError:\n        if around.leave:\n"
            "            ports.scripts.run(around.leave, Action.LEAVE, names)\n",
        ),
        "module-install-fails",
        KILL,
    ),
    "enter scripts run after the work": (
        Edits(
            (
                Edit(
                    work._with_scripts,
                    "        if around.enter and _is_first(state, record):\n"
                    "            ports.scripts.run(around.enter, Action.ENTER, names)\n"
                    "        step = _work(state, record, journal, ports)\n",
                    "        step = _work(state, record, journal, ports)\n"
                    "        if around.enter and _is_first(state, record):\n"
                    "            ports.scripts.run(around.enter, Action.ENTER, names)\n",
                ),
            )
        ),
        "reboot-enter-fails",
        KILL,
    ),
    "whether the restart helped is not looked at": (
        Edit(work._work, "of(component, ports).verify(component)", "pass"),
        "module-automatic-verify-fails",
        KILL,
    ),
    "a complaint about a commit is believed": (
        Edit(work._commit, "is not Place.COMMITTED", "is not None"),
        "commit-fails-late",
        KILL,
    ),
    "the last component is never committed": (
        Edit(work._finish, "record.components[1:]", "record.components[1:-1]"),
        "two-modules",
        KILL,
    ),
    "a late commit is repeated for ever": (
        Edit(work._finish, "record.tries + 1 < MAX_COMMITS", "True"),
        "second-module-commit-fails",
        KILL,
    ),
    "a late commit that failed is kept quiet": (
        Edit(work._finish, "inconsistent=tuple(failed)", "inconsistent=()"),
        "second-module-commit-fails",
        KILL,
    ),
    "only the first component is cleaned up": (
        Edit(work._clean_up, "in record.components:", "in record.components[:1]:"),
        "two-modules",
        KILL,
    ),
    "an artifact's scripts are left behind": (
        Edit(work._clean_up, "ports.scripts.clear()", "pass"),
        "two-payloads",
        KILL,
    ),
    "the modules of a download that broke off are not cleaned up": (
        Edit(MenderInstaller.cleanup, "else self._begun(component)", "else ()"),
        "two-payloads-download-refused",
        KILL,
    ),
    "network trouble is the end": (
        Edit(work._take, "except TransientError as error:", "except ZeroDivisionError as error:"),
        "download-fails-twice",
        KILL,
    ),
}

DISK: dict[str, tuple[Plant, str, Mode]] = {
    "durable files are not synced": (
        Edit(durable._write_through, "os.fsync(file.fileno())", "pass"),
        "good",
        POWER,
    ),
    "new names are not synced": (
        Edit(durable.sync_directory, "os.fsync(descriptor)", "pass"),
        "good",
        POWER,
    ),
    "the slot is not synced": (
        Edit(OpenSlot.sync, "os.fsync(self._descriptor)", "pass"),
        "good",
        POWER,
    ),
    "a stored payload is not synced": (
        Edit(stream.store, "tree.sync()", "pass"),
        "module",
        POWER,
    ),
    "a module's answer is not synced": (
        Edit(
            UpdateModuleInstaller.reboot_need,
            "durable.write(self._answer_path(component), need.encode())",
            "self._answer_path(component).write_bytes(need.encode())",
        ),
        "module-automatic",
        POWER,
    ),
    "boot variables are written in place": (
        Edit(
            environment.save,
            'durable.write(directory / name, encode(copy) + b"\\n")',
            '(directory / name).write_bytes(encode(copy) + b"\\n")',
        ),
        "good",
        POWER,
    ),
    "a trial boot gets one try": (
        Edit(RootfsAB.activate, "tries=TRIES", "tries=1"),
        "good",
        POWER,
    ),
    "tries are not counted": (
        Edit(firmware.next_boot, "tries=old.tries - 1", "tries=old.tries"),
        "does-not-boot",
        POWER,
    ),
    "a commit leaves the trial": (
        Edit(FileBootloader.commit, "trial=None, tries=0", ""),
        "good",
        POWER,
    ),
    "the download's marker is left behind": (
        Edit(RootfsAB.cleanup, "durable.remove(self._marker_path)", "pass"),
        "good",
        KILL,
    ),
}


@dataclass(frozen=True, slots=True)
class Guarded:
    """A bug that no cut shows in `scenario`, why, and what has to break besides it to show it."""

    bug: Plant
    scenario: str
    mode: Mode
    guard: str
    without: Plant


_NO_COMPARISON = Edit(RootfsAB.install, "found != marker.sha256", "False")
_MARKER_FIRST = Edit(
    RootfsAB._write,
    "        resumable =",
    "        claim(artifact.uncompressed_size, artifact.sha256)\n        resumable =",
)
_NO_VERIFICATION = Edit(work._work, "of(component, ports).verify(component)", "pass")
_NO_PLACE_AFTER_REBOOT = Edit(
    states.resume_state, "S.ROLLBACK if here is Place.ELSEWHERE else S.VERIFY_REBOOT", "S.HEALTH"
)
_NO_PLACE_AT_COMMIT = Edit(
    work._commit, "found(record, ports) is Place.ELSEWHERE", "False and record"
)
_COMMIT_ANYWHERE = Edit(
    RootfsAB.commit, "self._require_running(component, FailureClass.COMMIT)", "pass"
)

GUARDED: dict[str, Guarded] = {
    "the slot is not compared with what was written": Guarded(
        _NO_COMPARISON,
        "good",
        POWER,
        "the slot is synced before its marker is written",
        Edit(OpenSlot.sync, "os.fsync(self._descriptor)", "pass"),
    ),
    "the marker is written before the slot": Guarded(
        _MARKER_FIRST,
        "good",
        POWER,
        "a download that was cut off is begun again, and the slot is compared before and after",
        all_of(_NO_COMPARISON, resume(State.DOWNLOAD, Place.ELSEWHERE, State.INSTALL_WAIT)),
    ),
    "bytes of a slot are claimed before they are synced": Guarded(
        Edit(SlotWriter._sync, "self._slot.sync()", "pass"),
        "good",
        POWER,
        "what a slot is said to hold is compared before a download goes on after it",
        Edit(RootfsAB._kept, "digest.hexdigest() != marker.sha256", "False"),
    ),
    "an interrupted install of a slot goes on": Guarded(
        resume(State.INSTALL, Place.ELSEWHERE, State.INSTALL),
        "good",
        POWER,
        "the install of a slot only reads it; the download has written and synced it",
        all_of(_NO_COMPARISON, Edit(OpenSlot.sync, "os.fsync(self._descriptor)", "pass")),
    ),
    "whether the new slot runs is not looked at": Guarded(
        _NO_VERIFICATION,
        "does-not-boot",
        POWER,
        "after a restart in the old slot the deployment is resumed at its rollback, and both the"
        " driver and the installer look again where they commit",
        all_of(_NO_PLACE_AFTER_REBOOT, _NO_PLACE_AT_COMMIT, _COMMIT_ANYWHERE),
    ),
    "where the commit is done is not looked at": Guarded(
        _NO_PLACE_AT_COMMIT,
        "does-not-boot",
        POWER,
        "a deployment whose slot does not run is rolled back before, and the installer commits"
        " nothing but what it installed",
        all_of(_NO_PLACE_AFTER_REBOOT, _NO_VERIFICATION, _COMMIT_ANYWHERE),
    ),
    "a rollback leaves the trial": Guarded(
        Edit(RootfsAB.rollback, "self._bootloader.cancel()", "pass"),
        "unhealthy",
        POWER,
        "the restart is looked at, and repeated until the trial has no starts left",
        Edit(undo._verify, "_of(component, ports).verify_rollback(component)", "pass"),
    ),
    "boot variables are stored once": Guarded(
        Edit(environment.save, "for name in older_first:", "for name in older_first[:1]:"),
        "good",
        POWER,
        "a copy is replaced whole or not at all",
        Edit(durable._write_through, "os.fsync(file.fileno())", "pass"),
    ),
}
