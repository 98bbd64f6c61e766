"""Errors by what the caller should do about them."""

from reconciler.domain.problems import Problem


class ReconcilerError(Exception):
    """The base of every error this package raises on purpose."""


class Unavailable(ReconcilerError):
    """Try again later: the Git host, the disk, the database. The last good plan stays published."""


class Stopping(Unavailable):
    """Unfinished because this process was told to end. Nothing is wrong; end."""


class CommitRefused(ReconcilerError):
    """This commit must not be used: not a fast-forward, a symlink, a submodule, over a limit."""


class TreeRefused(CommitRefused):
    """The commit's tree holds, or its files say, what cannot be. `problems` name file and place."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class NotSigned(ReconcilerError):
    """A release has no valid signature of the release keys; nothing that names it is published."""


class LeaseHeld(ReconcilerError):
    """Another reconciler writes this tree. Stop."""


class Misconfigured(ReconcilerError):
    """The reconciler's own configuration is wrong: a person must change it."""


class ReleaseRefused(ReconcilerError):
    """This release cannot be made: the file or the command must change; nothing was written."""
