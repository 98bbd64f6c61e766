"""The life of a rollout: what Git asks for, the stage that is open, failing, going back. Pure.

`advance` takes one decision after the other until none is left at this instant, so that planning
from its own result changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.domain import ledger, reasons
from reconciler.domain.desired import FleetIntent, OnFailure, Policy, Stage
from reconciler.domain.exposure import Roster, Tally, opening, set_aside, stages_left, widened
from reconciler.domain.gates import Evidence, Verdict, broken, evaluate
from schemas.canonical import rollout_id
from schemas.wire.descriptor import Descriptor
from schemas.wire.manifest import AdmitRule, Stable
from schemas.wire.status import (
    FINAL,
    MAX_DECISIONS,
    Decision,
    FleetStatus,
    Opened,
    Phase,
    Rollout,
    StageCounts,
)
from schemas.wire.types import ComponentSet

STEPS_PER_STAGE = 4  # open, settle, pass, and one to see that nothing is left


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the decisions about one fleet look at.

    `blocked` is why nothing new may start. `running` counts the fleet's devices by set, `counts`
    are by rollout and stage.
    """

    intent: FleetIntent
    commit: str
    descriptors: Mapping[str, Descriptor]
    roster: Roster
    counts: Mapping[str, Mapping[str, StageCounts]]
    running: Mapping[str, int]
    blocked: str | None
    now: datetime


def advance(status: FleetStatus, view: View) -> FleetStatus:
    """Take every decision that is due, after `follow_git`."""
    for _ in range(STEPS_PER_STAGE * (len(view.intent.policy.stages) + 3)):
        after = _step(status, view)
        if after == status:
            break
        status = after
    return status


def is_open(rollout: Rollout | None) -> bool:
    return rollout is not None and rollout.phase not in FINAL


def _step(status: FleetStatus, view: View) -> FleetStatus:
    rollout = status.rollout
    if rollout is None or rollout.phase in FINAL:
        return status
    rollout = _counted(rollout, view)
    status = replace(status, rollout=rollout)
    match rollout.phase:
        case Phase.HALTED:
            return status
        case Phase.ROLLING_BACK:
            return _roll_back_further(status, rollout, view)
        case Phase.PAUSED if view.blocked is None:
            return _resumed(status, rollout, view)
    if view.blocked is not None:
        return _paused(status, rollout, view.blocked, view)
    return _further(status, rollout, view)


# What Git asks for


def follow_git(status: FleetStatus, view: View) -> FleetStatus:
    """Return the status with what the commit asks for: a new rollout, a revert, or nothing new."""
    content = view.intent.content
    status = replace(status, desired=content.id, desired_text=str(content))
    if view.blocked is not None:
        return status
    if status.stable is not None and status.stable.set == content.id:
        return _reverted(status, view)
    under_way = is_open(status.rollout) and status.rollout and status.rollout.set == content.id
    if under_way or ledger.open_entry(status.ledger, content.id):
        return status
    return _started(status, content, view)


def _reverted(status: FleetStatus, view: View) -> FleetStatus:
    """Git asks for what is stable: every device goes there at once, no stage is needed."""
    refused = any(entry.closed is None for entry in status.ledger)
    rollout = status.rollout if is_open(status.rollout) else None
    if rollout is None and not refused and not status.keep:
        return status
    reason = f"Git asks for {status.desired_text} again, which is stable"
    status = _decided(status, view, "revert", reason)
    if rollout is not None:
        ended = replace(rollout, phase=Phase.ABORTED, reason=reason, ended=view.now)
        status = replace(status, rollout=ended)
    return replace(status, keep=(), ledger=ledger.close(status.ledger, view.now))


