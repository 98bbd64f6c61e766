"""An update by hand, as data: its steps, where it may stop, and how it goes on after a cut. Pure.

Source: the order of Mender's client, `mender-update install|commit|rollback|resume`. Where ours
differs on purpose, docs/mender-compatibility.md has a row.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from device_agent.core.component import Component, Contents, payloads
from schemas.wire.descriptor import MENDER, Artifact, Descriptor, Encoding, Scope
from schemas.wire.types import ComponentRef, Count

BASE = "0000"  # the component's name, so that a module finds its tree where Mender has it


class Step(StrEnum):
    """What is done next."""

    DOWNLOAD = "download"
    INSTALL = "install"
    ASK = "ask"  # the modules: is a reboot needed, can they roll back?
    COMMIT = "commit"
    AFTER_COMMIT = "after-commit"
    MAY_ROLL_BACK = "may-roll-back"  # can the modules roll back?
    ROLLBACK = "rollback"
    FAILURE = "failure"
    CLEANUP = "cleanup"
    EXIT = "exit"


class Event(StrEnum):
    """How a step ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNSAVED = "unsaved"  # the journal could not be written, hence the step was not begun
    NO_ROLLBACK = "no-rollback"  # of an update that failed
    PERSON = "person"  # a person decides how to go on


S, E = Step, Event

TRANSITIONS: dict[Step, dict[Event, Step]] = {
    S.DOWNLOAD: {E.SUCCESS: S.INSTALL, E.FAILURE: S.CLEANUP},
    S.INSTALL: {E.SUCCESS: S.ASK, E.FAILURE: S.MAY_ROLL_BACK, E.UNSAVED: S.CLEANUP},
    S.ASK: {
        E.SUCCESS: S.COMMIT,
        E.FAILURE: S.MAY_ROLL_BACK,
        E.UNSAVED: S.MAY_ROLL_BACK,
        E.PERSON: S.EXIT,
    },
    S.COMMIT: {
        E.SUCCESS: S.AFTER_COMMIT,
        E.FAILURE: S.MAY_ROLL_BACK,
        E.UNSAVED: S.MAY_ROLL_BACK,
    },
    S.AFTER_COMMIT: {E.SUCCESS: S.CLEANUP, E.FAILURE: S.CLEANUP, E.UNSAVED: S.MAY_ROLL_BACK},
    S.MAY_ROLL_BACK: {
        E.SUCCESS: S.ROLLBACK,
        E.FAILURE: S.FAILURE,
        E.NO_ROLLBACK: S.FAILURE,
        E.PERSON: S.EXIT,
    },
    S.ROLLBACK: {E.SUCCESS: S.FAILURE, E.FAILURE: S.FAILURE},
    S.FAILURE: {E.SUCCESS: S.CLEANUP, E.FAILURE: S.CLEANUP},
    S.CLEANUP: {E.SUCCESS: S.EXIT, E.FAILURE: S.EXIT},
}

GOES_ON_UNSAVED = frozenset({S.ROLLBACK, S.FAILURE, S.CLEANUP})
"""The way back, which may be gone twice: a journal that cannot be written does not stop it."""


class Point(StrEnum):
    """How far an update is. The values stand in the journal; never rename one.

    Before: nothing of the step was done yet. In: it was begun.
    """

    BEFORE_INSTALL = "before-install"
    IN_INSTALL = "in-install"
    BEFORE_COMMIT = "before-commit"
    IN_COMMIT = "in-commit"
    BEFORE_COMMIT_LEAVE = "before-commit-leave"
    IN_COMMIT_LEAVE = "in-commit-leave"
    IN_ROLLBACK = "in-rollback"
    IN_FAILURE = "in-failure"
    IN_CLEANUP = "in-cleanup"


P = Point

POINTS: dict[Step, tuple[Point, ...]] = {
    S.DOWNLOAD: (),
    S.INSTALL: (P.BEFORE_INSTALL, P.IN_INSTALL),
    S.ASK: (P.BEFORE_COMMIT,),
    S.COMMIT: (P.BEFORE_COMMIT, P.IN_COMMIT),
    S.AFTER_COMMIT: (P.BEFORE_COMMIT_LEAVE, P.IN_COMMIT_LEAVE),
    S.MAY_ROLL_BACK: (),
    S.ROLLBACK: (P.IN_ROLLBACK,),
    S.FAILURE: (P.IN_FAILURE,),
    S.CLEANUP: (P.IN_CLEANUP,),
}
"""What is journaled before a step's work, in order. `--stop-before` ends after the first one, so
that stopping there again does nothing, and a step that was begun is past it for good."""

