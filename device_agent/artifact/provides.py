"""What an artifact asks of a device, and what the device provides once it is installed. Pure.

Provides are pairs of text that a device keeps: `artifact_name`, `artifact_group`, and what the
payloads' type-infos name. The device type is no provide, as it never changes.
"""

from collections.abc import Iterable, Mapping

from device_agent.artifact.reader import Header
from device_agent.core.component import Contents
from device_agent.errors import UpdateRejected
from schemas.refusal import Code
from schemas.wire.decode import encode
from schemas.wire.report import FailureClass

NAME, GROUP = "artifact_name", "artifact_group"
MAX_CONTENTS = 48 * 1024  # bytes of what is kept of an artifact


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


def contents(header: Header) -> Contents:
    """Return what is kept of an artifact until its deployment is over.

    A payload that says nothing of clearing clears everything: it was written for devices that only
    knew a name. Mender does so standalone; its daemon keeps all.

    Raises UpdateRejected (E_LIMIT): it is journaled, and has to be read again.
    """
    provides: dict[str, str] = {}
    clears: list[str] = []
    for payload in header.payloads:
        provides |= payload.provides
        clears += ("*",) if payload.clears is None else payload.clears
    found = Contents(
        name=header.name,
        group=header.group,
        modules=tuple(payload.type for payload in header.payloads if payload.type is not None),
        provides=provides,
        clears=tuple(clears),
    )
    if len(encode(found)) > MAX_CONTENTS:
        raise UpdateRejected(
            Code.LIMIT, f"more than {MAX_CONTENTS} bytes of provides", FailureClass.POLICY
        )
    return found


def provides_after(contents: Contents, provides: Mapping[str, str]) -> Mapping[str, str]:
    """Return what a device with `provides` provides after it has installed the artifact.

    Cleared first, then set: no payload clears what another one of the artifact provides.
    """
    kept = {
        key: value
        for key, value in provides.items()
        if not any(matches(pattern, key) for pattern in contents.clears)
    }
    kept |= contents.provides
    if contents.group is not None:
        kept[GROUP] = contents.group
    return kept | {NAME: contents.name}


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
