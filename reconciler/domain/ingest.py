"""What a batch of verified reports changes. Pure; every store loads, calls process() and saves."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from reconciler.domain.attempts import (
    Attempt,
    AttemptKey,
    CounterKey,
    Rules,
    difference,
    fold,
    stage_of,
    votes,
)
from reconciler.domain.devices import Device, Heard
from reconciler.domain.text import facts_of, printable
from schemas.wire.report import EnrolState, Event, Heartbeat, Report
from schemas.wire.shard import ShardEntry

MAX_MESSAGE, MAX_WORD = 1000, 128  # characters


class Verdict(StrEnum):
    TAKEN = "taken"
    REPEATED = "repeated"  # acknowledged before
    NEW_JOURNAL = "new journal"  # only a fresh nonce starts one
    NONCE_SPENT = "nonce spent"
    NOT_ACCEPTED = "not accepted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Nonce:
    text: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Submission:
    """A report whose signature was checked, and the valid nonce that it carries, if any."""

    report: Report
    nonce: Nonce | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    verdict: Verdict
    journal: str | None = None
    last_seq: int = 0
    resync: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What process() may look at: at least everything about the devices that report."""

    devices: Mapping[str, Device]
    entries: Mapping[str, ShardEntry]
    rules: Mapping[str, Rules]
    attempts: Mapping[AttemptKey, Attempt]
    events: Set[tuple[str, str]]  # (device key, event id)
    spent: Set[str]


@dataclass(slots=True)
class Changes:
    """What to write, in one transaction."""

    devices: dict[str, Device] = field(default_factory=dict)
    attempts: dict[AttemptKey, Attempt] = field(default_factory=dict)
    events: dict[tuple[str, str], Event] = field(default_factory=dict)
    counters: Counter[CounterKey] = field(default_factory=Counter)
    spent: dict[str, datetime] = field(default_factory=dict)


def process(
    submissions: Sequence[Submission], known: Known, now: datetime
) -> tuple[tuple[Receipt, ...], Changes]:
    """Return a receipt for each submission, in order, and everything they change together."""
    changes = Changes()
    return tuple(_take(item, known, changes, now) for item in submissions), changes


def _take(submission: Submission, known: Known, changes: Changes, now: datetime) -> Receipt:
    report = submission.report
    device = changes.devices.get(report.iss) or known.devices.get(report.iss)
    if device is None:
        return Receipt(Verdict.UNKNOWN)
    if device.state is not EnrolState.ACCEPTED:
        return Receipt(Verdict.NOT_ACCEPTED)
    if submission.nonce:
        if submission.nonce.text in known.spent or submission.nonce.text in changes.spent:
            return Receipt(Verdict.NONCE_SPENT, device.journal, device.last_seq)
        changes.spent[submission.nonce.text] = submission.nonce.expires
    if report.journal == device.journal:
        if report.seq <= device.last_seq:
            return Receipt(Verdict.REPEATED, device.journal, device.last_seq)
    elif submission.nonce is None:
        return Receipt(Verdict.NEW_JOURNAL, device.journal, device.last_seq)
    for event in events_of(report):
        _count(device, event, known, changes, now)
    after = _heard(device, report, now)
    changes.devices[device.key] = after
    asked = after.resync_asks < device.resync_asks and not _tells_outcome(report)
    return Receipt(Verdict.TAKEN, report.journal, report.seq, resync=asked)


def events_of(report: Report) -> tuple[Event, ...]:
    """Return what the report tells: its events, and the last outcome that its heartbeat repeats."""
    last = report.heartbeat.last_outcome if report.heartbeat else None
    return (*report.events, *([last] if last else []))


def _tells_outcome(report: Report) -> bool:
    return any(event.outcome is not None for event in events_of(report))


def _count(device: Device, event: Event, known: Known, changes: Changes, now: datetime) -> None:
    identity = (device.key, event.id)
    if identity in known.events or identity in changes.events:
        return
    changes.events[identity] = event = cleaned(event)
    if event.rollout is None or event.attempt is None:
        return
    key = (device.key, event.rollout, event.attempt)
    before = changes.attempts.get(key) or known.attempts.get(key)
    after = fold(before, event, now)
    if after is None:
        return
    if after.stage is None:
        rules, entry = known.rules.get(event.rollout), known.entries.get(device.key)
        stage = stage_of(after, event.attempt, rules, entry, device.running)
        after = replace(after, stage=stage)
    if after != before:
        changes.attempts[key] = after
        delta = difference(votes(event.rollout, after), votes(event.rollout, before))
        changes.counters.update(delta)


def cleaned(event: Event) -> Event:
    """Return the event with its free text bounded and printable."""
    return replace(
        event,
        boot_id=printable(event.boot_id, MAX_WORD),
        state=None if event.state is None else printable(event.state, MAX_WORD),
        code=None if event.code is None else printable(event.code, MAX_WORD),
        message=None if event.message is None else printable(event.message, MAX_MESSAGE),
    )


def _heard(device: Device, report: Report, now: datetime) -> Device:
    heartbeat = report.heartbeat
    asks = device.resync_asks
    if asks and _tells_outcome(report):
        asks = 0
    elif asks and heartbeat:
        asks -= 1
    return replace(
        device,
        journal=report.journal,
        last_seq=report.seq,
        last_seen=now,
        heard=_from_heartbeat(heartbeat, now) if heartbeat else device.heard,
        resync_asks=asks,
    )


def _from_heartbeat(heartbeat: Heartbeat, now: datetime) -> Heard:
    components = heartbeat.running.components if heartbeat.running else {}
    return Heard(
        at=now,
        running=heartbeat.set,
        components={name: ref.release for name, ref in components.items()},
        state=printable(heartbeat.state, MAX_WORD),
        agent=printable(heartbeat.agent, MAX_WORD),
        waiting=printable(heartbeat.waiting or "", MAX_MESSAGE),
        timestamp_version=heartbeat.timestamp_version,
        clock_trusted=heartbeat.clock_trusted,
        facts=facts_of(heartbeat.facts),
    )


def attribute(
    attempts: Mapping[AttemptKey, Attempt],
    rules: Mapping[str, Rules],
    entries: Mapping[str, ShardEntry],
    devices: Mapping[str, Device],
) -> Changes:
    """Return what counts now of attempts that no stage had admitted: the report came before the
    news of the manifest, or of the device's entry."""
    changes = Changes()
    for key, attempt in attempts.items():
        device_key, rollout, number = key
        device = devices.get(device_key)
        stage = stage_of(
            attempt,
            number,
            rules.get(rollout),
            entries.get(device_key),
            device.running if device else None,
        )
        if attempt.stage is None and stage is not None:
            changes.attempts[key] = replace(attempt, stage=stage)
            changes.counters.update(votes(rollout, changes.attempts[key]))
    return changes
