"""Who may have a set, and who is next: members of a fleet, opening a stage, counting it. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from math import ceil

from reconciler.domain.desired import Policy, Stage
from reconciler.domain.observed import Observed
from schemas.order import LAST, order
from schemas.resolve import admitted
from schemas.selector import Selector, attributes, parse_selector
from schemas.wire.descriptor import Descriptor
from schemas.wire.manifest import AdmitRule, Next, Stable
from schemas.wire.shard import ShardEntry
from schemas.wire.status import Opened, Rollout
from schemas.wire.types import ComponentSet

MAX_LISTED = 100  # devices that a stage names one by one; more are admitted by a cut-off
EVERYBODY = Fraction(100)


class Standing(StrEnum):
    """Whether a device can take the set at all. Only the eligible count, anywhere."""

    ELIGIBLE = "eligible"
    HELD = "held"
    PINNED = "pinned"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True, slots=True)
class Member:
    """One device of the fleet. `heard`: it has ever reported; `reachable`: it was seen within three
    heartbeat intervals."""

    key: str
    entry: ShardEntry
    standing: Standing
    heard: bool
    reachable: bool
    running: str | None

    @property
    def eligible(self) -> bool:
        return self.standing is Standing.ELIGIBLE


@dataclass(frozen=True, slots=True)
class Tally:
    """Of the eligible devices that a stage admits first: all, the reachable, and of these those
    that run the set already."""

    admitted: int = 0
    reachable: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a device must be able to install: per component, the selectors of its artifacts."""

    components: tuple[tuple[Selector, ...], ...] = field(default=())

    def fits(self, labels: Mapping[str, str]) -> bool:
        return all(
            any(selector.matches(labels) for selector in selectors) for selectors in self.components
        )


def wanted(
    content: ComponentSet, stable: Stable | None, descriptors: Mapping[str, Descriptor]
) -> Wanted:
    """Return what the way from `stable` to `content` takes. Unknown descriptors ask for nothing."""
    before = stable.components if stable else {}
    changed = [ref for name, ref in content.components.items() if before.get(name) != ref]
    known = [descriptors[ref.release] for ref in changed if ref.release in descriptors]
    return Wanted(
        tuple(
            tuple(parse_selector(artifact.compatible) for artifact in descriptor.artifacts)
            for descriptor in known
        )
    )


def members(
    entries: Iterable[tuple[str, ShardEntry]],
    observed: Observed,
    wants: Wanted,
    seen_after: datetime,
    now: datetime,
) -> tuple[Member, ...]:
    """Return the fleet's devices in the order of their keys."""
    found = []
    for key, entry in sorted(entries, key=lambda item: item[0]):
        seen = observed.seen.get(key)
        labels = attributes(entry.labels, seen.facts) if seen else entry.labels
        found.append(
            Member(
                key,
                entry,
                _standing(entry, labels, wants, now),
                seen is not None,
                seen is not None and seen.last_seen >= seen_after,
                seen.running if seen else None,
            )
        )
    return tuple(found)


def _standing(
    entry: ShardEntry, labels: Mapping[str, str], wants: Wanted, now: datetime
) -> Standing:
    if entry.hold and (entry.hold.until is None or now < entry.hold.until):
        return Standing.HELD
    if entry.pin:
        return Standing.PINNED
    return Standing.ELIGIBLE if wants.fits(labels) else Standing.INCOMPATIBLE


def stages_left(policy: Policy, exposure: tuple[Opened, ...]) -> tuple[Stage, ...]:
    """Return the stages still to open: those behind the last one that is in the exposure by name.

    So a policy may be edited in mid-rollout: nothing that was opened is opened again or closed, and
    a rollout never ends before a stage has admitted everybody, whatever the last one is called.
    """
    opened = {one.stage for one in exposure}
    positions = [at for at, stage in enumerate(policy.stages) if stage.name in opened]
    left = policy.stages[positions[-1] + 1 :] if positions else policy.stages
    if any(stage.percent == EVERYBODY for stage in left) or _reaches_everybody(exposure):
        return left
    last = policy.stages[-1]
    taken = opened | {stage.name for stage in policy.stages}
    name = next(n for n in (f"all-{at}" for at in range(1, len(taken) + 2)) if n not in taken)
    return (*left, Stage(name, percent=EVERYBODY, gate=last.gate))


