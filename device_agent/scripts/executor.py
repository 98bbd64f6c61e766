"""Runs one state script: bounded in time and output, and again later when it asks for that."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from device_agent.errors import InstallFailed
from device_agent.ports import Sleep
from device_agent.process import TERMINATION, Completed, printable, run
from device_agent.scripts.directory import shown
from schemas.wire.report import FailureClass

RETRY_LATER = 21  # the exit status by which a script asks to be run again later

_LOGGED = 10_000  # characters of each stream in the log

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. The defaults are Mender's StateScript*Seconds.

    `timeout` is for one run, `retry_interval` between two runs, `retry_timeout` counts from a
    script's first wish to be run again, `termination` lies between TERM and KILL.
    """

    timeout: float = 3600.0
    retry_interval: float = 60.0
    retry_timeout: float = 1800.0
    termination: float = TERMINATION


@dataclass(frozen=True, slots=True)
class Executor:
    """How scripts are run. `environment` is all that a script's process gets."""

    environment: Mapping[str, str]
    limits: Limits
    sleep: Sleep
    monotonic: Callable[[], float]

    def run(self, script: Path) -> None:
        """Run `script` until it says how it went. Raises InstallFailed unless it went well."""
        done = self._once(script, self.limits.timeout)
        if _asks_for_retry(done):
            done = self._again(script)
        if not done.ok:
            raise _failed(script, str(done))

    def _again(self, script: Path) -> Completed:
        """Run `script` until it stops asking; when its time is over, end it where it is.

        A wait that would last beyond that time is not begun.
        """
        left, interval = self.limits.retry_timeout, self.limits.retry_interval
        deadline = self.monotonic() + left
        while left > interval:
            log.info("state script %s is run again in %g s", shown(script), interval)
            self.sleep(interval)
            left = deadline - self.monotonic()
            if left <= 0:
                break
            done = self._once(script, min(left, self.limits.timeout))
            if done.timed_out and left < self.limits.timeout:
                break
            if not _asks_for_retry(done):
                return done
            left = deadline - self.monotonic()
        raise _failed(
            script, f"asked to be run again later: gave up after {self.limits.retry_timeout:g} s"
        )

    def _once(self, script: Path, timeout: float) -> Completed:
        try:
            done = run(
                [str(script)],
                timeout=timeout,
                environment=self.environment,
                termination=self.limits.termination,
                may_leave=(0, RETRY_LATER),  # it may wait for what it started
            )
        except OSError as error:
            raise _failed(script, f"cannot start: {error.strerror}") from error
        log.info(
            "state script %s %s",
            shown(script),
            done,
            extra={
                "state_script": shown(script),
                "status": done.status,
                "timed_out": done.timed_out,
                "output": printable(done.stdout, _LOGGED),
                "errors": printable(done.stderr, _LOGGED),
            },
        )
        return done


def _asks_for_retry(done: Completed) -> bool:
    return done.status == RETRY_LATER and not done.timed_out


def _failed(script: Path, what: str) -> InstallFailed:
    return InstallFailed(f"state script {shown(script)} {what}", FailureClass.SCRIPT)
