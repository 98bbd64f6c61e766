"""Errors by what the caller should do about them."""


class ReconcilerError(Exception):
    """The base of every error this package raises on purpose."""


class Unavailable(ReconcilerError):
    """Try again later: the Git host, the disk, the database. The last good plan stays published."""


class CommitRefused(ReconcilerError):
    """This commit must not be used: not a fast-forward, a symlink, a submodule, over a limit."""


class NotSigned(ReconcilerError):
    """A release has no valid signature of the release keys; nothing that names it is published."""


class LeaseHeld(ReconcilerError):
    """Another reconciler writes this tree. Stop."""


class Misconfigured(ReconcilerError):
    """The reconciler's own configuration is wrong: a person must change it."""
