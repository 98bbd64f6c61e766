"""Health checks of a release: what must be true before a device keeps it.

A check is text from a release-signed descriptor: `network`, `systemd:UNIT`, `command:ARGV`, or an
http(s) URL. All of them must pass in one round. Rounds repeat until then, for `within` seconds.
"""

import http.client
import re
import shlex
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from device_agent.errors import InstallFailed, TransientError
from device_agent.ports import Clock, Sleep
from device_agent.process import last_line, printable, run
from schemas.wire.descriptor import Health
from schemas.wire.report import FailureClass

_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}")
_SHOWN = 300  # characters of a check in a message


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Seconds, and all that a check's process gets as its environment."""

    environment: Mapping[str, str]
    pause: float = 5.0  # between two rounds
    timeout: float = 30.0  # of one check


def health_environment(path: str, state_dir: Path, slot: Path | None) -> dict[str, str]:
    """Return the environment of commands. FLEETCD_SLOT is the file or device that runs."""
    environment = {"PATH": path, "FLEETCD_STATE": str(state_dir)}
    return environment | ({"FLEETCD_SLOT": str(slot)} if slot else {})


class Unhealthy(Exception):
    """A check did not pass; the text says why."""


class Unreachable(Unhealthy):
    """The published tree is away: that may be the update's fault, or the network's."""


class Unreadable(Exception):
    """A check is not one that this agent knows: waiting will not help."""


Check = Callable[[float], None]
"""Returns when it passed within so many seconds, else raises Unhealthy."""


class HealthRunner:
    """`reachable` answers whether the published tree's host does."""

    def __init__(
        self, settings: HealthSettings, reachable: Callable[[], bool], clock: Clock, sleep: Sleep
    ) -> None:
        self._settings, self._reachable = settings, reachable
        self._clock, self._sleep = clock, sleep

    def run(self, health: Health) -> None:
        checks = [(text, self._parsed(text)) for text in health.checks]
        deadline = self._clock.monotonic() + health.within
        while problem := self._first_problem(checks, deadline):
            if self._clock.monotonic() + self._settings.pause >= deadline:
                message = f"{problem} (for {health.within} s)"
                if isinstance(problem, Unreachable):
                    raise TransientError(message)
                raise InstallFailed(message, FailureClass.HEALTHCHECK)
            self._sleep(self._settings.pause)

    def _first_problem(self, checks: list[tuple[str, Check]], deadline: float) -> Unhealthy | None:
        for text, check in checks:
            left = max(1.0, deadline - self._clock.monotonic())
            try:
                check(min(left, self._settings.timeout))
            except Unhealthy as problem:
                return type(problem)(f"health check {_shown(text)} fails: {problem}")
        return None

    def _parsed(self, text: str) -> Check:
        try:
            return self._check(text)
        except (Unreadable, ValueError) as error:
            raise InstallFailed(
                f"health check {_shown(text)}: {error}", FailureClass.HEALTHCHECK
            ) from error

    def _check(self, text: str) -> Check:
        kind, _, rest = text.partition(":")
        match kind:
            case "network" if not rest:
                return self._network
            case "systemd":
                return self._unit(rest)
            case "command":
                return self._command(rest)
            case "http" | "https":
                return _url(urlsplit(text))
            case _:
                raise Unreadable("unknown; known are network, systemd:, command:, http(s)://")

    def _network(self, timeout: float) -> None:  # noqa: ARG002 - `reachable` has its own
        if not self._reachable():
            raise Unreachable("the published tree does not answer")

    def _unit(self, unit: str) -> Check:
        if not _UNIT.fullmatch(unit):
            raise Unreadable("not the name of a systemd unit")
        return lambda timeout: self._execute(["systemctl", "is-active", "--", unit], timeout)

    def _command(self, text: str) -> Check:
        argv = shlex.split(text)
        if not argv:
            raise Unreadable("no command")
        return lambda timeout: self._execute(argv, timeout)

    def _execute(self, argv: list[str], timeout: float) -> None:
        try:
            done = run(argv, timeout=timeout, environment=self._settings.environment)
        except OSError as error:
            raise Unhealthy(f"cannot start: {error.strerror}") from error
        if not done.ok:
            raise Unhealthy(str(done))


def _url(url: SplitResult) -> Check:
    if not url.hostname or url.username is not None:
        raise Unreadable("a URL has a host, and no user name")
    port, host = url.port, url.hostname  # a bad port is a ValueError here, not in every round
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return lambda timeout: _get(url.scheme, host, port, target, timeout)


def _get(scheme: str, host: str, port: int | None, target: str, timeout: float) -> None:
    """GET, without redirects or proxies: the answer's status counts, its body is not read."""
    connection: http.client.HTTPConnection
    if scheme == "https":
        connection = http.client.HTTPSConnection(
            host, port, timeout=timeout, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.connect()
        with _cut_off_after(timeout, connection.sock) as cut_off:
            connection.request("GET", target, headers={"Connection": "close"})
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        said = printable(str(error).encode(), _SHOWN) or type(error).__name__
        raise Unhealthy(said) from error
    finally:
        connection.close()
    if cut_off.is_set():  # what came before may look like a whole answer
        raise Unhealthy(f"no whole answer within {timeout:.0f} s")
    if not 200 <= status < 300:
        raise Unhealthy(f"status {status}")


@contextmanager
def _cut_off_after(seconds: float, connection: socket.socket) -> Iterator[threading.Event]:
    """Shut `connection` down after `seconds`, and say so: a socket's timeout is for each byte."""
    happened = threading.Event()

    def cut_off() -> None:
        happened.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield happened
    finally:
        timer.cancel()


def _shown(text: str) -> str:
    return last_line(text.encode(), _SHOWN) or "''"
