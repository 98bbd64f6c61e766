"""Orphans: what a poll's child had started comes to the daemon, which reaps it, or ends it."""

import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

GRACE = 5.0  # seconds between TERM and KILL
HOPELESS = 5.0  # seconds after the first KILL: what hangs in the kernel outlives it

_AT_ONCE = 1000  # children reaped in one go
_STAT = 1024  # bytes; a line of proc_pid_stat(5) is shorter
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2); children do not inherit it

log = logging.getLogger(__name__)


def adopt() -> None:
    """From now on processes below us whose parent ends become our children, not init's."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap(child: int | None = None) -> int | None:
    """Reap what has ended; return the wait status of `child` if it was among that.

    Raises ChildProcessError when there is no such child.
    """
    for _ in range(_AT_ONCE):
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            if child is None:
                return None
            raise
        if ended == 0:
            return None
        if ended == child:
            return status
    return None


def groups() -> frozenset[int]:
    """Return the process groups of our children."""
    return frozenset(_children().values())


def end(spared: Collection[int], look: Callable[[], None]) -> None:
    """TERM, time to tidy up, KILL, to all our children but those of the groups `spared`.

    What they have started themselves comes to us with their end, and has its turn then. Nobody
    else reaps a child of ours, so that a process id cannot be another's meanwhile. `look` returns
    soon, at once if a child ends.
    """
    begun, told = time.monotonic(), set[int]()
    while True:
        reap()
        left = [pid for pid, group in _children().items() if group not in spared]
        if not left:
            return
        passed = time.monotonic() - begun
        if passed >= GRACE + HOPELESS:
            log.error("processes of a poll that broke off cannot be ended: %s", left)
            return
        if passed >= GRACE:
            _signal(left, signal.SIGKILL)
        else:
            _signal(set(left) - told, signal.SIGTERM)
            told.update(left)
        look()


def _signal(processes: Collection[int], number: signal.Signals) -> None:
    for pid in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _children() -> dict[int, int]:
    """Return our children's process ids, each with its group."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    except OSError:  # no child, which is usual and spares the look at all processes; or no /proc
        return {}
    us, found = os.getpid(), {}
    for pid in pids:
        parent, group = _parent_and_group(pid)
        if parent == us:
            found[pid] = group
    return found


def _parent_and_group(pid: int) -> tuple[int, int]:
    """Return both from proc_pid_stat(5), or zeros for a process that is gone."""
    try:
        with Path(f"/proc/{pid}/stat").open("rb", buffering=0) as file:
            _, parent, group, *_ = file.read(_STAT).rpartition(b")")[2].split()
    except OSError:
        return 0, 0
    return int(parent), int(group)
