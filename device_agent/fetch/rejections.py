"""From a refusal's code to the error that the driver knows, with the failure class it reports."""

from collections.abc import Mapping
from typing import Final

from device_agent.errors import TransientError, UpdateRejected
from schemas.refusal import Code, Refusal
from schemas.wire.report import FailureClass

_CLASSES: Final[Mapping[Code, FailureClass]] = {
    Code.SIGNATURE: FailureClass.SIGNATURE,
    Code.NOT_RELEASED: FailureClass.SIGNATURE,
    Code.FORMAT: FailureClass.SIGNATURE,
    Code.DUP: FailureClass.SIGNATURE,
    Code.DEPTH: FailureClass.SIGNATURE,
    Code.HASH: FailureClass.CHECKSUM,
    Code.MISMATCH: FailureClass.CHECKSUM,
    Code.LENGTH: FailureClass.DOWNLOAD,
    Code.ENCODING: FailureClass.DOWNLOAD,
    Code.REDIRECT: FailureClass.DOWNLOAD,
    Code.TRAILING: FailureClass.DOWNLOAD,
    Code.EXPIRED: FailureClass.POLICY,
    Code.ROLLBACK: FailureClass.POLICY,
    Code.VERSION: FailureClass.POLICY,
    Code.FLEET: FailureClass.POLICY,
    Code.SCHEMA: FailureClass.POLICY,
    Code.PATH: FailureClass.POLICY,
    Code.POLICY: FailureClass.POLICY,
    Code.SPACE: FailureClass.SPACE,
}


def class_of(code: Code) -> FailureClass:
    """Return what a refusal with `code` is counted as; `unknown` where nothing fits."""
    return _CLASSES.get(code, FailureClass.UNKNOWN)


def rejected(code: Code, message: str) -> UpdateRejected:
    """Return the error for `code`."""
    return UpdateRejected(code, message, class_of(code))


def from_refusal(refusal: Refusal, what: str) -> UpdateRejected:
    """Return the error for `refusal`, met while reading `what`."""
    message = str(refusal).removeprefix(f"{refusal.code}: ")
    return rejected(refusal.code, f"{what}: {message}")


def network(code: Code, message: str) -> TransientError:
    """Return the error for a network that is away, slow or captive: no attack is counted."""
    return TransientError(f"{code}: {message}")
