"""plan(): what Git asks for and what devices report in, manifests and statuses out. Pure.

Its whole memory is the statuses that it published before (docs/adr/planner-memory.md).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from reconciler.domain.desired import Desired, FleetIntent
from reconciler.domain.exposure import Roster, admit_rules, as_next, members, wanted
from reconciler.domain.fleet_conditions import deleted, with_conditions
from reconciler.domain.observed import HEARTBEAT, HEARTBEAT_ROLLING, SEEN_WITHIN, Observed
from reconciler.domain.progress import View, advance, follow_git, is_open
from schemas.wire.manifest import Manifest, Next, Stop
from schemas.wire.shard import ShardEntry
from schemas.wire.status import MAX_DECISIONS, Decision, FleetStatus, Phase

_ADMITTING = frozenset({Phase.PENDING, Phase.PROGRESSING, Phase.SOAKING, Phase.AWAITING_APPROVAL})
_HURRIED = _ADMITTING | {Phase.ROLLING_BACK}  # devices should hear of the next step soon
_DELETED = "the Fleet's file was deleted: its devices keep what they run"

Entries = list[tuple[str, ShardEntry]]


@dataclass(frozen=True, slots=True)
class Hints:
    """What every manifest asks of devices. Seconds; `fresh_for` None means for ever (air-gapped).

    The heartbeats say how often devices report, at rest and while their fleet rolls out.
    """

    poll: int = 300
    poll_rolling: int = 60
    fresh_for: int | None = 60
    heartbeat: timedelta = HEARTBEAT
    heartbeat_rolling: timedelta = HEARTBEAT_ROLLING


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be published, by fleet. A document that says nothing new is the old object."""

    manifests: Mapping[str, Manifest]
    statuses: Mapping[str, FleetStatus]


@dataclass(frozen=True, slots=True)
class _World:
    desired: Desired
    observed: Observed
    hints: Hints
    now: datetime


def plan(
    desired: Desired,
    entries: Mapping[str, ShardEntry],
    observed: Observed,
    statuses: Mapping[str, FleetStatus],
    manifests: Mapping[str, Manifest],
    hints: Hints,
    now: datetime,
) -> Plan:
    """Return the manifest and status of every fleet that exists or was ever published.

    `statuses` and `manifests` are what is published. Planning again from the result at the same
    `now` changes nothing. Times are kept in whole seconds, as they are published.
    """
    world = _World(desired, observed, hints, now.replace(microsecond=0))
    by_fleet: dict[str, Entries] = defaultdict(list)
    for key, entry in entries.items():
        if entry.fleet is not None:
            by_fleet[entry.fleet].append((key, entry))
    planned = {
        name: _plan_fleet(
            name, world, by_fleet.get(name, []), statuses.get(name), manifests.get(name)
        )
        for name in sorted({*desired.fleets, *statuses})
    }
    return Plan(
        {name: manifest for name, (manifest, _) in planned.items()},
        {name: status for name, (_, status) in planned.items()},
    )


def _plan_fleet(
    name: str,
    world: _World,
    entries: Entries,
    old_status: FleetStatus | None,
    old_manifest: Manifest | None,
) -> tuple[Manifest, FleetStatus]:
    intent = world.desired.fleets.get(name)
    if intent is not None:
        status = _decide(intent, world, entries, old_status)
        stop = None
    else:
        assert old_status is not None  # noqa: S101 - the fleet is desired, or it was published
        status = _hold(old_status, world)
        stop = old_manifest.stop if old_manifest else None
        stop = stop or Stop(_DELETED, "Git", world.now)
    status = replace(status, devices=len(entries))
    return (
        _settled_manifest(_manifest(status, stop, world), old_manifest),
        _settled_status(status, old_status, world),
    )


def _decide(
    intent: FleetIntent, world: _World, entries: Entries, old: FleetStatus | None
) -> FleetStatus:
    status = old or _first(intent, world)
    blocked = _blocked(intent, world.desired)
    view = View(
        intent=intent,
        commit=world.desired.commit,
        descriptors=world.desired.descriptors,
        roster=Roster(()),
        counts=world.observed.counts,
        running=world.observed.running.get(intent.name, {}),
        blocked=blocked,
        now=world.now,
    )
    status = follow_git(status, view)
    view = replace(view, roster=_roster(intent, status, entries, world))
    return with_conditions(advance(status, view), blocked, world.now)


