"""Flux's conditions of one fleet: Ready, Reconciling, Stalled, and why. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.domain import ledger
from reconciler.domain.assignment import FLEET_DELETED
from schemas.wire.status import FINAL, Condition, FleetStatus, Phase


@dataclass(frozen=True, slots=True)
class _Word:
    ready: bool
    reconciling: bool
    stalled: bool
    reason: str
    message: str


def with_conditions(status: FleetStatus, blocked: str | None, now: datetime) -> FleetStatus:
    """Return the status with its conditions. `since` changes when True turns False or back."""
    return _worded(status, _word(status, blocked), now)


def deleted(status: FleetStatus, message: str, now: datetime) -> FleetStatus:
    """Return the status of a fleet whose file is gone."""
    return _worded(status, _Word(False, False, True, FLEET_DELETED, message), now)


def _worded(status: FleetStatus, word: _Word, now: datetime) -> FleetStatus:
    values = (("Ready", word.ready), ("Reconciling", word.reconciling), ("Stalled", word.stalled))
    known = {condition.type: condition for condition in status.conditions}
    conditions = []
    for name, value in values:
        old = known.get(name)
        since = old.since if old and old.status is value else now
        conditions.append(Condition(name, value, word.reason, word.message, since))
    return replace(status, conditions=tuple(conditions))


def _word(status: FleetStatus, blocked: str | None) -> _Word:
    rollout = status.rollout
    refused = ledger.open_entry(status.ledger, status.desired)
    if refused is not None:
        message = (
            f"Git asks for {status.desired_text}, which was refused: {refused.reason}."
            " Commit something else, or go back to what is stable"
        )
        rolling_back = rollout is not None and rollout.phase is Phase.ROLLING_BACK
        reason = "RollingBack" if rolling_back else "Refused"
        return _Word(False, rolling_back, True, reason, message)
    if blocked is not None and (status.stable is None or status.stable.set != status.desired):
        return _Word(False, False, True, "Suspended", blocked)
    if rollout is not None and rollout.phase not in FINAL:
        return _Word(False, True, False, _camel(rollout.phase), rollout.reason)
    return _Word(True, False, False, "Stable", f"{status.desired_text} is stable")


def _camel(phase: Phase) -> str:
    return "".join(word.capitalize() for word in phase.split())