def _started(status: FleetStatus, content: ComponentSet, view: View) -> FleetStatus:
    if status.rollout is not None and is_open(status.rollout):
        old = status.rollout.content
        reason = f"{old} is superseded by {content}: who has it keeps it until the new one comes"
        status = _decided(status, view, "supersede", reason)
    attempt = ledger.next_attempt(status.attempts, content.id)
    rollout = Rollout(
        id=rollout_id(status.fleet, content.id, attempt),
        set=content.id,
        content=content,
        attempt=attempt,
        commit=view.commit,
        phase=Phase.PENDING,
        reason="no stage is open yet",
        started=view.now,
    )
    in_use = {content.id, *status.keep, *(entry.set for entry in status.ledger)}
    if status.stable is not None:
        in_use.add(status.stable.set)
    status = replace(
        status,
        rollout=rollout,
        # Its own set may be kept too: a device that loses its place (a new label) is not sent back.
        keep=_with(status.keep, content.id),
        attempts=ledger.remember(status.attempts, content.id, attempt, in_use),
        ledger=ledger.close(status.ledger, view.now),
    )
    again = f", attempt {attempt}" if attempt > 1 else ""
    return _decided(status, view, "start", f"Git asks for {content}{again}")


# Pause and resume


def _paused(status: FleetStatus, rollout: Rollout, why: str, view: View) -> FleetStatus:
    if rollout.phase is Phase.PAUSED and rollout.reason == why:
        return status
    status = _in_phase(status, rollout, Phase.PAUSED, why)
    return _decided(status, view, "pause", why)


def _resumed(status: FleetStatus, rollout: Rollout, view: View) -> FleetStatus:
    phase = Phase.PROGRESSING if rollout.exposure else Phase.PENDING
    reason = "nothing is in the way any more: whoever was admitted is again"
    return _decided(_in_phase(status, rollout, phase, reason), view, "resume", reason)


# Forward


def _further(status: FleetStatus, rollout: Rollout, view: View) -> FleetStatus:
    deadline = view.intent.policy.deadline
    if deadline is not None and view.now >= rollout.started + deadline:
        reason = f"the deadline of {reasons.span(deadline)} passed before everybody had it"
        return _failed(status, rollout, reason, None, view)
    for opened in rollout.exposure:
        reason_lost = broken(judging(opened, rollout, view.intent.policy), opened.counts)
        if opened.passed and reason_lost:
            return _failed(status, rollout, reason_lost, opened.stage, view)
    if rollout.exposure and rollout.exposure[-1].passed is None:
        return _gated(status, rollout, view)
    left = stages_left(view.intent.policy, rollout.exposure)
    if not left:
        return _completed(status, rollout, view)
    return _opened(status, rollout, left[0], view)


def _opened(status: FleetStatus, rollout: Rollout, stage: Stage, view: View) -> FleetStatus:
    leading = () if rollout.exposure else _leading(status, rollout, stage, view)
    opened = opening(stage, rollout, view.roster.members, leading, view.now)
    if isinstance(opened, str):
        return _in_phase(status, rollout, rollout.phase, f"stage {stage.name} waits: {opened}")
    reason = f"{reasons.devices(opened.size)} admitted so far"
    wider = replace(rollout, exposure=(*rollout.exposure, opened))
    status = _in_phase(status, wider, Phase.PROGRESSING, f"stage {stage.name}: {reason}")
    return _decided(status, view, "open stage", reason, stage.name)


def _leading(
    status: FleetStatus, rollout: Rollout, stage: Stage, view: View
) -> tuple[AdmitRule, ...]:
    """Return rules for devices that come first whatever the stage says: those on a set that was
    refused (they need the fix), and those that have the new one already (a retry).

    A set that was superseded in good health is not among them: half a fleet on it would take the
    next one without a canary. It is in `keep`, and its devices come in their order.
    """
    running = {member.running for member in view.roster.members} - {None, rollout.set}
    if status.stable is not None:
        running.discard(status.stable.set)
    bad = sorted({entry.set for entry in status.ledger if entry.set in running})
    own = any(member.running == rollout.set for member in view.roster.members)
    sets = [*bad, rollout.set] if bad or own else []
    return tuple(AdmitRule(running=name, stage=stage.name) for name in sets)


