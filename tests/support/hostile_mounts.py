"""A data partition of a test's own: a small tmpfs that nobody else sees, and that can be read-only.

Without root this needs user namespaces. The work is done in a forked child, because a process that
has left the others' mounts does not come back.
"""

import ctypes
import os
import traceback
from collections.abc import Callable
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000  # unshare(2)
MS_RDONLY, MS_REMOUNT, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x4000, 0x40000  # mount(2)

_libc = ctypes.CDLL(None, use_errno=True)


def in_private_mounts(work: Callable[[], None]) -> None:
    """Do `work` where its mounts are its own; raise AssertionError if it raised."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _do(work, sending)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if status or said:
        raise AssertionError(f"status {status}\n{said}")


def _do(work: Callable[[], None], report: int) -> None:
    status = 1
    try:
        _leave_the_others_mounts()
        work()
        status = 0
    except BaseException:
        os.write(report, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _leave_the_others_mounts() -> None:
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _call("unshare", CLONE_NEWNS)
    else:
        _call("unshare", CLONE_NEWNS | CLONE_NEWUSER)
        own = Path("/proc/self")
        (own / "setgroups").write_text("deny")
        (own / "uid_map").write_text(f"0 {user} 1")
        (own / "gid_map").write_text(f"0 {group} 1")
    _call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)


def mount_partition(path: Path, mebibytes: int) -> None:
    _call("mount", b"tmpfs", bytes(path), b"tmpfs", 0, f"size={mebibytes}m".encode())


def make_read_only(path: Path) -> None:
    """Let nothing be written below `path`; no file there may be open for writing."""
    _call("mount", None, bytes(path), None, MS_REMOUNT | MS_RDONLY, None)


def make_writable(path: Path) -> None:
    _call("mount", None, bytes(path), None, MS_REMOUNT, None)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
