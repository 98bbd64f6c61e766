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
    name = f"plan, {count:,} devices in {FLEETS} fleets"

    def figure(what: str, limit: _Limit, version: str, before: Plan) -> Figure:
        gc.collect()
        runs = [
            (seconds(lambda: world.plan(version, before, now)), seconds(lambda: limit.work(world)))
            for _ in range(repeats)
        ]
        planned, plain = zip(*runs, strict=True)
        peer = Peer(limit.what, tuple(took * 1e3 for took in plain))
        return Figure(f"{name}, {what}", "ms", tuple(took * 1e3 for took in planned), peer)

    return (
        figure("at rest", _PASS, "1", rest),
        figure("a stage opens in each", _ORDER, "2", rest),
        figure("all roll out, nothing new", _ORDER, "2", opened),
    )


@dataclass(frozen=True, slots=True)
class _Limit:
    """Work that the planner cannot do without."""

    what: str
    work: Callable[[_World], object]


_PASS = _Limit(
    "one pass over the entries",
    lambda world: sum(1 for _, entry in world.entries.items() if entry.fleet is not None),
)
_ORDER = _Limit(
    "order() of every device, sorted",
    lambda world: sorted(order("r-8be01aa2", entry.name) for entry in world.entries.values()),
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
