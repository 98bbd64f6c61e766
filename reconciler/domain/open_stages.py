"""What is open now: whose timeouts count, and whether time alone may decide anything. Pure."""

from collections.abc import Mapping
from datetime import timedelta

from reconciler.domain.desired import Desired
from reconciler.domain.progress import is_open, judging
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
        if rollout.exposure:
            gate = judging(rollout.exposure[-1], rollout, intent.policy).gate
            found[rollout.id] = (gate.attempt_timeout, gate.report_lost)
    return found
