"""How long the planner takes over 100,000 devices in 10 fleets.

Peers: for a tick, one plain pass over the same entries; for an open stage, the order of every
device (one SHA-256 each) and a sort, which an exact cut-off cannot do without.
"""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

from reconciler.domain.desired import Desired, FleetIntent, Stage
from reconciler.domain.observed import Observed, Seen
from reconciler.domain.planner import Hints, Plan, plan
from schemas.canonical import rollout_id
from schemas.order import order
from schemas.wire.shard import ShardEntry
from schemas.wire.status import Phase, StageCounts
from tests.bench.figures import Figure, Peer, Scale, seconds
from tests.support.fleet_simulation import NOON, a_commit, a_release, a_set, key_of, stages

FLEETS = 10
DEVICES = {Scale.FULL: 100_000, Scale.TINY: 200}
REPEATS = {Scale.FULL: 5, Scale.TINY: 1}

POLICY = stages(Stage("tenth", percent=Fraction(10)), Stage("all", percent=Fraction(100)))
NOTHING = Plan({}, {})


@dataclass(frozen=True, slots=True)
class _World:
    """100,000 devices that all run version 1, and have just said so."""

    entries: Mapping[str, ShardEntry]
    seen: Mapping[str, Seen]

    def plan(self, version: str, before: Plan, now: datetime) -> Plan:
        """Plan a commit that asks every fleet for `version`; `before` is what is published."""
        names = [f"fleet-{number}" for number in range(FLEETS)]
        content, release = a_set(version), a_release(version)
        fleets = {name: FleetIntent(name, f"in={name}", 0, content, POLICY, None) for name in names}
        desired = Desired(a_commit(version), "bench", fleets, {release.release: release}, {})
        share = len(self.entries) // FLEETS
        first = a_set("1").id
        ended = {"tenth": StageCounts(ok=share // 10), "all": StageCounts(ok=share - share // 10)}
        observed = Observed(
            seen=self.seen,
            counts={rollout_id(name, first, 1): ended for name in names},
            running={name: {first: share} for name in names},
        )
        return plan(
            desired, self.entries, observed, before.statuses, before.manifests, Hints(), now
        )


def planning(scale: Scale, directory: Path) -> tuple[Figure, ...]:
    """Plan at rest, at the moment a stage opens, and while devices are waited for."""
    count, repeats = DEVICES[scale], REPEATS[scale]
    world, now = _world(count), NOON + timedelta(minutes=1)
    rest = world.plan("1", NOTHING, NOON)
    opened = world.plan("2", rest, now)
    _expect(rest, Phase.COMPLETED)
    _expect(opened, Phase.PROGRESSING)
    one_pass = Peer("one pass over the entries", _times(repeats, lambda: _pass(world)))
    ordered = Peer("order() of every device, sorted", _times(repeats, lambda: _order(world)))
    name = f"plan, {count:,} devices in {FLEETS} fleets"

    def figure(what: str, peer: Peer, version: str, before: Plan) -> Figure:
        times = _times(repeats, lambda: world.plan(version, before, now))
        return Figure(f"{name}, {what}", "ms", times, peer)

    return (
        figure("at rest", one_pass, "1", rest),
        figure("a stage opens in each", ordered, "2", rest),
        figure("all roll out, nothing new", ordered, "2", opened),
    )


def _world(count: int) -> _World:
    entries, seen = {}, {}
    heard = Seen(NOON, a_set("1").id)
    for number in range(count):
        name, fleet = f"kiosk-{number:06}", f"fleet-{number % FLEETS}"
        key = key_of(name)
        entries[key] = ShardEntry(name, fleet, {"product": "kiosk", "in": fleet})
        seen[key] = heard
    return _World(entries, seen)


def _expect(planned: Plan, phase: Phase) -> None:
    phases = {status.rollout.phase for status in planned.statuses.values() if status.rollout}
    assert phases == {phase}, phases


def _times(repeats: int, work: Callable[[], object]) -> tuple[float, ...]:
    gc.collect()
    return tuple(seconds(work) * 1e3 for _ in range(repeats))


def _pass(world: _World) -> int:
    return sum(1 for _, entry in world.entries.items() if entry.fleet is not None)


def _order(world: _World) -> list[str]:
    return sorted(order("r-8be01aa2", entry.name) for entry in world.entries.values())
