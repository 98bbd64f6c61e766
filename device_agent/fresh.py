"""Is the deployment still wanted, now, and does the owner let it go on? Asked again before a
download is repeated, before the install and before the reboot."""

from datetime import datetime

from device_agent.core.record import MAX_MESSAGE, Problem, Record, Step
from device_agent.core.states import Gate, Outcome, State
from device_agent.errors import TransientError, UpdateRejected
from device_agent.journal import Journal
from device_agent.ports import BootFacts, Ports, Trusted
from device_agent.status import INHIBITED, by_hand, running_here
from device_agent.trust.clock import judge
from schemas.resolve import Action, DeviceView, Target, resolve
from schemas.wire.report import Event, EventKind
from schemas.wire.report import Outcome as Verdict

_GATES = {
    State.DOWNLOAD: Gate.DOWNLOAD,
    State.INSTALL_WAIT: Gate.INSTALL,
    State.REBOOT_WAIT: Gate.REBOOT,
}


def refresh(journal: Journal, ports: Ports) -> Trusted:
    """Return what the tree says now. A refusal is queued for the gateway once, and raised."""
    try:
        return ports.trust.refresh()
    except UpdateRejected as error:
        report_refusal(error, journal, ports)
        raise


def report_refusal(
    error: UpdateRejected, journal: Journal, ports: Ports, target: Target | None = None
) -> None:
    """Queue the event of a refusal that changed nothing, once for each distinct reason."""
    event = Event(
        id=ports.new_id(),
        kind=EventKind.REFUSED,
        at=ports.clock.now(),
        boot_id=ports.bootloader.facts().boot_id,
        rollout=target.rollout if target else None,
        set=target.set if target else None,
        attempt=target.attempt if target else None,
        failure=error.failure,
        code=error.code,
        message=error.message[:MAX_MESSAGE],
    )
    journal.refuse(str(error), event)


def device_view(journal: Journal, boot: BootFacts) -> DeviceView:
    """Return what resolve() needs."""
    return DeviceView(running_here(journal, boot), journal.failed())


def time_by(trusted: Trusted, ports: Ports) -> datetime:
    """Return the time that holds and windows are judged by: the tree's, if our clock is off."""
    return judge(ports.clock.now(), trusted.issued).now


def check(record: Record, journal: Journal, ports: Ports) -> Step:
    """Return SUCCESS, HOLD (not now, or nobody knows) or ABANDON (something else is wanted).

    The owner is asked when everybody else agrees, once for each gate that `record` is before. What
    the owner says is a HOLD that is `objected`: it has no time limit and is no trouble.
    """
    step, gate = _asked(record, journal, ports), _GATES.get(record.state)
    if step.outcome is not Outcome.SUCCESS or gate is None:
        forget_objection(journal)
        return step
    objection = ask_owner(gate, journal, ports)
    return Step(Outcome.HOLD, waiting=objection, objected=True) if objection else step


def ask_owner(gate: Gate, journal: Journal, ports: Ports) -> str | None:
    """Return the owner's objection to `gate`, and note it for whoever asks the agent why it waits.

    An update by hand that is in progress is one, too. None: the owner lets it pass.
    """
    objection = by_hand(journal) or ports.owner.objection(gate)
    if objection is None:
        forget_objection(journal)
    elif objection != journal.recall(INHIBITED):
        journal.remember(**{INHIBITED: objection})
    return objection


def forget_objection(journal: Journal) -> None:
    """Nothing is before a gate: the owner stands in nobody's way."""
    if journal.recall(INHIBITED) is not None:
        journal.forget(INHIBITED)


def _asked(record: Record, journal: Journal, ports: Ports) -> Step:
    """Return what the published tree says."""
    try:
        trusted = refresh(journal, ports)
    except UpdateRejected as error:
        return _hold(f"the published tree is refused: {error}")
    except TransientError as error:
        if record.fresh_for is None:
            return Step(Outcome.SUCCESS)  # an air-gapped site: the last answer holds
        return _hold(f"the published tree cannot be asked: {error}")
    return _still_wanted(record, trusted, journal, ports)


def _still_wanted(record: Record, trusted: Trusted, journal: Journal, ports: Ports) -> Step:
    manifest, entry = trusted.manifest, trusted.entry
    if manifest is None or entry is None:
        return _abandon(record, "this device is in no fleet any more")
    age = ports.clock.monotonic() - trusted.fetched
    if manifest.fresh_for is not None and age > manifest.fresh_for:
        return _hold(f"the newest timestamp is {age:.0f} s old, {manifest.fresh_for} s are allowed")
    now = time_by(trusted, ports)
    if manifest.stop:
        return _hold(f"stopped by {manifest.stop.actor}: {manifest.stop.reason}")
    if entry.hold and (entry.hold.until is None or now < entry.hold.until):
        return _hold(f"held: {entry.hold.reason}")
    view = device_view(journal, ports.bootloader.facts())
    target = resolve(manifest, entry, view, now)
    wanted = target.action is Action.CONVERGE
    if wanted and (target.set, target.content) == (record.set, record.content):
        return Step(Outcome.SUCCESS)
    return _abandon(record, target.reason)


def _hold(why: str) -> Step:
    return Step(Outcome.HOLD, waiting=why)


def _abandon(record: Record, why: str) -> Step:
    done = "what was begun is undone" if record.begun else "nothing was changed"
    problem = Problem(Verdict.NEUTRAL, None, f"abandoned, {done}: {why}")
    return Step(Outcome.ABANDON, problem)
