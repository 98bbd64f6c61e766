"""A word for the device's owner: files and programs in `inhibit.d` directories that say not now.

docs/device-owner.md describes them for integrators. Whatever is wrong here counts as an objection:
an update can wait, and a person who is told why can put it right.
"""

import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

from device_agent.core.states import Gate
from device_agent.process import TERMINATION, Completed, printable, run

DEFAULT_PATHS = (Path("/etc/fleetcd/inhibit.d"), Path("/run/fleetcd/inhibit.d"))
TIMEOUT = 10.0  # seconds that a program may take to answer
MAX_ENTRIES = 100  # in one directory
MAX_REASON = 200  # characters
NO_REASON = "no reason given"

_READ = 4096  # bytes of a flag file
_OBJECTS = 1  # the exit status of a program that objects
_IGNORED_ENDINGS = ("~", ".swp")  # of editors
_IGNORED_PART = ".dpkg-"  # of the package manager, as in `kiosk.dpkg-old`
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class _Wrong(Exception):
    """Something cannot be asked: an objection, with the reason in words."""


@dataclass(frozen=True, slots=True)
class InhibitDirectory:
    """The port Owner, over directories that need not exist.

    A plain file objects by being there; its first line is the reason. An executable one is run with
    the gate as its only argument: status 0 is no objection, 1 is one, with the first line of its
    output as the reason. A name that ends in gates (`kiosk.reboot`) speaks of those only.
    `timeout` and `termination` are seconds: for a program's answer, and from TERM to KILL.
    """

    paths: Sequence[Path]
    environment: Mapping[str, str]
    timeout: float = TIMEOUT
    termination: float = TERMINATION

    def objection(self, gate: Gate) -> str | None:
        for directory in self.paths:
            try:
                names = _names(directory)
            except _Wrong as wrong:
                return f"inhibited: {_shown(directory)} {wrong}"
            for name in names:
                if gate not in _gates(name):
                    continue
                reason = self._reason(directory, name, gate)
                if reason is not None:
                    return f"inhibited by {_shown(name)}: {reason}"
        return None

    def _reason(self, directory: Path, name: str, gate: Gate) -> str | None:
        path = directory / name
        try:
            found = path.stat()
            if stat.S_ISDIR(found.st_mode):
                return None
            if not stat.S_ISREG(found.st_mode):
                raise _Wrong("is neither a file nor a program")
            if found.st_mode & 0o111:
                _expect_ours(found, directory)
                return self._answer(path, gate)
            return _first_line(_head(path))
        except FileNotFoundError as error:
            # An application may take its flag away while we look; a link to nowhere stays.
            return _cannot("be followed", error) if path.is_symlink() else None
        except OSError as error:
            return _cannot("be read", error)
        except _Wrong as wrong:
            return str(wrong)

    def _answer(self, program: Path, gate: Gate) -> str | None:
        try:
            done = run(
                [str(program), gate.value],
                timeout=self.timeout,
                environment=self.environment,
                directory=Path("/"),
                termination=self.termination,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise _Wrong(_cannot("be run", error)) from error
        return _judged(done)


def _judged(done: Completed) -> str | None:
    if done.ok:
        return None
    objects = done.status == _OBJECTS and not done.timed_out
    return _first_line(done.stdout) if objects else f"it {done}"


def _names(directory: Path) -> list[str]:
    """Return the entries that count, sorted; none without the directory. Raises _Wrong."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in islice(entries, MAX_ENTRIES + 1)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _Wrong(_cannot("be read", error)) from error
    if len(names) > MAX_ENTRIES:
        raise _Wrong(f"has more than {MAX_ENTRIES} entries; remove those that nobody needs")
    return sorted(name for name in names if not _is_ignored(name))


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.endswith(_IGNORED_ENDINGS) or _IGNORED_PART in name


def _gates(name: str) -> frozenset[Gate]:
    """Return what `name` speaks of. A misspelled gate is none: such a name speaks of all."""
    known = {gate.value: gate for gate in Gate}
    suffixes = takewhile(known.__contains__, reversed(name.split(".")[1:]))
    return frozenset(known[suffix] for suffix in suffixes) or frozenset(Gate)


def _expect_ours(program: os.stat_result, directory: Path) -> None:
    """Raise _Wrong if anybody else could have put the program there: it would run with our rights.

    An application that may write into the directory can still object, by a plain file.
    """
    for what, found in (("it", program), ("its directory", directory.stat())):
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & _WRITABLE_BY_OTHERS:
            raise _Wrong(f"not run, since {what} can be changed by others than root")


def _head(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _READ)
    finally:
        os.close(descriptor)


def _first_line(output: bytes) -> str:
    lines = output[:_READ].splitlines()
    return printable(lines[0].strip(), MAX_REASON) if lines and lines[0].strip() else NO_REASON


def _cannot(do: str, error: Exception) -> str:
    return f"cannot {do}: {error.strerror if isinstance(error, OSError) else error}"


def _shown(path: str | Path) -> str:
    return printable(os.fsencode(path), MAX_REASON)
