"""Makes work yield: the device's own programs come first, on the CPU and on the disk.

For the calling thread, and for the threads and programs that it starts meanwhile: Linux gives its
priorities to threads. Nothing here fails: what the kernel refuses stays as it was, and so does what
it would not give back.
"""

import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NICE = 10  # weighs 110 against 1024: about a tenth of a busy CPU, so that an update does end

_AUTOGROUP = Path("/proc/self/autogroup")
_PROCESS = 1  # linux/ioprio.h: whose priority, and the classes
_USUAL, _IDLE = 0 << 13, 3 << 13

Undo = Callable[[], None]

_libc = ctypes.CDLL(None, use_errno=True)
log = logging.getLogger(__name__)


@contextmanager
def in_background() -> Iterator[None]:
    """Let what is inside have little CPU, and the disk when nobody else wants it."""
    with ExitStack() as stack:
        # The disk comes first and is restored last: a nice value may imply a class for it.
        for change in (_idle_disk, _light_session, _light_thread):
            _apply(change, stack)
        yield


@contextmanager
def disk_as_usual() -> Iterator[None]:
    """For a file, in the background: others may wait for it. A journaling filesystem ends nobody's
    fsync before all that is in the same transaction is written, and idle writes may take long."""
    with ExitStack() as stack:
        _apply(_usual_disk, stack)
        yield


def ioprio_set_number(machine: str, bits: int) -> int | None:
    """Return the number of that system call for a program of `bits` on a kernel of `machine`.

    The next number is ioprio_get's. None: not known. Pure.
    """
    if bits == 64:
        return {"x86_64": 251, "aarch64": 30, "riscv64": 30}.get(machine)
    if machine == "aarch64" or machine.startswith("arm"):
        return 314
    return 289 if machine in ("x86_64", "i386", "i486", "i586", "i686") else None


def _apply(change: Callable[[], Undo], stack: ExitStack) -> None:
    try:
        undo = change()
    except OSError as error:
        log.debug("background: the priority stays as it is: %s", error)
    else:
        stack.callback(_restore, undo)


def _restore(undo: Undo) -> None:
    try:
        undo()
    except OSError as error:
        log.warning("background: the priority stays as it became: %s", error)


# Each change asks for what it will want back before it gives it away. Refused: nothing is changed.


def _light_thread() -> Undo:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    if before >= NICE:
        return _nothing
    os.setpriority(os.PRIO_PROCESS, 0, before - 1)  # nobody is refused what he has already
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    return lambda: os.setpriority(os.PRIO_PROCESS, 0, before)


def _light_session() -> Undo:
    """Where the kernel gives each session its share of the CPU (sched(7), autogroup), nice values
    count inside of a session only. One with a terminal is a person's, and is left alone."""
    before = _session_nice()
    if before is None or before >= NICE or _has_terminal():
        return _nothing
    _set_session_nice(before)
    _set_session_nice(NICE)
    return lambda: _set_session_nice(before)


def _session_nice() -> int | None:
    """Return the number in `/autogroup-17 nice 0`, None where sessions do not count."""
    try:
        return int(_AUTOGROUP.read_bytes().rpartition(b" nice ")[2])
    except (FileNotFoundError, ValueError):  # the kernel cannot, or our session is not one of them
        return None


def _set_session_nice(value: int) -> None:
    _AUTOGROUP.write_bytes(b"%d" % value)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _idle_disk() -> Undo:
    return _set_disk(_IDLE)


def _usual_disk() -> Undo:
    return _set_disk(_USUAL)


def _set_disk(priority: int) -> Undo:
    number = ioprio_set_number(os.uname().machine, 8 * ctypes.sizeof(ctypes.c_void_p))
    if number is None:
        return _nothing
    before = _call(number + 1, _PROCESS, 0)
    _call(number, _PROCESS, 0, before)
    _call(number, _PROCESS, 0, priority)

    def undo() -> None:
        _call(number, _PROCESS, 0, before)

    return undo


def _call(number: int, *arguments: int) -> int:
    result: int = _libc.syscall(*map(ctypes.c_long, (number, *arguments)))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _nothing() -> None:
    pass
