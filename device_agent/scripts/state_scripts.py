"""The port Scripts: finds the scripts of a phase, runs them in order, keeps an artifact's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from device_agent.core.scripts import Action, OnFailure, ScriptState
from device_agent.errors import InstallFailed
from device_agent.ports import Sleep
from device_agent.scripts import kept
from device_agent.scripts.directory import expect_version, find, has_any
from device_agent.scripts.executor import Executor, Limits
from schemas.artifact.header import Script
from schemas.wire.report import FailureClass

_NAMED = 3  # failures that one message tells of


class StateScripts:
    """Scripts of the image in the directory `image`, of artifacts in `artifacts`/<component>."""

    def __init__(
        self,
        image: Path,
        artifacts: Path,
        *,
        environment: Mapping[str, str],
        limits: Limits,
        sleep: Sleep,
        monotonic: Callable[[], float],
    ) -> None:
        self._image, self._artifacts = image, artifacts
        self._executor = Executor(environment, limits, sleep, monotonic)

    def run(
        self,
        state: ScriptState,
        action: Action,
        components: Sequence[str],
        on_failure: OnFailure = OnFailure.STOP,
    ) -> None:
        """Run the scripts of `state` and `action`: the image's, or those of each component in turn.

        All directories are looked at before anything runs. Error and Idle scripts run all, as with
        GO_ON. Raises InstallFailed (SCRIPT): the first failure, or all of them at the end.
        """
        if action is Action.ERROR or state is ScriptState.IDLE:
            on_failure = OnFailure.GO_ON
        failures: list[str] = []
        scripts: list[Path] = []
        for directory in self._directories(state, components):
            with _noting(failures, on_failure):
                scripts += find(directory, state, action)
        for script in scripts:
            with _noting(failures, on_failure):
                self._executor.run(script)
        if failures:
            raise InstallFailed(_summary(failures), FailureClass.SCRIPT)

    def present(self, *states: ScriptState) -> bool:
        """Say whether the image may bring scripts of `states`, so that run() has to be called."""
        try:
            return has_any(self._image, states)
        except InstallFailed:
            return True  # run() says what is wrong

    def check_image(self) -> None:
        """Raise InstallFailed unless the image's scripts have a version that can be run.

        The last thing before a commit: an image that ends all later updates must not be kept.
        """
        expect_version(self._image)

    def keep(self, component: str, scripts: Sequence[Script]) -> None:
        """Make `scripts` those of `component`, on the disk. Again: replaces them.

        Raises UpdateRejected (E_PATH, E_MODULE) before anything is written, and OSError.
        """
        kept.keep(self._artifacts, component, scripts)

    def clear(self) -> None:
        """Remove what artifacts brought. Again: no effect. Raises OSError."""
        kept.clear(self._artifacts)

    def _directories(self, state: ScriptState, components: Sequence[str]) -> Sequence[Path]:
        if state.of_image:
            return (self._image,)
        return [kept.folder(self._artifacts, component) for component in components]


@contextmanager
def _noting(failures: list[str], on_failure: OnFailure) -> Iterator[None]:
    """Let a failure pass, or note it and go on."""
    try:
        yield
    except InstallFailed as error:
        if on_failure is OnFailure.STOP:
            raise
        failures.append(error.message)


def _summary(failures: Sequence[str]) -> str:
    more = len(failures) - _NAMED
    return "; ".join(failures[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
