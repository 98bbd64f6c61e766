"""The fleet repository: a branch in a bare mirror, forward only, read without a checkout."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.adapters.durable import make_directory
from reconciler.adapters.git_accepted import Accepted, AcceptedFile, succeed
from reconciler.adapters.git_child import TooMuchOutput
from reconciler.adapters.git_mirror import Mirror
from reconciler.adapters.git_remote import Environment, environment_for, parse_remote
from reconciler.adapters.git_tree import (
    MAX_LISTING,
    Unreadable,
    parse_batch,
    parse_listing,
    parse_sizes,
    too_many_files,
)
from reconciler.adapters.git_watch import Alarm, Jitter, RefWatch
from reconciler.errors import CommitRefused, Misconfigured, TreeRefused, Unavailable
from reconciler.ports import RepoFile
from reconciler.settings import Git

DIRECTORY = "git"  # below the state directory
_HEADER = 128  # bytes that `git cat-file` writes about one object, at most


class GitSource:
    """The FleetSource over Git. One thread uses it; `poke` and `close` may come from any other."""

    def __init__(self, settings: Git, state: Path, jitter: Jitter) -> None:
        """Check the configuration and make the state directory; nothing is fetched yet.

        Raises Misconfigured, and Unavailable when the state directory cannot be made.
        """
        self._settings = settings
        self._remote = parse_remote(settings)
        environment_for(self._remote, settings)
        directory = state.absolute() / DIRECTORY
        try:
            make_directory(directory)
        except OSError as error:
            raise Unavailable(f"{directory}: {error.strerror}") from error
        self._mirror = Mirror(directory, self._remote, settings.timeout)
        self._mirror.check()
        self._record = AcceptedFile(directory / "accepted.json")
        self._record.read()
        self._alarm = Alarm(timedelta(seconds=settings.poll), jitter)
        path = self._remote.path
        self._watch = RefWatch(path, self._alarm) if path is not None else None

    def fetch(self) -> str:
        """Return the branch's newest commit id, fetched. Raises Unavailable or CommitRefused."""
        if self._watch is not None:
            self._watch.arm()
        self._alarm.looking()
        environment = self._environment()
        commit = self._mirror.bring(self._mirror.tip(environment), environment)
        self._successor(commit)
        return commit

    def accepted(self) -> str | None:
        """Return the commit that was accepted last, None before the first."""
        record = self._record.read()
        return record.commit if record else None

    def accept(self, commit: str) -> None:
        """Remember `commit` as the one that the next must descend from. Again: the same.

        Raises CommitRefused when it does not descend from the last one, Unavailable.
        """
        successor = self._successor(commit)
        self._mirror.protect(commit)
        self._record.write(successor)

    def files(self, commit: str) -> tuple[RepoFile, ...]:
        """Return the commit's files. Raises TreeRefused, CommitRefused, Unavailable."""
        try:
            outcome = self._mirror.look(
                *(commit, "ls-tree", "-r", "-z", "-l", "--full-tree", commit), limit=MAX_LISTING
            )
        except TooMuchOutput as error:
            raise TreeRefused((too_many_files(),)) from error
        if outcome.status:
            raise self._mirror.damaged(outcome.said)
        try:
            return parse_listing(outcome.stdout)
        except Unreadable as error:
            raise self._mirror.damaged(str(error)) from error

    def read(self, blobs: Iterable[str]) -> Mapping[str, bytes]:
        """Return the bytes of blobs that `files` named, each checked against its id.

        Raises TreeRefused for one that is too large, Unavailable.
        """
        wanted = tuple(dict.fromkeys(blobs))
        if not wanted:
            return {}
        ids = "".join(f"{blob}\n" for blob in wanted).encode("ascii")
        like = wanted[0]
        try:
            listed = self._mirror.look(
                *(like, "cat-file", "--batch-check"), stdin=ids, limit=len(wanted) * _HEADER
            )
            size = parse_sizes(listed.stdout, wanted)
            output = self._mirror.look(like, "cat-file", "--batch", stdin=ids, limit=size)
            return parse_batch(output.stdout, wanted)
        except (Unreadable, TooMuchOutput) as error:
            raise self._mirror.damaged(str(error)) from error

    def committed_at(self, commit: str) -> datetime:
        """Return the committer's date in UTC. Raises CommitRefused for an impossible one."""
        outcome = self._mirror.look(commit, "log", "-1", "--format=%ct", commit)
        if outcome.status:
            raise self._mirror.damaged(outcome.said)
        try:
            return datetime.fromtimestamp(int(outcome.stdout), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise CommitRefused(f"commit {commit} has an impossible date; commit again") from error

    def wait(self, timeout: timedelta) -> bool:
        """Return True as soon as the branch may have moved: a ref of a local repository changed,
        poke() was called, or the poll interval (± 20 %) has passed since the last look. False
        after `timeout`, and at once after close()."""
        return self._alarm.wait(timeout)

    def poke(self) -> None:
        """Hint that the branch may have moved (a webhook): wait() returns True."""
        self._alarm.ring()

    def close(self) -> None:
        """End wait(), what git is doing, and watching. Again: no effect.

        Whatever is asked later raises Stopping."""
        self._mirror.stop()
        self._alarm.close()
        if self._watch is not None:
            self._watch.close()

    def _environment(self) -> Environment:
        try:
            return environment_for(self._remote, self._settings)
        except Misconfigured as error:  # it was right at the start: a secret is being replaced
            raise Unavailable(str(error)) from error

    def _successor(self, commit: str) -> Accepted:
        return succeed(
            self._record.read(),
            commit,
            descends_from=lambda ancestor: self._mirror.descends(commit, ancestor),
            allow_reset=self._settings.allow_reset,
            branch=self._remote.branch,
        )
