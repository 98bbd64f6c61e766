"""State scripts: which ones a deployment's states run, and who brings them. Pure.

Source: Mender's documentation, "State scripts"; its client's state machine for the order.
"""

from dataclasses import dataclass
from enum import StrEnum

from device_agent.core.states import State


class ScriptState(StrEnum):
    """The first word of a state script's name."""

    IDLE = "Idle"
    SYNC = "Sync"
    DOWNLOAD = "Download"
    INSTALL = "ArtifactInstall"
    REBOOT = "ArtifactReboot"
    COMMIT = "ArtifactCommit"
    ROLLBACK = "ArtifactRollback"
    ROLLBACK_REBOOT = "ArtifactRollbackReboot"
    FAILURE = "ArtifactFailure"

    @property
    def of_image(self) -> bool:
        """Say whether the image brings these scripts; the others come in an artifact."""
        return self in (ScriptState.IDLE, ScriptState.SYNC, ScriptState.DOWNLOAD)


class Action(StrEnum):
    """The second word."""

    ENTER = "Enter"
    LEAVE = "Leave"
    ERROR = "Error"


class OnFailure(StrEnum):
    """What becomes of a phase's other scripts when one has failed. Error scripts always run all."""

    STOP = "stop"
    GO_ON = "go on"


@dataclass(frozen=True, slots=True)
class Around:
    """The scripts around a state's work: `enter` before it, `leave` when it went well, `error` when
    it or one of the others did not."""

    enter: ScriptState | None = None
    leave: ScriptState | None = None
    error: ScriptState | None = None


AROUND: dict[State, Around] = {
    State.DOWNLOAD: Around(ScriptState.DOWNLOAD, ScriptState.DOWNLOAD, ScriptState.DOWNLOAD),
    State.INSTALL: Around(ScriptState.INSTALL, ScriptState.INSTALL, ScriptState.INSTALL),
    State.REBOOT: Around(enter=ScriptState.REBOOT, error=ScriptState.REBOOT),
    State.VERIFY_REBOOT: Around(leave=ScriptState.REBOOT, error=ScriptState.REBOOT),
    State.MODULES: Around(ScriptState.INSTALL, ScriptState.INSTALL, ScriptState.INSTALL),
    State.COMMIT: Around(enter=ScriptState.COMMIT, error=ScriptState.COMMIT),
    State.FINISH: Around(leave=ScriptState.COMMIT, error=ScriptState.COMMIT),
    State.ROLLBACK: Around(enter=ScriptState.ROLLBACK, leave=ScriptState.ROLLBACK),
    State.ROLLBACK_REBOOT: Around(enter=ScriptState.ROLLBACK_REBOOT),
    State.VERIFY_ROLLBACK: Around(
        leave=ScriptState.ROLLBACK_REBOOT, error=ScriptState.ROLLBACK_REBOOT
    ),
    State.FAILURE: Around(enter=ScriptState.FAILURE, leave=ScriptState.FAILURE),
}
"""Of every state that has any. While undoing, a script that fails stops nothing: it is reported."""
