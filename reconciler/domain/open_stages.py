"""What is open now: whose timeouts count, and whether time alone may decide anything. Pure."""

from collections.abc import Mapping
from datetime import timedelta

from reconciler.domain.desired import Desired
from reconciler.domain.progress import is_open
from schemas.wire.status import FleetStatus


def any_open(statuses: Mapping[str, FleetStatus]) -> bool:
    """Return whether a rollout is under way. If none is, planning later changes nothing."""
    return any(is_open(status.rollout) for status in statuses.values())


def timeouts(
    desired: Desired, statuses: Mapping[str, FleetStatus]
) -> Mapping[str, tuple[timedelta, timedelta]]:
    """Return by rollout (attemptTimeout, reportLost) of the stage that is open."""
    found = {}
    for fleet, status in statuses.items():
        rollout = status.rollout
        intent = desired.fleets.get(fleet)
        if rollout is None or intent is None:
            continue
        by_name = {stage.name: stage.gate for stage in intent.policy.stages}
        gates = [by_name[o.stage] for o in rollout.exposure if o.stage in by_name]
        if gates:
            found[rollout.id] = (gates[-1].attempt_timeout, gates[-1].report_lost)
    return found
