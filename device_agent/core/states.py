"""The deployment state machine, as data. Everything else about it is derived from here. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from device_agent.core.component import BootFacts, RebootNeed


class State(StrEnum):
    """What a deployment is about to do. The names stand in reports; never rename one."""

    IDLE = "idle"
    DOWNLOAD = "download"
    INSTALL_WAIT = "install-wait"
    INSTALL = "install"
    REBOOT_WAIT = "reboot-wait"
    REBOOT = "reboot"
    VERIFY_REBOOT = "verify-reboot"
    MODULES_DOWNLOAD = "modules-download"
    MODULES = "modules"
    HEALTH = "health"
    COMMIT = "commit"
    FINISH = "finish"
    CLEANUP = "cleanup"
    ROLLBACK = "rollback"
    ROLLBACK_REBOOT = "rollback-reboot"
    VERIFY_ROLLBACK = "verify-rollback"
    FAILURE = "failure"


class Outcome(StrEnum):
    """How a state's work ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    SKIP = "skip"  # done, and what would follow is not needed
    MORE = "more"  # done for one component; the next one's turn in the same state
    HOLD = "hold"  # not now: stay, and come back at the next poll
    ABANDON = "abandon"  # the target is gone; nothing irreversible was done


class Gate(StrEnum):
    """What a device's owner may object to."""

    DOWNLOAD = "download"
    INSTALL = "install"
    REBOOT = "reboot"


S = State
OK, FAIL, SKIP, MORE = Outcome.SUCCESS, Outcome.FAILURE, Outcome.SKIP, Outcome.MORE
HOLD, ABANDON = Outcome.HOLD, Outcome.ABANDON

TRANSITIONS: dict[State, dict[Outcome, State]] = {
    S.DOWNLOAD: {
        OK: S.INSTALL_WAIT,
        FAIL: S.CLEANUP,
        SKIP: S.FINISH,  # artifacts that only tell what the device runs already
        HOLD: S.DOWNLOAD,
        ABANDON: S.CLEANUP,
    },
    S.INSTALL_WAIT: {OK: S.INSTALL, FAIL: S.CLEANUP, HOLD: S.INSTALL_WAIT, ABANDON: S.CLEANUP},
    S.INSTALL: {OK: S.REBOOT_WAIT, FAIL: S.ROLLBACK, SKIP: S.HEALTH, MORE: S.INSTALL},
    S.REBOOT_WAIT: {OK: S.REBOOT, FAIL: S.ROLLBACK, HOLD: S.REBOOT_WAIT, ABANDON: S.ROLLBACK},
    S.REBOOT: {OK: S.VERIFY_REBOOT, FAIL: S.ROLLBACK},
    S.VERIFY_REBOOT: {OK: S.MODULES_DOWNLOAD, FAIL: S.ROLLBACK, SKIP: S.HEALTH},
    S.MODULES_DOWNLOAD: {
        OK: S.MODULES,
        FAIL: S.ROLLBACK,
        SKIP: S.HEALTH,
        HOLD: S.MODULES_DOWNLOAD,
    },
    S.MODULES: {OK: S.HEALTH, FAIL: S.ROLLBACK, MORE: S.MODULES},
    S.HEALTH: {OK: S.COMMIT, FAIL: S.ROLLBACK},
    S.COMMIT: {OK: S.FINISH, FAIL: S.ROLLBACK},
    S.FINISH: {OK: S.CLEANUP, FAIL: S.CLEANUP, HOLD: S.FINISH},
    S.CLEANUP: {OK: S.IDLE},
    S.ROLLBACK: {OK: S.ROLLBACK_REBOOT, FAIL: S.FAILURE, SKIP: S.FAILURE},
    S.ROLLBACK_REBOOT: {OK: S.VERIFY_ROLLBACK, FAIL: S.VERIFY_ROLLBACK},
    S.VERIFY_ROLLBACK: {OK: S.FAILURE, FAIL: S.ROLLBACK_REBOOT},
    S.FAILURE: {OK: S.CLEANUP, FAIL: S.CLEANUP, HOLD: S.FAILURE},
}

MEANING: dict[State, str] = {
    S.IDLE: "nothing to do",
    S.DOWNLOAD: "take the artifacts: a rootfs into the inactive slot, a module's to the module",
    S.INSTALL_WAIT: "ask the tree again: is this still wanted, now?",
    S.INSTALL: "a rootfs is read back and checked; without one, each module's ArtifactInstall",
    S.REBOOT_WAIT: "ask the tree again before the device goes away from its users",
    S.REBOOT: "activate what was installed, then restart",
    S.VERIFY_REBOOT: "does what was installed run?",
    S.MODULES_DOWNLOAD: "inside the trial boot: take the artifacts of the modules",
    S.MODULES: "inside the trial boot: each module's ArtifactInstall",
    S.HEALTH: "the descriptors' health checks",
    S.COMMIT: "the commit point: the bootloader's commit, or the first module's ArtifactCommit",
    S.FINISH: "the other modules' ArtifactCommit, repeated up to a bound",
    S.CLEANUP: "drop what the deployment no longer needs",
    S.ROLLBACK: "undo every component that was begun, the last first",
    S.ROLLBACK_REBOOT: "restart into what ran before",
    S.VERIFY_ROLLBACK: "does what ran before run again?",
    S.FAILURE: "was it the network? then look from here; tell the modules (ArtifactFailure)",
}