def _gated(status: FleetStatus, rollout: Rollout, view: View) -> FleetStatus:
    opened = rollout.exposure[-1]
    stage = judging(opened, rollout, view.intent.policy)
    wider = widened(stage, opened, rollout, view.roster.members)
    if wider is not None:
        rollout = replace(rollout, exposure=(*rollout.exposure[:-1], wider))
        reason = f"{reasons.devices(wider.size)} admitted so far, more were seen"
        status = _in_phase(status, rollout, Phase.PROGRESSING, f"stage {stage.name}: {reason}")
        return _decided(status, view, "widen stage", reason, stage.name)
    decision = evaluate(stage, _evidence(rollout, view), opened.settled, view.now)
    if decision.verdict is Verdict.FAIL:
        return _failed(status, rollout, decision.reason, opened.stage, view)
    left = stages_left(view.intent.policy, rollout.exposure)
    if decision.verdict is Verdict.PASS and not (stage.approval and left):
        passed = replace(opened, settled=decision.settled, passed=view.now)
        rollout = replace(rollout, exposure=(*rollout.exposure[:-1], passed))
        status = _in_phase(status, rollout, Phase.PROGRESSING, f"{stage.name}: {decision.reason}")
        return _decided(status, view, "pass stage", decision.reason, opened.stage)
    waiting = replace(opened, settled=decision.settled)
    rollout = replace(rollout, exposure=(*rollout.exposure[:-1], waiting))
    reason = f"stage {opened.stage}: {decision.reason}"
    phase = Phase.SOAKING
    if decision.settled is None:
        phase = Phase.PROGRESSING
        aside = set_aside(opened, rollout, view.roster.members)
        reason += f"; of its devices {aside}" if aside else ""
    if decision.verdict is Verdict.PASS:
        phase = Phase.AWAITING_APPROVAL
        reason += f"; {stage.approval} must approve before {left[0].name} opens"
    return _in_phase(status, rollout, phase, reason)


def _completed(status: FleetStatus, rollout: Rollout, view: View) -> FleetStatus:
    content = rollout.content
    reason = f"{content} is the stable set: the last stage was passed"
    done = replace(rollout, phase=Phase.COMPLETED, reason=reason, ended=view.now)
    stable = Stable(rollout.set, rollout.attempt, content.components, content.config, content.vars)
    forgiven = tuple(entry for entry in status.ledger if entry.set != rollout.set)
    status = replace(status, rollout=done, stable=stable, keep=(), ledger=forgiven)
    return _decided(status, view, "complete", reason)


def judging(opened: Opened, rollout: Rollout, policy: Policy) -> Stage:
    """Return the stage whose gate judges `opened`: its own, or, when the policy has lost it, the
    next one's."""
    own = next((stage for stage in policy.stages if stage.name == opened.stage), None)
    if own is not None:
        return own
    left = stages_left(policy, rollout.exposure)
    return left[0] if left else policy.stages[-1]


def _counted(rollout: Rollout, view: View) -> Rollout:
    """Return the rollout with what its devices have reported by now."""
    if not rollout.exposure:
        return rollout
    counts = view.counts.get(rollout.id, {})
    found = view.roster.tallies(rollout)
    exposure = tuple(
        replace(
            opened,
            counts=replace(
                counts.get(opened.stage, StageCounts()),
                admitted=found.get(opened.stage, Tally()).admitted,
                reachable=found.get(opened.stage, Tally()).reachable,
            ),
        )
        for opened in rollout.exposure
    )
    return replace(rollout, exposure=exposure)


def _evidence(rollout: Rollout, view: View) -> Evidence:
    opened = rollout.exposure[-1]
    before = rollout.exposure[-2].size if len(rollout.exposure) > 1 else 0
    able = [member for member in view.roster.members if member.eligible]
    return Evidence(
        own=opened.counts,
        total=_sum([one.counts for one in rollout.exposure]),
        done=view.roster.tallies(rollout).get(opened.stage, Tally()).done,
        expected=opened.size > before,
        everybody=bool(able) and all(member.running == rollout.set for member in able),
    )