STOPS: dict[str, Step] = {
    "ArtifactInstall_Enter": S.INSTALL,
    "ArtifactCommit_Enter": S.COMMIT,
    "ArtifactCommit_Leave": S.AFTER_COMMIT,
    "ArtifactRollback_Enter": S.ROLLBACK,
    "ArtifactFailure_Enter": S.FAILURE,
    "Cleanup": S.CLEANUP,
}
"""Where `--stop-before` may end, by Mender's names."""


class Fact(StrEnum):
    """What one command found or did. They make its words and its exit code."""

    NONE_IN_PROGRESS = "none-in-progress"
    DOWNLOADED = "downloaded"
    DOWNLOAD_FAILED = "download-failed"
    INSTALLED = "installed"
    INSTALL_FAILED = "install-failed"
    REBOOT_WANTED = "reboot-wanted"
    COMMITS_AT_ONCE = "commits-at-once"
    COMMITTED = "committed"
    COMMIT_FAILED = "commit-failed"
    AFTER_COMMIT_FAILED = "after-commit-failed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"  # inside a step that must not be done twice
    NO_ROLLBACK = "no-rollback"
    ROLLED_BACK = "rolled-back"
    ROLLBACK_FAILED = "rollback-failed"
    UNTOUCHED = "untouched"
    CLEANED = "cleaned"
    CLEANUP_FAILED = "cleanup-failed"
    SCRIPT_FAILED = "script-failed"  # one whose failure changes nothing but the exit code


F = Fact
Facts = frozenset[Fact]

NOT_DOWNLOADED = frozenset({F.DOWNLOAD_FAILED, F.FAILED, F.UNTOUCHED})


@dataclass(frozen=True, slots=True)
class Start:
    """Where a command goes on with what an earlier one began, and what is known by then."""

    step: Step
    facts: Facts = frozenset()


_INTERRUPTED = Start(S.MAY_ROLL_BACK, frozenset({F.INTERRUPTED}))

RESUME: dict[Point, Start] = {
    P.BEFORE_INSTALL: Start(S.INSTALL),
    P.IN_INSTALL: _INTERRUPTED,  # half-installed: never ArtifactInstall twice
    P.BEFORE_COMMIT: Start(S.COMMIT),
    P.IN_COMMIT: _INTERRUPTED,  # whether ArtifactCommit took effect nobody knows
    P.BEFORE_COMMIT_LEAVE: Start(S.AFTER_COMMIT),
    P.IN_COMMIT_LEAVE: Start(S.AFTER_COMMIT),
    P.IN_ROLLBACK: Start(S.ROLLBACK),
    P.IN_FAILURE: Start(S.FAILURE),
    P.IN_CLEANUP: Start(S.CLEANUP),
}
"""Of `resume`. Of a download nothing is journaled, as it changes nothing."""

CAN_COMMIT: dict[Point, Start] = {
    P.BEFORE_COMMIT: Start(S.COMMIT),
    P.IN_COMMIT: Start(S.MAY_ROLL_BACK, frozenset({F.COMMIT_FAILED, F.FAILED})),
}
CAN_ROLL_BACK: dict[Point, Start] = dict.fromkeys(
    (
        P.BEFORE_INSTALL,
        P.IN_INSTALL,
        P.BEFORE_COMMIT,
        P.IN_COMMIT,
        P.BEFORE_COMMIT_LEAVE,
        P.IN_ROLLBACK,
    ),
    Start(S.MAY_ROLL_BACK),
)


@dataclass(frozen=True, slots=True)
class StandaloneRecord:
    """The update by hand that is at work. `point` is None until something is journaled.

    `begun` counts the payloads whose ArtifactInstall was begun. `failed` is the result of the
    command at work: a later one has a result of its own. `doubtful`: the device was changed and
    not changed back, whatever command found that out.
    """

    contents: Contents
    point: Point | None = None
    begun: Count = 0
    failed: bool = False
    rolled_back: bool = False
    doubtful: bool = False

    @property
    def components(self) -> tuple[Component, ...]:
        return payloads(_BASE, self.contents)

    @property
    def undo(self) -> tuple[Component, ...]:
        """The payloads to roll back, the last first; of an artifact with one payload, that one."""
        return tuple(reversed(self.components[: max(self.begun, 1)]))

    @property
    def facts(self) -> Facts:
        """What an earlier command, cut short, had found out."""
        failed = {F.FAILED} if self.failed else set()
        return frozenset(failed | ({F.ROLLED_BACK} if self.rolled_back else set()))


def artifact_component() -> Component:
    """Return the component that stands for a whole artifact, before its payloads are known."""
    return _BASE


