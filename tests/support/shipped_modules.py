"""The shipped Update Modules as a device runs them, and killed at every change of the disk."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from device_agent.modules.shipped import DIRECTORY
from device_agent.modules.shipped.fleetcd_modules import swap
from device_agent.modules.shipped.fleetcd_modules.protocol import Tree
from device_agent.process import Completed, run

T = TypeVar("T")

_open = os.open

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CHANGES = (
    "open replace rename unlink rmdir mkdir link symlink chmod chown fchmod fchown fsync utime"
)
MOST = 400  # changes that a call may make: the bound of the loop over them


class ShippedModule:
    """One module, and the tree of one update. `files` are the payload's, by name."""

    def __init__(
        self,
        root: Path,
        name: str,
        files: Mapping[str, bytes],
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.program = DIRECTORY / name
        self.path = root / "state" / "modules" / "v3" / "payloads" / "app" / "tree"
        self.tree = Tree(self.path)
        self.environment = {"PATH": PATH, "LANG": "C.UTF-8", **(environment or {})}
        self.tree.tmp.mkdir(parents=True)
        self.tree.files.mkdir()
        for file, content in files.items():
            (self.tree.files / file).write_bytes(content)

    def call(self, call: str) -> Completed:
        argv = [str(self.program), call, str(self.path)]
        return run(argv, timeout=60.0, environment=self.environment, directory=self.path)

    def succeed(self, *calls: str) -> None:
        for call in calls:
            done = self.call(call)
            assert done.ok, f"{call}: {done}\n{done.stderr.decode()}"

    def refusal(self, call: str) -> str:
        """Make a call that must fail, and return what it said."""
        done = self.call(call)
        assert done.status == 1, done
        return done.stderr.decode()

    def answer(self, query: str) -> str:
        done = self.call(query)
        assert done.ok, done
        return done.stdout.decode()


def content_of(directory: Path) -> dict[str, bytes | None] | None:
    """Return all files below `directory` by name, None for a directory; None if it is missing."""
    if not directory.is_dir():
        return None
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def killed_at_every_change(start: Callable[[int], T], act: Callable[[T], None]) -> Iterator[T]:
    """Yield each of what `start` made, after `act` on it was killed at its next change.

    Ends with the first that `act` survives. Fails when it raises, or makes more than MOST changes.
    """
    for number in range(1, MOST):
        subject = start(number)
        if not _killed(number, lambda subject=subject: act(subject)):  # type: ignore[misc]
            return
        yield subject
    raise AssertionError(f"more than {MOST} changes")


class _Kill(BaseException):
    """Ends a call in mid-work. What runs on the way out can change nothing on the disk."""


def _killed(number: int, act: Callable[[], None]) -> bool:
    """Say whether `act` made a change `number`; then that was its last.

    What a call has written is flushed at every change, so it is as if a SIGKILL came right after.
    """
    made = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*arguments: object, **options: object) -> Any:
            nonlocal made
            if made == number:
                raise _Kill
            result = change(*arguments, **options)
            made += 1
            if made == number:
                if change is _open:
                    os.close(result)
                raise _Kill
            return result

        return changing

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES.split():
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(swap, "exchange", counted(swap.exchange))
        try:
            act()
        except _Kill:
            return True
    return False
