"""The bare mirror: one branch of the remote in a private ref, never checked out, never trusted to
be whole. It is a copy: whatever breaks it, it is made anew from the remote."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.adapters.git_child import SMALL, GitChild, Outcome, TooMuchOutput
from reconciler.adapters.git_remote import COMMIT_ID, LOCAL, Environment, Remote
from reconciler.errors import CommitRefused, Misconfigured, Stopping, Unavailable

FETCHED = "refs/fleetcd/fetched"
ACCEPTED = "refs/fleetcd/accepted"  # keeps what is served from being collected as garbage
SHOWN_BRANCHES = 10
_LOCK_RETRY = 0.05  # seconds


class Mirror:
    """`directory` holds the mirror and its lock; `timeout` in seconds bounds every git child.

    The lock is inherited by the children that write: while one lives, even an orphan of a killed
    reconciler, nobody else writes. Hence whoever has the lock may remove stale lock files.
    """

    def __init__(self, directory: Path, remote: Remote, timeout: float) -> None:
        self._directory, self._remote, self._timeout = directory, remote, timeout
        self._child = GitChild(directory, timeout)
        self._suspect = False

    def stop(self) -> None:
        """End what git is doing, for good. By any thread; again: no effect."""
        self._child.stopping.set()

    def check(self) -> None:
        """Raise Misconfigured for a branch name that git does not allow, or a git too old."""
        self._child.check_version()
        checked = self._child.run("check-ref-format", self._remote.ref, environment=LOCAL)
        if checked.status:
            raise Misconfigured(f"git.branch: {self._remote.branch!r} is no branch name")

    def tip(self, environment: Environment) -> str:
        """Ask the remote for the branch's commit id. Raises Unavailable."""
        outcome = self._ask(environment, self._remote.ref)
        for line in outcome.stdout.decode("ascii", "replace").splitlines():
            commit, _, name = line.partition("\t")
            if name == self._remote.ref and COMMIT_ID.fullmatch(commit):
                return commit
        raise Unavailable(f"{self._remote}: {self._what_there_is(environment)}")

    def bring(self, tip: str, environment: Environment) -> str:
        """Make the mirror hold the branch, which was at `tip`; return the commit id it now has.

        A damaged mirror is made anew. Raises Unavailable, and CommitRefused for malformed objects.
        """
        mirror = self._mirror_for(tip)
        if not self._suspect and self._at(mirror) == tip:
            return tip
        with self._exclusive() as lock:
            _sweep(mirror)
            if not mirror.exists() or (self._suspect and not self._whole(mirror)):
                self._rebuild(mirror, lock, environment)
            else:
                self._update(mirror, lock, environment)
            self._suspect = False
        commit = self._at(mirror)
        if commit is None:
            raise Unavailable(f"{self._remote}: the branch {self._remote.branch} is no commit")
        return commit

    def look(self, commit: str, *arguments: str, stdin: bytes = b"", limit: int = SMALL) -> Outcome:
        """Run a reading git command on the mirror that can hold `commit`."""
        return self._in(self._mirror_for(commit), *arguments, stdin=stdin, limit=limit)

    def descends(self, commit: str, ancestor: str) -> bool:
        """Return whether `ancestor` is `commit` or in its history. Raises Unavailable (damage)."""
        outcome = self.look(commit, "merge-base", "--is-ancestor", ancestor, commit)
        if outcome.status in (0, 1):
            return outcome.status == 0
        if self.look(commit, "cat-file", "-e", commit).status == 0 and self._whole(
            self._mirror_for(commit)
        ):
            return False  # all of the commit's history is here, and `ancestor` is not
        raise self.damaged(outcome.said)

    def protect(self, commit: str) -> None:
        """Keep `commit` and its history in the mirror. Again: no effect. Raises Unavailable."""
        mirror = self._mirror_for(commit)
        with self._exclusive() as lock:
            _sweep(mirror)
            outcome = self._in(mirror, "update-ref", ACCEPTED, commit, hold=lock)
        if outcome.status:
            raise self.damaged(outcome.said)

    def damaged(self, what: str) -> Unavailable:
        """Note that the mirror may be damaged, and return what to raise."""
        self._suspect = True
        return Unavailable(
            f"the mirror of {self._remote} lacks something or is damaged; "
            f"the next fetch checks it and makes it anew: {what}"
        )

    def _update(self, mirror: Path, lock: int, environment: Environment) -> None:
        try:
            self._fetch(mirror, lock, environment)
        except Unavailable:
            if self._whole(mirror):
                raise
            self._rebuild(mirror, lock, environment)
            return
        with contextlib.suppress(Unavailable):  # housekeeping may wait for the next commit
            self._in(mirror, "gc", "--auto", "--quiet", hold=lock)

    def _rebuild(self, mirror: Path, lock: int, environment: Environment) -> None:
        """Fetch into a new mirror, then put it in the old one's place. A crash leaves either."""
        fresh, old = mirror.with_suffix(".new"), mirror.with_suffix(".old")
        object_format = mirror.stem
        with _on_disk(mirror):
            for leftover in (fresh, old):
                if leftover.exists():
                    shutil.rmtree(leftover)
            outcome = self._in(
                fresh,
                "init",
                "--bare",
                "--quiet",
                "--template=",
                f"--object-format={object_format}",
            )
            if outcome.status:
                raise Unavailable(f"{fresh}: {outcome.said}")
            self._fetch(fresh, lock, environment)
            if mirror.exists():
                mirror.rename(old)
            fresh.rename(mirror)
            shutil.rmtree(old, ignore_errors=True)

    def _fetch(self, mirror: Path, lock: int, environment: Environment) -> None:
        outcome = self._in(
            mirror,
            *("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"),
            *("--force", "--", self._remote.url, f"{self._remote.ref}:{FETCHED}"),
            environment=environment,
            hold=lock,
        )
        if "fsck error" in outcome.said:
            raise CommitRefused(
                f"{self._remote}: branch {self._remote.branch}: the history holds a malformed "
                f"object; rewrite it without: {outcome.said}"
            )
        if outcome.status:
            raise Unavailable(f"{self._remote}: {outcome.said}")

    def _ask(self, environment: Environment, *patterns: str) -> Outcome:
        # No repository of ours, nor one that happens to lie above us, has a say in this.
        outcome = self._child.run(
            *("--git-dir=/dev/null", "ls-remote", "--heads", "--", self._remote.url, *patterns),
            environment=environment,
        )
        if outcome.status:
            raise Unavailable(f"{self._remote}: {outcome.said}")
        return outcome

    def _what_there_is(self, environment: Environment) -> str:
        missing = f"there is no branch {self._remote.branch}; push it, or set git.branch"
        try:
            lines = self._ask(environment).stdout.decode("utf-8", "replace").splitlines()
        except TooMuchOutput:
            return missing
        branches = [line.partition("\trefs/heads/")[2] for line in lines]
        if not branches:
            return f"the repository is empty; push a first commit to {self._remote.branch}"
        names = [name for name in branches[:SHOWN_BRANCHES] if name.isprintable()]
        return f"{missing} (there are: {', '.join(names)})"

    def _mirror_for(self, commit: str) -> Path:
        if not COMMIT_ID.fullmatch(commit):
            raise CommitRefused(f"{commit[:80]!r} is not a full commit id")
        return self._directory / ("sha1.git" if len(commit) == 40 else "sha256.git")

    def _at(self, mirror: Path) -> str | None:
        if not mirror.exists():
            return None
        outcome = self._in(mirror, "rev-parse", "--verify", "--quiet", f"{FETCHED}^{{commit}}")
        return outcome.stdout.decode("ascii").strip() if outcome.status == 0 else None

    def _whole(self, mirror: Path) -> bool:
        """Return whether every object is there and intact; one that takes too long is believed."""
        try:
            return self._in(mirror, "fsck", "--full", "--no-dangling", "--no-progress").status == 0
        except TooMuchOutput:
            return False  # it lists what is missing
        except Unavailable:
            return True

    def _in(
        self,
        mirror: Path,
        *arguments: str,
        environment: Environment = LOCAL,
        stdin: bytes = b"",
        limit: int = SMALL,
        hold: int | None = None,
    ) -> Outcome:
        return self._child.run(
            f"--git-dir={mirror}",
            *arguments,
            environment=environment,
            stdin=stdin,
            limit=limit,
            hold=() if hold is None else (hold,),
        )

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[int]:
        """Hold the mirror's lock. Raises Unavailable when another process keeps it."""
        path = self._directory / "lock"
        with _on_disk(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(descriptor, path)
            yield descriptor
        finally:
            os.close(descriptor)  # not LOCK_UN: a child that would not die keeps its hold

    def _take(self, descriptor: int, path: Path) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise Unavailable(
                        f"{path} is held by another process; is a second reconciler running?"
                    ) from error
            if self._child.stopping.wait(_LOCK_RETRY):
                raise Stopping("the mirror was not waited for: this process is stopping")


def _sweep(mirror: Path) -> None:
    """Remove what killed children left: lock files would block every later one."""
    with _on_disk(mirror):
        for pattern in ("*.lock", "tmp_*", ".tmp-*", "gc.pid"):
            for leftover in mirror.rglob(pattern):
                if leftover.is_file():
                    leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{error.filename or path}: {error.strerror}") from error