def _reaches_everybody(exposure: tuple[Opened, ...]) -> bool:
    return any(rule.through == LAST for one in exposure for rule in one.rules)


def admit_rules(rollout: Rollout) -> tuple[AdmitRule, ...]:
    """Return the rules in the order in which devices try them: the set's own `running` comes last,
    so that a device that has converged still belongs to the stage that admitted it."""
    rules = [rule for one in rollout.exposure for rule in one.rules]
    return tuple(sorted(rules, key=lambda rule: rule.running == rollout.set))


def as_next(rollout: Rollout, admit: tuple[AdmitRule, ...]) -> Next:
    content = rollout.content
    return Next(
        rollout=rollout.id,
        set=rollout.set,
        components=content.components,
        config=content.config,
        vars=content.vars,
        admit=admit,
        groups=None,
    )


class Roster:
    """The fleet's devices. Counting them costs time, so it remembers what it has counted."""

    def __init__(self, members: tuple[Member, ...]) -> None:
        self.members = members
        self._known: dict[tuple[str, tuple[AdmitRule, ...]], Mapping[str, Tally]] = {}

    def tallies(self, rollout: Rollout) -> Mapping[str, Tally]:
        """Return by stage what it admitted first; stages that admit nobody are left out."""
        asked = (rollout.id, admit_rules(rollout))
        if asked not in self._known:
            self._known[asked] = _tallies(rollout, self.members)
        return self._known[asked]


def _tallies(rollout: Rollout, fleet: Iterable[Member]) -> Mapping[str, Tally]:
    next_set = as_next(rollout, admit_rules(rollout))
    counted: Counter[tuple[str, str]] = Counter()
    for member in fleet:
        if not member.eligible:
            continue
        rule = admitted(next_set, member.entry, member.running)
        if rule is None or rule.stage is None:
            continue
        counted[rule.stage, "admitted"] += 1
        counted[rule.stage, "reachable"] += member.reachable
        counted[rule.stage, "done"] += member.reachable and member.running == rollout.set
    return {
        stage: Tally(number, counted[stage, "reachable"], counted[stage, "done"])
        for (stage, what), number in counted.items()
        if what == "admitted"
    }


def opening(
    stage: Stage,
    rollout: Rollout,
    fleet: tuple[Member, ...],
    leading: tuple[AdmitRule, ...],
    now: datetime,
) -> Opened | str:
    """Return the stage opened, or why it cannot be: without an eligible device that was seen
    lately, nothing would be tried, and an empty stage must never pass.

    `leading` are rules that admit devices on top of what the stage counts (the first stage only).
    """
    if not fleet:
        return "the fleet has no devices"
    eligible = tuple(member for member in fleet if member.eligible and member.reachable)
    if not eligible:
        return f"no device is eligible ({_standings(fleet)})"
    rules: tuple[AdmitRule, ...]
    if stage.selector is not None:
        selector = parse_selector(stage.selector)
        if not any(selector.matches(member.entry.labels) for member in eligible):
            return f"no eligible device matches {stage.selector} ({_standings(fleet)})"
        rules = (AdmitRule(selector=stage.selector, stage=stage.name),)
    elif stage.percent == EVERYBODY:
        rules = (AdmitRule(through=LAST, stage=stage.name),)
    else:
        rules = _by_order(stage, rollout, fleet, len(eligible))
    rules = (*leading, *rules)
    before = rollout.exposure[-1].size if rollout.exposure else 0
    return Opened(stage.name, rules, before + _added(rollout, eligible, rules), now)


