"""The last accepted commit, on disk: what the next one must descend from, whatever happens to the
mirror in between."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reconciler.adapters.durable import Medium
from reconciler.adapters.git_remote import COMMIT_ID
from reconciler.errors import CommitRefused, Misconfigured, Unavailable

MAX_RECORD = 4096  # bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """`reset` is the commit that `git.allow_reset` named when history was last replaced."""

    commit: str
    reset: str | None = None


class AcceptedFile:
    """Keeps one Accepted in a file, whole or absent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Accepted | None:
        """Return what was written last, None before that.

        Raises Misconfigured for a file that is not ours: guessing would forget which history is
        the right one. Raises Unavailable when the disk does not give it.
        """
        try:
            with self._path.open("rb") as stream:
                content = stream.read(MAX_RECORD)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error
        try:
            record = json.loads(content)
            commit, reset = record["commit"], record["reset"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged() from error
        ids = (commit,) if reset is None else (commit, reset)
        if not all(isinstance(value, str) and COMMIT_ID.fullmatch(value) for value in ids):
            raise self._damaged()
        return Accepted(commit, reset)

    def write(self, accepted: Accepted) -> None:
        """Replace the record durably. Again: the same. Raises Unavailable (a full disk)."""
        record = {"commit": accepted.commit, "reset": accepted.reset}
        content = json.dumps(record, sort_keys=True).encode() + b"\n"
        try:
            Medium().write([(self._path, content)])
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}") from error

    def _damaged(self) -> Misconfigured:
        return Misconfigured(
            f"{self._path} is damaged; check the branch's history and delete the file to trust "
            "the branch as it stands"
        )


def succeed(
    before: Accepted | None,
    commit: str,
    *,
    descends_from: Callable[[str], bool],
    allow_reset: str | None,
    branch: str,
) -> Accepted:
    """Return the record after `commit` or raise CommitRefused; `descends_from` is about `commit`.

    History moves forward only, except once to (a descendant of) the commit `allow_reset`.
    """
    if before is None:
        return Accepted(commit)
    if descends_from(before.commit):
        return Accepted(commit, before.reset)
    if allow_reset and allow_reset != before.reset and descends_from(allow_reset):
        return Accepted(commit, allow_reset)
    used = (
        f" git.allow_reset = {allow_reset} was used already."
        if allow_reset and allow_reset == before.reset
        else ""
    )
    raise CommitRefused(
        f"branch {branch} moved to {commit}, which does not contain the last accepted commit "
        f"{before.commit}: its history was rewritten or set back.{used} Push a commit that "
        f'contains it, or, if this is wanted, set git.allow_reset = "{commit}" and restart'
    )
