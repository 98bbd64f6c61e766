"""Errors by what the caller should do about them, not by where they were raised."""

from schemas.refusal import Code
from schemas.wire.report import FailureClass


class AgentError(Exception):
    """The base of every error this package raises on purpose."""


class TransientError(AgentError):
    """Try again later: the network, a busy disk, a 503. Nothing was changed or refused."""


class UpdateRejected(AgentError):
    """This must not be used here: a bad signature, an old manifest, the wrong device, no room."""

    def __init__(self, code: Code, message: str, failure: FailureClass) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.failure = code, message, failure


class InstallFailed(AgentError):
    """The update was tried and went wrong: roll back."""

    def __init__(self, message: str, failure: FailureClass) -> None:
        super().__init__(message)
        self.message, self.failure = message, failure
