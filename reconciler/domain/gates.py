"""Whether a stage has earned the next one. Pure: counts and the time come in as arguments."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import ceil, floor

from reconciler.domain import reasons
from reconciler.domain.desired import Stage
from schemas.wire.status import StageCounts


class Verdict(StrEnum):
    WAIT = "wait"
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a stage: `own` counts the devices it admitted first, `total` all so far.

    `done` of the reachable ones run the set already. `expected`: it admitted reachable devices
    when it was opened, so one of them must have something to show. `everybody`: every device of
    the fleet that may take the set runs it.
    """

    own: StageCounts
    total: StageCounts
    done: int = 0
    expected: bool = True
    everybody: bool = False

    @property
    def asked(self) -> int:
        """Return how many devices owe an answer: reachable, or started and gone since."""
        return max(self.own.reachable, self.own.started)

    @property
    def answered(self) -> int:
        counts = self.own
        return min(self.asked, max(counts.ok, self.done) + counts.failed + counts.overdue)

    @property
    def judged(self) -> StageCounts:
        """Return the counts whose success is measured: an increment that owes no answer borrows
        all before it."""
        owes = self.asked or self.own.finished or (self.own.admitted and self.expected)
        return self.own if owes else self.total


@dataclass(frozen=True, slots=True)
class GateDecision:
    """`settled` is since when the counts have been good enough (the soak starts there), or None."""

    verdict: Verdict
    reason: str
    settled: datetime | None = None


def evaluate(
    stage: Stage, evidence: Evidence, settled: datetime | None, now: datetime
) -> GateDecision:
    """Decide about an open stage, and say why in words an operator can act on.

    `settled` is what the last decision said. The fractions are exact: nothing is rounded.
    """
    if refusal := broken(stage, evidence.judged) or _lost(stage, evidence):
        return GateDecision(Verdict.FAIL, refusal)
    if missing := _missing(stage, evidence):
        return GateDecision(Verdict.WAIT, missing)
    since = settled or now
    reason = _good(stage, evidence)
    if now < since + stage.soak:
        until = reasons.moment(since + stage.soak)
        return GateDecision(Verdict.WAIT, f"{reason}, soaking until {until}", since)
    return GateDecision(Verdict.PASS, reason, since)


def broken(stage: Stage, counts: StageCounts) -> str | None:
    """Return why the threshold is out of reach even if all the others succeed, or None."""
    possible = max(counts.admitted, counts.finished)
    bad = counts.failed + counts.overdue
    if bad <= floor((1 - stage.gate.success) * possible):
        return None
    return f"{reasons.failed(counts)}; {reasons.percent(stage.gate.success)} must succeed"


def _lost(stage: Stage, evidence: Evidence) -> str | None:
    """Return why the stage is lost when every device that could answer has, or None."""
    enough = evidence.total.finished >= max(1, stage.gate.min_finished)
    open_ends = not evidence.asked or evidence.answered < evidence.asked
    if not enough or open_ends or _succeeds(stage, evidence.judged):
        return None
    needed = reasons.percent(stage.gate.success)
    return f"{reasons.failed(evidence.judged)}; {needed} must succeed, and nobody is left to try"


def _succeeds(stage: Stage, counts: StageCounts) -> bool:
    return counts.ok >= stage.gate.success * counts.finished


def _missing(stage: Stage, evidence: Evidence) -> str | None:
    """Return what the gate still waits for, or None when its counts are met."""
    own, gate = evidence.own, stage.gate
    if own.admitted and not evidence.asked and evidence.expected:
        return f"none of the {reasons.devices(own.admitted)} of this stage is reachable"
    if evidence.answered < ceil(gate.min_coverage * evidence.asked) or (
        own.admitted and evidence.expected and not evidence.answered
    ):
        needed = "" if gate.min_coverage == 1 else f", {reasons.percent(gate.min_coverage)} needed"
        neutral = f" ({own.neutral} neutral, which counts as nothing)" if own.neutral else ""
        progress = f"{evidence.answered} of {evidence.asked} reachable devices have finished"
        return f"{progress}{needed}{neutral}"
    if evidence.total.finished < gate.min_finished and not evidence.everybody:
        return f"{evidence.total.finished} attempts have finished, {gate.min_finished} needed"
    if not _succeeds(stage, evidence.judged):
        return reasons.succeeded(evidence.judged, gate.success)
    return None


def _good(stage: Stage, evidence: Evidence) -> str:
    if not evidence.judged.finished:
        return f"{reasons.devices(evidence.done)} run it already"
    return reasons.succeeded(evidence.judged, stage.gate.success)
