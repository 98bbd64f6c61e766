"""What the module `deb` asks of dpkg, and how: alone, without questions, bounded in time.

dpkg's own variables DPKG_ROOT and DPKG_ADMINDIR say where packages go, as for dpkg itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .protocol import Refused

LOCK_WAIT = 600.0  # seconds for another package manager to finish
_LOOK = 0.2  # seconds between looks at the lock
_QUESTION, _WORK = 120.0, 4 * 3600.0  # seconds
_SHOWN = "${Package}\t${Version}\t${Architecture}\n"
_LISTED = "${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~-]*")
_GONE = ("not-installed", "config-files")


class Package(NamedTuple):
    name: str
    version: str
    architecture: str

    @property
    def file_name(self) -> str:
        """Return the name that apt gives to the package's file, too."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


class Present(NamedTuple):
    """What a device has of a package. `status` is dpkg's word; `package` None: not its files."""

    status: str
    package: Package | None


ABSENT = Present("not-installed", None)


def package_of(deb: Path) -> Package:
    """Return which package the file `deb` is. Raises Refused."""
    shown = _answer(["dpkg-deb", "--show", f"--showformat={_SHOWN}", str(deb)])
    words = shown.rstrip("\n").split("\t") if shown is not None else []
    if len(words) != 3 or not all(map(_WORD.fullmatch, words)):
        raise Refused(f"{deb.name} is not a Debian package; make it with dpkg-deb")
    return Package(*words)


def present(wanted: Package) -> Present:
    """Return what the device has of `wanted`'s name, for its architecture or for all."""
    listed = _answer(["dpkg-query", "--show", f"--showformat={_LISTED}", wanted.name]) or ""
    for line in listed.splitlines():
        name, version, architecture, status = line.split("\t")
        if "all" not in (architecture, wanted.architecture) and architecture != wanted.architecture:
            continue  # the same library for another architecture
        package = Package(name, version, architecture)
        return Present(status, None if status in _GONE else package)
    return ABSENT


def is_installed(package: Package) -> bool:
    return present(package) == Present("installed", package)


def work(*arguments: str) -> None:
    """Run dpkg, which says what it does on standard error. Raises Refused when it fails."""
    status = _status(["dpkg", *arguments], _WORK)
    if status != 0:
        raise Refused(f"dpkg failed with status {status}; its own words are above")


def install(debs: Iterable[str]) -> None:
    """Install packages, of lower versions too, and keep edited configuration. Raises Refused."""
    work("--force-confold", "--force-downgrade", "--install", *debs)


def repair() -> None:
    """Finish what an interrupted dpkg left. What cannot be finished may be what is updated now."""
    if _status(["dpkg", "--force-confold", "--configure", "-a"], _WORK) != 0:
        sys.stderr.write("deb: dpkg --configure -a failed; going on, its own words are above\n")


def fetch(package: Package, directory: Path) -> None:
    """Let apt bring the package's file into `directory`, if it knows it. No error if not."""
    wanted = f"{package.name}:{package.architecture}={package.version}"
    timeouts = [f"-oAcquire::{kind}::Timeout=15" for kind in ("http", "https")]
    _status(
        ["apt-get", "-q", "-oAcquire::Retries=0", *timeouts, "download", wanted],
        _QUESTION,
        directory,
    )


@contextmanager
def locked(wait: float = LOCK_WAIT) -> Iterator[None]:
    """Keep other package managers out, as apt does: the frontend's lock. Raises Refused."""
    path = _administration() / "lock-frontend"
    if not path.parent.is_dir():
        raise Refused(f"there is no {path.parent}: this device has no dpkg; use another module")
    deadline = time.monotonic() + wait
    told = False
    with path.open("ab") as file:
        while not _taken(file.fileno()):
            if time.monotonic() >= deadline:
                raise Refused(f"{path} is held by another package manager; end it, and try again")
            if not told:
                sys.stderr.write(f"deb: waiting for {path}\n")
                sys.stderr.flush()
                told = True
            time.sleep(_LOOK)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _administration() -> Path:
    root = Path(os.environ.get("DPKG_ROOT") or "/")
    return Path(os.environ.get("DPKG_ADMINDIR") or root / "var/lib/dpkg")


def _environment() -> dict[str, str]:
    own = {"DEBIAN_FRONTEND": "noninteractive", "DPKG_FRONTEND_LOCKED": "true", "LC_ALL": "C.UTF-8"}
    return {**os.environ, **own}


def _answer(arguments: list[str]) -> str | None:
    """Return what a query printed, None when it failed."""
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_environment(),
            timeout=_QUESTION,
            check=False,
        )
    except FileNotFoundError as error:
        raise Refused(f"this device has no {arguments[0]}; use another module") from error
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{arguments[0]} did not answer in {_QUESTION:.0f} s") from error
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _status(arguments: list[str], timeout: float, directory: Path | None = None) -> int:
    """Run to the end, with standard error for both outputs: a query's answer is one line."""
    try:
        done = subprocess.run(
            arguments,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env=_environment(),
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        return 127
    except subprocess.TimeoutExpired:
        return 124
    return done.returncode