def _sum(counts: list[StageCounts]) -> StageCounts:
    failures: dict[str, int] = {}
    for one in counts:
        for name, number in one.failures.items():
            failures[name] = failures.get(name, 0) + number
    return StageCounts(
        admitted=sum(one.admitted for one in counts),
        reachable=sum(one.reachable for one in counts),
        started=sum(one.started for one in counts),
        ok=sum(one.ok for one in counts),
        failed=sum(one.failed for one in counts),
        neutral=sum(one.neutral for one in counts),
        overdue=sum(one.overdue for one in counts),
        failures=failures,
    )


# Failing, and going back


def _failed(
    status: FleetStatus, rollout: Rollout, reason: str, stage: str | None, view: View
) -> FleetStatus:
    """Refuse the set. It is remembered before anything else: it must not be tried again."""
    entries = ledger.refuse(status.ledger, rollout, reason, view.now)
    status = replace(status, ledger=entries)
    if view.intent.policy.on_failure is OnFailure.PAUSE:
        return _halted(status, rollout, reason, stage, view)
    if stuck := _no_way_back(status, rollout, view):
        return _halted(status, rollout, f"{reason}; {stuck}", stage, view)
    status = replace(status, keep=_without(status.keep, rollout.set))
    status = _in_phase(status, rollout, Phase.ROLLING_BACK, reason)
    return _decided(status, view, "roll back", reason, stage)


def _halted(
    status: FleetStatus, rollout: Rollout, reason: str, stage: str | None, view: View
) -> FleetStatus:
    status = _in_phase(status, rollout, Phase.HALTED, reason)
    return _decided(status, view, "halt", reason, stage)


def _no_way_back(status: FleetStatus, rollout: Rollout, view: View) -> str | None:
    if status.stable is None:
        return "it cannot be rolled back, no set was stable before it"
    before = status.stable.components
    for name, ref in sorted(rollout.content.components.items()):
        new = view.descriptors.get(ref.release)
        old = view.descriptors.get(before[name].release) if name in before else None
        if new and old and new.epoch > old.epoch:
            return (
                f"it cannot be rolled back, {ref.release} raised the epoch"
                f" from {old.epoch} to {new.epoch}"
            )
    return None


def _roll_back_further(status: FleetStatus, rollout: Rollout, view: View) -> FleetStatus:
    entry = ledger.open_entry(status.ledger, rollout.set)
    reason = entry.reason if entry else rollout.reason
    left = view.running.get(rollout.set, 0)
    if left:
        text = f"{reason}; {reasons.devices(left)} still on {rollout.content}"
        return _in_phase(status, rollout, Phase.ROLLING_BACK, text)
    ended = replace(rollout, ended=view.now)
    status = _in_phase(status, ended, Phase.ROLLED_BACK, reason)
    return _decided(status, view, "rolled back", f"no device runs {rollout.content} any more")


# Small changes


def _in_phase(status: FleetStatus, rollout: Rollout, phase: Phase, reason: str) -> FleetStatus:
    return replace(status, rollout=replace(rollout, phase=phase, reason=reason))


def _decided(
    status: FleetStatus, view: View, kind: str, reason: str, stage: str | None = None
) -> FleetStatus:
    rollout = status.rollout.id if status.rollout else None
    decision = Decision(view.now, kind, reason, rollout, stage)
    return replace(status, decisions=(*status.decisions, decision)[-MAX_DECISIONS:])


def _with(keep: tuple[str, ...], set: str) -> tuple[str, ...]:
    return keep if set in keep else (*keep, set)


def _without(keep: tuple[str, ...], set: str) -> tuple[str, ...]:
    return tuple(name for name in keep if name != set)