def _first(intent: FleetIntent, world: _World) -> FleetStatus:
    return FleetStatus(
        fleet=intent.name,
        generation=1,
        commit=world.desired.commit,
        issued=world.now,
        desired=intent.content.id,
        desired_text=str(intent.content),
        stable=None,
        keep=(),
        rollout=None,
        attempts={},
    )


def _blocked(intent: FleetIntent, desired: Desired) -> str | None:
    """Return why nothing new may start: the fleet is suspended, or a release was withdrawn."""
    if intent.suspended is not None:
        return f"suspended: {intent.suspended}"
    for _, ref in sorted(intent.content.components.items()):
        if ref.release in desired.withdrawn:
            return f"{ref.release} was withdrawn: {desired.withdrawn[ref.release]}"
    return None


def _roster(intent: FleetIntent, status: FleetStatus, entries: Entries, world: _World) -> Roster:
    """Return the fleet's devices if anything is to be decided about them: looking costs time."""
    if not is_open(status.rollout):
        return Roster(())
    wants = wanted(intent.content, status.stable, world.desired.descriptors)
    after = _seen_after(status, world)
    return Roster(members(entries, world.observed, wants, after, world.now))


def _seen_after(status: FleetStatus, world: _World) -> datetime:
    """Return since when a device must have been heard of to be reachable.

    Devices report more often once they have read that their fleet rolls out; until they can have
    done so, silence is measured by their heartbeat at rest.
    """
    hints, rollout = world.hints, status.rollout
    hurried = SEEN_WITHIN * hints.heartbeat_rolling
    if rollout is not None and is_open(rollout):
        known_since = rollout.started + timedelta(seconds=hints.poll) + hurried
        if world.now >= known_since:
            return world.now - hurried
    return world.now - SEEN_WITHIN * hints.heartbeat


def _hold(status: FleetStatus, world: _World) -> FleetStatus:
    """Return the status of a fleet whose file was deleted: whatever its devices run, they keep."""
    rollout = status.rollout
    if rollout is not None and is_open(rollout):
        ended = replace(rollout, phase=Phase.ABORTED, reason=_DELETED, ended=world.now)
        decision = Decision(world.now, "hold", _DELETED, rollout.id)
        status = replace(
            status, rollout=ended, decisions=(*status.decisions, decision)[-MAX_DECISIONS:]
        )
    return deleted(status, _DELETED, world.now)


def _manifest(status: FleetStatus, stop: Stop | None, world: _World) -> Manifest:
    rollout = status.rollout
    hurried = rollout is not None and rollout.phase in _HURRIED and stop is None
    served = rollout.set if rollout and is_open(rollout) else None
    served = served or (status.stable.set if status.stable else None)
    return Manifest(
        fleet=status.fleet,
        generation=1,
        commit=world.desired.commit,
        issued=world.now,
        stop=stop,
        poll=world.hints.poll_rolling if hurried else world.hints.poll,
        fresh_for=world.hints.fresh_for,
        windows=(),
        attempt=status.attempts.get(served, 1) if served else 1,
        next=_next(status),
        stable=status.stable,
        keep=status.keep,
    )


def _next(status: FleetStatus) -> Next | None:
    """Return the set that rolls out. Only a rollout that goes forward admits anybody."""
    rollout = status.rollout
    if rollout is None or not is_open(rollout):
        return None
    return as_next(rollout, admit_rules(rollout) if rollout.phase in _ADMITTING else ())


def _settled_manifest(new: Manifest, old: Manifest | None) -> Manifest:
    """Return `old` if `new` means the same, else `new` with the next generation."""
    if old is None:
        return new
    if replace(new, generation=old.generation, commit=old.commit, issued=old.issued) == old:
        return old
    return replace(new, generation=old.generation + 1)


def _settled_status(new: FleetStatus, old: FleetStatus | None, world: _World) -> FleetStatus:
    if old is None or new == old:
        return new
    commit = world.desired.commit
    return replace(new, generation=old.generation + 1, commit=commit, issued=world.now)
