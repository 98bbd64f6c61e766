"""Is the deployment still wanted, now? Asked again before the install and before the reboot."""

from datetime import datetime

from device_agent.core.record import MAX_MESSAGE, Problem, Record, Step
from device_agent.core.states import Outcome
from device_agent.errors import TransientError, UpdateRejected
from device_agent.journal import Journal
from device_agent.ports import BootFacts, Ports, Trusted
from device_agent.trust.clock import judge
from schemas.resolve import Action, DeviceView, Target, resolve
from schemas.wire.report import Event, EventKind
from schemas.wire.report import Outcome as Verdict


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
    """Return what resolve() needs. What was committed in another slot than this is not running."""
    installed = journal.installed()
    here = installed is not None and installed.slot in ("", boot.running)
    return DeviceView(installed.running if installed and here else None, journal.failed())


def time_by(trusted: Trusted, ports: Ports) -> datetime:
    """Return the time that holds and windows are judged by: the tree's, if our clock is off."""
    return judge(ports.clock.now(), trusted.issued).now


def check(record: Record, journal: Journal, ports: Ports) -> Step:
    """Return SUCCESS, HOLD (not now, or nobody knows) or ABANDON (something else is wanted)."""
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
        return _abandon("this device is in no fleet any more")
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
    return _abandon(target.reason)


def _hold(why: str) -> Step:
    return Step(Outcome.HOLD, waiting=why)


def _abandon(why: str) -> Step:
    problem = Problem(Verdict.NEUTRAL, None, f"abandoned, nothing was changed: {why}")
    return Step(Outcome.ABANDON, problem)