FRESH_CHECK = frozenset({S.INSTALL_WAIT, S.REBOOT_WAIT})
UNDOING = frozenset({S.ROLLBACK, S.ROLLBACK_REBOOT, S.VERIFY_ROLLBACK, S.FAILURE})


def next_state(state: State, outcome: Outcome) -> State:
    """Return the state that follows. A missing row is a bug, hence the KeyError."""
    return TRANSITIONS[state][outcome]


@dataclass(frozen=True, slots=True)
class Memory:
    """What the journal says about an interrupted deployment, as far as resuming depends on it.

    `slot` is where the rootfs goes, None without one. `begun` tells whether the state's work may
    have started: not, while a person was asked before it.
    """

    state: State
    boot_id: str
    slot: str | None
    reboot: RebootNeed
    begun: bool = True


class Place(StrEnum):
    """Where the device is, by the bootloader's word, as seen from the deployment."""

    NO_SLOT = "no slot"  # the deployment has no rootfs: slots say nothing
    ELSEWHERE = "elsewhere"  # the old slot runs
    TRIAL = "trial"  # the new slot runs, not committed
    COMMITTED = "committed"  # the new slot runs and is the primary


def place(slot: str | None, boot: BootFacts) -> Place:
    if slot is None:
        return Place.NO_SLOT
    if boot.running != slot:
        return Place.ELSEWHERE
    return Place.COMMITTED if boot.primary == slot else Place.TRIAL


_ON_TARGET_OR_ROLLBACK: dict[Place, State] = {Place.ELSEWHERE: S.ROLLBACK}

RESUME: dict[State, dict[Place, State]] = {
    # The work of these is repeated wherever the device is, because nothing depends on the slot.
    **{state: {} for state in (S.DOWNLOAD, S.INSTALL_WAIT, S.REBOOT_WAIT, S.FINISH, S.CLEANUP)},
    **{state: {} for state in (S.IDLE, S.ROLLBACK, S.VERIFY_ROLLBACK, S.FAILURE)},
    # Half-installed: never boot it, never run ArtifactInstall twice.
    S.INSTALL: dict.fromkeys(Place, S.ROLLBACK),
    S.MODULES: dict.fromkeys(Place, S.ROLLBACK),
    # A module is not asked twice whether its restart went well; whether a slot runs can be seen.
    S.VERIFY_REBOOT: {Place.NO_SLOT: S.ROLLBACK, **_ON_TARGET_OR_ROLLBACK},
    S.MODULES_DOWNLOAD: _ON_TARGET_OR_ROLLBACK,
    S.HEALTH: _ON_TARGET_OR_ROLLBACK,
    # Whether a module's ArtifactCommit took effect nobody knows; the bootloader does know.
    S.COMMIT: {
        Place.NO_SLOT: S.ROLLBACK,
        Place.ELSEWHERE: S.ROLLBACK,
        Place.COMMITTED: S.FINISH,
    },
}
"""After an interruption, by place: the state to go on with. Places not named: the same state.
REBOOT and ROLLBACK_REBOOT depend on whether the device has restarted; see `resume_state`."""

NEEDS_TARGET = frozenset({S.VERIFY_REBOOT, S.MODULES_DOWNLOAD, S.MODULES, S.HEALTH, S.COMMIT})


def resume_state(memory: Memory, boot: BootFacts) -> State:
    """Return where to go on after a restart, whatever caused it.

    The journal says what we were about to do; the bootloader says what is true, and wins. A module
    that reboots by itself may restart no more than this agent, hence its ArtifactReboot is done.
    """
    here = place(memory.slot, boot)
    rebooted = boot.boot_id != memory.boot_id or memory.reboot is RebootNeed.MODULE
    lost = here is Place.ELSEWHERE and memory.state in NEEDS_TARGET
    match memory.state:
        case _ if not memory.begun and not lost:
            return memory.state
        case S.REBOOT if not rebooted:
            return S.REBOOT
        case S.REBOOT:
            return S.ROLLBACK if here is Place.ELSEWHERE else S.VERIFY_REBOOT
        case S.ROLLBACK_REBOOT:
            return S.VERIFY_ROLLBACK if rebooted else S.ROLLBACK_REBOOT
        case S.HEALTH if here is Place.NO_SLOT and rebooted and memory.reboot is not RebootNeed.NO:
            return S.ROLLBACK  # what needed one restart was not made for two
        case _:
            return RESUME[memory.state].get(here, memory.state)
