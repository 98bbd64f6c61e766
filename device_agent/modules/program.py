"""Calls an Update Module: one child per call, in its tree, bounded, its words logged."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from device_agent.errors import InstallFailed
from device_agent.modules.payload import Payload
from device_agent.modules.protocol import Call
from device_agent.modules.stream import Streamed, Streamer, line_with_size, plain_line, store
from device_agent.modules.tree import Tree
from device_agent.process import TERMINATION, Child, Completed, printable
from schemas.wire.report import FailureClass

TIMEOUT = 4 * 3600.0  # seconds per call, as Mender's ModuleTimeoutSeconds

_LOGGED = 10_000  # characters of each stream in the log

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for one call, and between TERM and KILL of a call that took longer."""

    timeout: float = TIMEOUT
    termination: float = TERMINATION


@dataclass(frozen=True, slots=True)
class Program:
    """A module's file, the tree it works in, and how its child is started."""

    path: Path
    tree: Tree
    environment: Mapping[str, str]
    limits: Limits

    def call(self, call: Call, failure: FailureClass) -> Completed:
        """Make one call. Raises InstallFailed unless the module exits with status 0."""
        if not self.tree.exists:
            raise InstallFailed(f"{self._title(call)}: the tree {self.tree.path} is gone", failure)
        with self._start(call, failure) as child:
            done = child.wait(self.limits.timeout)
        return self._successful(call, done, failure)

    def download(self, call: Call, payload: Payload) -> None:
        """Make the call Download or DownloadWithFileSizes, and hand over the payload.

        Raises InstallFailed, UpdateRejected (no room, a bad file name) and what the payload raises.
        """
        line = line_with_size if call is Call.DOWNLOAD_WITH_FILE_SIZES else plain_line
        deadline = time.monotonic() + self.limits.timeout
        self.tree.open_streams()
        try:
            with self._start(call, FailureClass.DOWNLOAD) as child:
                streamed = Streamer(child, self.tree, deadline).stream(payload, line)
                finished = streamed is Streamed.FINISHED
                done = child.wait(max(0.0, deadline - time.monotonic()) if finished else 0.0)
        finally:
            self.tree.close_streams()
        if streamed is Streamed.UNFINISHED and (done.ok or time.monotonic() < deadline):
            self._log(call, done)
            raise InstallFailed(
                f"{self._title(call)} did not read its streams to the end and {done}",
                FailureClass.DOWNLOAD,
            )
        self._successful(call, done, FailureClass.DOWNLOAD)
        if streamed is Streamed.UNTOUCHED:
            store(payload, self.tree)

    def _start(self, call: Call, failure: FailureClass) -> Child:
        try:
            return Child(
                [str(self.path), call, str(self.tree.path)],
                environment=self.environment,
                directory=self.tree.path,
                termination=self.limits.termination,
            )
        except OSError as error:
            raise InstallFailed(
                f"{self._title(call)} cannot start: {error.strerror}", failure
            ) from error

    def _successful(self, call: Call, done: Completed, failure: FailureClass) -> Completed:
        self._log(call, done)
        if not done.ok:
            raise InstallFailed(
                f"{self._title(call)} {done}", FailureClass.TIMEOUT if done.timed_out else failure
            )
        return done

    def _log(self, call: Call, done: Completed) -> None:
        log.info(
            "%s %s",
            self._title(call),
            done,
            extra={
                "update_module": self.path.name,
                "call": str(call),
                "status": done.status,
                "timed_out": done.timed_out,
                "output": printable(done.stdout, _LOGGED),
                "errors": printable(done.stderr, _LOGGED),
            },
        )

    def _title(self, call: Call) -> str:
        return f"module {self.path.name}: {call}"
