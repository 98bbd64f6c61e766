"""What an artifact asks of a device, and what the device provides once it is installed. Pure.

Provides are pairs of text that a device keeps: `artifact_name`, `artifact_group`, and what the
payloads' type-infos name. The device type is no provide, as it never changes.
"""

from collections.abc import Iterable, Mapping

from device_agent.artifact.reader import Header
from device_agent.errors import UpdateRejected
from schemas.refusal import Code
from schemas.wire.report import FailureClass

NAME, GROUP = "artifact_name", "artifact_group"


def expect_fitting(header: Header, provides: Mapping[str, str], device_type: str) -> None:
    """Raise UpdateRejected (E_COMPAT) unless the device is and has what the artifact depends on."""
    if device_type not in header.device_types:
        raise _refused(f"it is for {_any(header.device_types)}, this device is {device_type}")
    conditions = [(NAME, header.depends_name), (GROUP, header.depends_group)]
    for payload in header.payloads:
        conditions += payload.depends.items()
    for key, accepted in conditions:
        if accepted and provides.get(key) not in accepted:
            found = provides.get(key, "nothing")
            raise _refused(f"it needs {key} {_any(accepted)}, this device has {found}")


def provides_after(header: Header, provides: Mapping[str, str]) -> Mapping[str, str]:
    """Return what a device with `provides` provides after it has installed the artifact.

    Cleared first, then set. A payload that says nothing of clearing clears everything: it was
    written for devices that only knew a name. Mender does so standalone; its daemon keeps all.
    """
    patterns = [
        pattern
        for payload in header.payloads
        for pattern in (("*",) if payload.clears is None else payload.clears)
    ]
    kept = {
        key: value
        for key, value in provides.items()
        if not any(matches(pattern, key) for pattern in patterns)
    }
    for payload in header.payloads:
        kept |= payload.provides
    if header.group is not None:
        kept[GROUP] = header.group
    return kept | {NAME: header.name}


def matches(pattern: str, key: str) -> bool:
    """Say whether `pattern`, in which `*` is any text, is all of `key`. Never backtracks."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == key
    *middle, last = rest
    if len(key) < len(first) + len(last) or not (key.startswith(first) and key.endswith(last)):
        return False
    at, end = len(first), len(key) - len(last)
    for part in middle:
        at = key.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _any(accepted: Iterable[str]) -> str:
    return " or ".join(accepted)


def _refused(message: str) -> UpdateRejected:
    return UpdateRejected(Code.COMPAT, message, FailureClass.POLICY)
