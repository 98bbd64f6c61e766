"""resolve(): what a device should run, and why. Pure; the agent, the planner, `plan`, `why` and the
simulator all call it, so that there is one answer (DESIGN section 4, "the device rule, whole")."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from schemas.order import order
from schemas.selector import parse_selector
from schemas.wire.manifest import AdmitRule, Groups, Manifest, Next, Stable
from schemas.wire.shard import ShardEntry
from schemas.wire.types import ComponentSet


@dataclass(frozen=True, slots=True)
class Running:
    """What a device runs: `set` is the manifest's name for it, `content` what is really installed.

    They differ on a pinned device only: its content has the pin in place of the set's component.
    """

    set: str
    content: ComponentSet


@dataclass(frozen=True, slots=True)
class DeviceView:
    """What resolve() needs of a device. `failed` maps a set to its highest failed attempt."""

    running: Running | None
    failed: Mapping[str, int] = field(default_factory=dict)


class Action(StrEnum):
    STAY = "stay"
    CONVERGE = "converge"


@dataclass(frozen=True, slots=True)
class Target:
    """The answer. `content` is what to install (pins applied) when the action is CONVERGE.

    `rollout` is set when the target is the manifest's `next` and the device counts in its gate;
    `stage` is the stage that admitted it.
    """

    action: Action
    reason: str
    set: str | None = None
    content: ComponentSet | None = None
    rollout: str | None = None
    attempt: int = 1
    stage: str | None = None


def resolve(
    manifest: Manifest, entry: ShardEntry | None, device: DeviceView, now: datetime
) -> Target:
    """Return what `device` should do. The reason is for people."""
    running = device.running
    if entry is None or entry.fleet is None:
        return _stay("unassigned: no fleet selects this device")
    if entry.fleet != manifest.fleet:
        return _stay(f"the manifest is for fleet {manifest.fleet}, this device is in {entry.fleet}")
    if entry.hold and (entry.hold.until is None or now < entry.hold.until):
        return _stay(f"held: {entry.hold.reason}")
    if manifest.stop:
        return _stay(f"stopped by {manifest.stop.actor}: {manifest.stop.reason}")
    rule = manifest.next and admitted(manifest.next, entry, running.set if running else None)
    if manifest.next and rule:
        return _towards(manifest.next, manifest.attempt, entry, device, stage=rule.stage)
    if running and running.set in manifest.keep:
        return _with_pins(running.set, entry, device, f"set {running.set} may be kept")
    if manifest.stable is None:
        return _stay("no set is stable yet, and the rollout has not reached this device")
    return _towards(manifest.stable, manifest.stable.attempt, entry, device, stage=None)


def admitted(next: Next, entry: ShardEntry, running: str | None) -> AdmitRule | None:
    """Return the first rule that admits the device (its group allowing), or None."""
    place = order(next.rollout, entry.name)
    if next.groups and not _group_allows(next.groups, entry.labels, place):
        return None
    for rule in next.admit:
        if _names(rule, entry, place, running):
            return rule
    return None


def _names(rule: AdmitRule, entry: ShardEntry, place: str, running: str | None) -> bool:
    if rule.selector is not None:
        return parse_selector(rule.selector).matches(entry.labels)
    if rule.only is not None:
        return place in rule.only
    if rule.through is not None:
        return place <= rule.through
    return rule.running is not None and rule.running == running


def _group_allows(groups: Groups, labels: Mapping[str, str], place: str) -> bool:
    group = labels.get(groups.by, "")
    return group in groups.unlimited or place in groups.only.get(group, ())


def _stay(reason: str) -> Target:
    return Target(Action.STAY, reason)


def _towards(
    wanted: Next | Stable, attempt: int, entry: ShardEntry, device: DeviceView, *, stage: str | None
) -> Target:
    content = pinned(wanted.content, entry)
    if device.running and device.running.content == content:
        if device.running.set == wanted.set:
            return Target(Action.STAY, f"already runs {content}", set=wanted.set, stage=stage)
    elif device.failed.get(wanted.set, 0) >= attempt:
        again = "revert, then ask again"
        if isinstance(wanted, Stable):
            again = "only after another set has become stable"
        return Target(
            Action.STAY,
            f"set {wanted.set} failed here at attempt {device.failed[wanted.set]};"
            f" it is tried again when Git asks for it anew: {again}",
            set=wanted.set,
            stage=stage,
        )
    rollout = wanted.rollout if isinstance(wanted, Next) and not entry.pin else None
    why = f"admitted by stage {stage}" if isinstance(wanted, Next) else "the stable set"
    return Target(Action.CONVERGE, why, wanted.set, content, rollout, attempt, stage)


def _with_pins(set: str, entry: ShardEntry, device: DeviceView, why: str) -> Target:
    """Stay on the set, but let a pin that changed take effect."""
    assert device.running is not None  # noqa: S101 - the caller has looked
    content = pinned(device.running.content, entry)
    if content == device.running.content or device.failed.get(set, 0) >= 1:
        return Target(Action.STAY, why, set=set)
    return Target(Action.CONVERGE, f"{why}, with its pins", set, content)


def pinned(content: ComponentSet, entry: ShardEntry) -> ComponentSet:
    """Return `content` with the entry's pins in place of the components that it has."""
    pins = {name: ref for name, ref in entry.pin.items() if name in content.components}
    return replace(content, components={**content.components, **pins}) if pins else content