def widened(
    stage: Stage, opened: Opened, rollout: Rollout, fleet: tuple[Member, ...]
) -> Opened | None:
    """Return the open stage with the devices that it lacks, or None when it lacks none.

    A stage that counts may have been opened while fewer devices were seen than it asks for. Until
    its gate is met for the first time it takes what it is owed; nobody is ever taken out.
    """
    counts = stage.count is not None or stage.percent not in (None, EVERYBODY)
    if not counts or opened.settled is not None or opened.passed is not None:
        return None
    eligible = tuple(member for member in fleet if member.eligible and member.reachable)
    rules = _by_order(stage, rollout, fleet, len(eligible))
    if not rules:
        return None
    size = opened.size + _added(rollout, eligible, rules)
    return replace(opened, rules=_merged((*opened.rules, *rules)), size=size)


def _merged(rules: tuple[AdmitRule, ...]) -> tuple[AdmitRule, ...]:
    """Return the rules of one stage with its lists of orders made one, if that stays short."""
    listed = sorted({place for rule in rules for place in rule.only or ()})
    if not 0 < len(listed) <= MAX_LISTED:
        return rules
    others = tuple(rule for rule in rules if rule.only is None)
    return (*others, AdmitRule(only=tuple(listed), stage=rules[-1].stage))


def _by_order(
    stage: Stage, rollout: Rollout, fleet: tuple[Member, ...], number: int
) -> tuple[AdmitRule, ...]:
    """Return the rules that admit the first devices in order, those admitted before included.

    Devices that run the set already prove nothing: they are chosen only when nobody else is left.
    One that was named and is held now keeps its place: it may take the set when its hold ends.
    """
    chosen_before = as_next(rollout, _choosing(admit_rules(rollout)))
    free, taken = [], 0
    for member in fleet:
        rule = admitted(chosen_before, member.entry, member.running)
        if rule is not None and (member.eligible or rule.only is not None):
            taken += 1
            number += not member.eligible
        elif rule is None and member.eligible and member.reachable:
            free.append((member.running == rollout.set, order(rollout.id, member.entry.name)))
    if stage.count is not None:
        size = min(number, stage.count)
    else:
        size = ceil(number * (stage.percent or EVERYBODY) / 100)
    picked = sorted(place for _, place in sorted(free)[: max(0, size - taken)])
    if not picked:
        return ()
    if len(picked) <= MAX_LISTED:
        return (AdmitRule(only=tuple(picked), stage=stage.name),)
    return (AdmitRule(through=picked[-1], stage=stage.name),)


def set_aside(opened: Opened, rollout: Rollout, fleet: Iterable[Member]) -> str:
    """Return `1 held, 2 pinned` for the devices that a stage names and that cannot take the set
    now, or nothing."""
    named = {place for rule in opened.rules for place in rule.only or ()}
    counted = Counter(
        str(member.standing)
        for member in fleet
        if not member.eligible and order(rollout.id, member.entry.name) in named
    )
    return ", ".join(f"{number} {name}" for name, number in sorted(counted.items()))


def _choosing(rules: tuple[AdmitRule, ...]) -> tuple[AdmitRule, ...]:
    return tuple(rule for rule in rules if rule.running is None)


def _added(rollout: Rollout, eligible: tuple[Member, ...], rules: tuple[AdmitRule, ...]) -> int:
    before, after = as_next(rollout, admit_rules(rollout)), as_next(rollout, rules)
    return sum(
        admitted(after, member.entry, member.running) is not None
        and admitted(before, member.entry, member.running) is None
        for member in eligible
    )


def _standings(fleet: tuple[Member, ...]) -> str:
    """Return `1 held, 2 not heard of yet, 3 not seen lately`."""
    counted = Counter(map(_standing_in_words, fleet))
    return ", ".join(f"{number} {name}" for name, number in sorted(counted.items()))


def _standing_in_words(member: Member) -> str:
    if not member.eligible or member.reachable:
        return str(member.standing)
    return "not seen lately" if member.heard else "not heard of yet"