def saved(record: StandaloneRecord, point: Point, facts: Facts) -> StandaloneRecord:
    """Return the record as it is journaled at `point`, after `facts`."""
    failed = record.failed or F.FAILED in facts
    whole = record.rolled_back or bool(facts & {F.ROLLED_BACK, F.UNTOUCHED})
    whole = whole and F.ROLLBACK_FAILED not in facts
    doubtful = (record.doubtful or failed) and not whole
    return replace(record, point=point, failed=failed, rolled_back=whole, doubtful=doubtful)


def left(record: StandaloneRecord) -> StandaloneRecord:
    """Return the record as a command leaves it behind: the next one reports its own result."""
    return replace(record, failed=False)


def to_enter(step: Step, point: Point | None) -> tuple[Point, ...]:
    """Return what has to be journaled before the work of `step`, coming from `point`."""
    points = POINTS[step]
    return points[points.index(point) :] if point is not None and point in points else points


def stops(step: Step, point: Point, wanted: Collection[Step]) -> bool:
    """Say whether to end at `point` before the work of `step`."""
    return step in wanted and point is POINTS[step][0]


class Ending(StrEnum):
    """How a command ended, as its exit code says it."""

    DONE = "done"
    FAILED = "failed"
    NONE_IN_PROGRESS = "none-in-progress"
    REBOOT = "reboot"  # done, and a payload asked for a reboot


def ending(facts: Facts) -> Ending:
    if F.NONE_IN_PROGRESS in facts:
        return Ending.NONE_IN_PROGRESS
    if facts & {F.FAILED, F.SCRIPT_FAILED}:
        return Ending.FAILED
    return Ending.REBOOT if F.REBOOT_WANTED in facts else Ending.DONE


def sentences(facts: Facts) -> tuple[str, ...]:
    """Return the lines in which a command says what it did: Mender's own, scripts parse them."""
    at_once = {F.COMMITS_AT_ONCE, F.INSTALLED} <= facts and facts & {F.COMMITTED, F.FAILED}
    prefix = "Update Module doesn't support rollback. Committing immediately." if at_once else ""
    undone = F.FAILED in facts and F.AFTER_COMMIT_FAILED not in facts
    operation = _failure(facts) if undone else _done(facts)
    additional = " ".join(filter(None, (_rollback(facts), *_aftermath(facts))))
    return tuple(filter(None, (prefix, operation, additional)))


def _failure(facts: Facts) -> str:
    if F.DOWNLOAD_FAILED in facts:
        return "Streaming failed."
    if F.INSTALL_FAILED in facts:
        return "Installation failed."
    return "Committing failed." if F.COMMIT_FAILED in facts else ""


def _done(facts: Facts) -> str:
    if F.INSTALLED in facts and F.COMMITTED in facts:
        return "Installed and committed."
    if F.COMMITTED in facts:
        return "Committed."
    if F.INSTALLED in facts:
        return (
            "Installed, but not committed.\n"
            "Use 'commit' to update, or 'rollback' to roll back the update."
        )
    if F.DOWNLOADED in facts:
        return "Streamed to storage, but not installed/enabled."
    if F.NONE_IN_PROGRESS in facts:
        return "No update in progress."
    return "Cleaned up." if facts - {F.SCRIPT_FAILED} == {F.CLEANED} else ""


def _rollback(facts: Facts) -> str:
    if F.ROLLBACK_FAILED in facts:
        return "Rollback failed. System may be in an inconsistent state."
    if F.NO_ROLLBACK in facts:
        return "Update Module does not support rollback. System may be in an inconsistent state."
    if F.UNTOUCHED in facts:
        return "System not modified."
    return "Rolled back." if F.ROLLED_BACK in facts else ""


def _aftermath(facts: Facts) -> tuple[str, ...]:
    said = {
        F.AFTER_COMMIT_FAILED: "One or more post-commit steps failed.",
        F.CLEANUP_FAILED: "Cleanup failed.",
        F.REBOOT_WANTED: "At least one payload requested a reboot of the device it updated.",
    }
    return tuple(text for fact, text in said.items() if fact in facts)


# No release key signed this: an artifact by hand is trusted by its own signature, or by the hand.
_UNKNOWN = "0" * 64
_ARTIFACT = Artifact("", _UNKNOWN, 1, 1, Encoding.RAW)
_BASE = Component(
    BASE,
    ComponentRef("by-hand@0", f"sha256:{_UNKNOWN}"),
    Descriptor("by-hand", "0", MENDER, Scope.DATA, 0, (_ARTIFACT,)),
    _ARTIFACT,
)
