"""What a case of prose expects, and what was seen, in a few words that can be compared."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum

from device_agent.errors import AgentError, InstallFailed, UpdateRejected
from schemas.refusal import Code, Refusal
from schemas.wire.report import FailureClass
from tests.conformance.case import Case, Facts, Unsupported


class Kind(StrEnum):
    """How an experiment ended. Any refusal that has no word of its own is REFUSED."""

    OK = "ok"
    SIGNATURE = "refused: signature"
    CHECKSUM = "refused: checksum"
    TIMED_OUT = "failed: timed out"
    UNREAD = "failed: streams not read to the end"
    EXIT = "failed: exit status"
    REFUSED = "refused"


# The first phrase that occurs in the expectation decides.
_PHRASES = {
    "keep waiting": Kind.OK,
    "both stored": Kind.OK,
    "both run, error": Kind.REFUSED,
    'version="3': Kind.OK,
    "header.tar.gz|xz|zst -> key": Kind.OK,
    "state fails": Kind.REFUSED,
    "files/rootfs": Kind.OK,
    "run in order": Kind.OK,
    "signatureverificationerror": Kind.SIGNATURE,
    "checksum of version": Kind.CHECKSUM,
    "checksum mismatch": Kind.CHECKSUM,
    "timed_out": Kind.TIMED_OUT,
    "operation_canceled": Kind.TIMED_OUT,
    "broken_pipe": Kind.UNREAD,
    "non-zero exit": Kind.EXIT,
    "nonzeroexitstatus": Kind.EXIT,
    "error code": Kind.EXIT,
}
_BEGINNINGS = {
    "ok": Kind.OK,
    "error": Kind.REFUSED,
    "fail": Kind.REFUSED,
    "reject": Kind.REFUSED,
    "parseerror": Kind.REFUSED,
    "module creation refused": Kind.REFUSED,
    "header's type-info files number": Kind.REFUSED,
    "multiple header entries": Kind.REFUSED,
    "unsupported number of payloads": Kind.REFUSED,
    "same as missing_type_info": Kind.REFUSED,
    "same as two_type_info": Kind.REFUSED,
}


def expected_kind(text: str) -> Kind:
    """Return what the expectation `text` asks for. Raises Unsupported for words nobody foresaw."""
    low = text.lower()
    for beginning, kind in _BEGINNINGS.items():
        if low.startswith(beginning) and kind is Kind.OK:
            return kind
    for phrase, kind in _PHRASES.items():
        if phrase in low:
            return kind
    for beginning, kind in _BEGINNINGS.items():
        if low.startswith(beginning):
            return kind
    raise Unsupported(f"the expectation {text!r} is not understood")


def kind_of(error: AgentError | Refusal) -> Kind:
    """Return how an experiment ended that raised `error`."""
    match error:
        case Refusal(code=Code.SIGNATURE) | UpdateRejected(code=Code.SIGNATURE):
            return Kind.SIGNATURE
        case Refusal(code=Code.HASH) | UpdateRejected(code=Code.HASH):
            return Kind.CHECKSUM
        case InstallFailed(failure=FailureClass.TIMEOUT):
            return Kind.TIMED_OUT
        case InstallFailed() if re.search(r"gave up after|did not end in time", error.message):
            return Kind.TIMED_OUT
        case InstallFailed() if re.search(r"exited with status [1-9]", error.message):
            return Kind.EXIT
        case InstallFailed() if "did not read its streams" in error.message:
            return Kind.UNREAD
    return Kind.REFUSED


def prose(case: Case, experiments: Mapping[str, Callable[[], object]]) -> tuple[Facts, Facts]:
    """Make the experiment that the case names, and compare how it ends with what it expects."""
    fields = case.fields()
    expected = expected_kind(fields.text("expected"))
    fields.leave("given")  # says in words what the name stands for
    fields.end()
    if case.name not in experiments:
        raise Unsupported(f"no experiment is called {case.name}")
    try:
        experiments[case.name]()
        seen = Kind.OK
    except (AgentError, Refusal) as error:
        seen = kind_of(error)
    return {"result": (expected,)}, {"result": (_as_coarse(seen, expected),)}


def _as_coarse(seen: Kind, expected: Kind) -> Kind:
    """Return REFUSED for any refusal where no more is expected."""
    return Kind.REFUSED if expected is Kind.REFUSED and seen is not Kind.OK else seen
