"""The store in memory: for tests and simulations. It passes the contract of the SQL store."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.domain.attempts import (
    Attempt,
    AttemptKey,
    CounterKey,
    Rules,
    is_overdue,
    rules_of,
    stage_counts,
)
from reconciler.domain.devices import (
    WAITING,
    Candidate,
    Device,
    enrolment,
    judge_candidate,
    presence,
    restored,
    with_entry,
)
from reconciler.domain.ingest import (
    Changes,
    Known,
    Nonce,
    Receipt,
    Submission,
    attribute,
    process,
)
from reconciler.domain.observed import EnrolledDevice, Observed, Seen
from reconciler.http.ports import (
    DeviceQuery,
    Identity,
    NameHeld,
    NonceSpent,
    PendingFull,
    Ruling,
)
from schemas.wire.manifest import Manifest
from schemas.wire.report import EnrolState, Event
from schemas.wire.shard import ShardEntry
from schemas.wire.status import Decision, StageCounts


class MemoryStore:
    """Implements reconciler.ports.Store and reconciler.http.ports.GatewayStore. Thread-safe."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock, self._lock = clock, threading.RLock()
        self._devices: dict[str, Device] = {}
        self._entries: dict[str, ShardEntry] = {}
        self._listed: dict[str, str] = {}
        self._rules: dict[str, Rules] = {}
        self._current: set[str] = set()
        self._attempts: dict[AttemptKey, Attempt] = {}
        self.events: dict[tuple[str, str], Event] = {}
        self._counters: Counter[CounterKey] = Counter()
        self._spent: dict[str, datetime] = {}
        self._decisions: list[tuple[str, Decision]] = []
        self.audit: list[tuple[datetime, Ruling]] = []
        self._version = 0

    def devices_version(self) -> int:
        with self._lock:
            return self._version

    def observed(
        self, now: datetime, timeouts: Mapping[str, tuple[timedelta, timedelta]]
    ) -> Observed:
        with self._lock:
            accepted = [
                device
                for _, device in sorted(self._devices.items())
                if device.state is EnrolState.ACCEPTED
            ]
            return Observed(
                enrolled=tuple(
                    EnrolledDevice(each.name, each.key, each.public_key, each.assigned)
                    for each in accepted
                ),
                seen={
                    each.key: Seen(
                        each.last_seen, each.running, each.heard.facts if each.heard else {}
                    )
                    for each in accepted
                    if each.last_seen
                },
                counts=self._counts(now, timeouts),
                running=self._running(),
            )

    def _counts(
        self, now: datetime, timeouts: Mapping[str, tuple[timedelta, timedelta]]
    ) -> dict[str, dict[str, StageCounts]]:
        numbers: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for (rollout, stage, counter), number in self._counters.items():
            if rollout in timeouts or rollout in self._current:
                numbers[rollout, stage][counter] = number
        overdue = Counter(
            (rollout, attempt.stage)
            for (_, rollout, _), attempt in self._attempts.items()
            if is_overdue(attempt, now, timeouts.get(rollout))
        )
        counts: dict[str, dict[str, StageCounts]] = defaultdict(dict)
        for (rollout, stage), values in numbers.items():
            counts[rollout][stage] = stage_counts(values, overdue[rollout, stage])
        return dict(counts)

    def _running(self) -> dict[str, dict[str, int]]:
        places = Counter(place for each in self._devices.values() if (place := presence(each)))
        running: dict[str, dict[str, int]] = defaultdict(dict)
        for (fleet, name), number in places.items():
            running[fleet][name] = number
        return dict(running)

    def learn(
        self,
        *,
        entries: Mapping[str, ShardEntry],
        listed: Mapping[str, str],
        manifests: Mapping[str, Manifest],
    ) -> None:
        with self._lock:
            relisted, self._listed = listed != self._listed, dict(listed)
            self._entries = dict(entries)
            for key, device in list(self._devices.items()):
                self._save(with_entry(device, entries.get(key)))
            for key in listed.keys() & self._devices.keys() if relisted else ():
                device = self._devices[key]
                self._save(self._judged(Candidate(key, device.name, device.public_key or "")))
            for manifest in manifests.values():
                if rules := rules_of(manifest):
                    self._rules[rules.next.rollout] = rules
            self._current = {each.next.rollout for each in manifests.values() if each.next}
            waiting = {
                key: attempt
                for key, attempt in self._attempts.items()
                if key[1] in self._current and attempt.stage is None
            }
            self._apply(attribute(waiting, self._rules, self._entries, self._devices))

    def restore(self, entries: Mapping[str, ShardEntry]) -> int:
        with self._lock:
            lost = [
                key
                for key, each in entries.items()
                if each.public_key
                and (key not in self._devices or self._devices[key].state in WAITING)
            ]
            for key in lost:
                self._entries[key] = entries[key]
                self._save(restored(key, entries[key], self._clock()))
            return len(lost)

    def record(self, fleet: str, decisions: Iterable[Decision]) -> None:
        with self._lock:
            for decision in decisions:
                if (fleet, decision) not in self._decisions:
                    self._decisions.append((fleet, decision))

    def nonce_secret(self) -> bytes:
        return bytes(32)

    def identities(self, keys: Collection[str]) -> Mapping[str, Identity]:
        with self._lock:
            found = {key: self._devices[key] for key in keys if key in self._devices}
        return {key: Identity(each.public_key, each.state) for key, each in found.items()}

    def enrol(
        self, candidate: Candidate, nonce: Nonce, now: datetime, *, max_pending: int
    ) -> Device | NonceSpent | PendingFull:
        with self._lock:
            if nonce.text in self._spent:
                return NonceSpent()
            self._spent[nonce.text] = nonce.expires
            device = self._judged(candidate)
            new = candidate.key not in self._devices
            waiting = sum(each.state in WAITING for each in self._devices.values())
            if new and device.state in WAITING and waiting >= max_pending:
                return PendingFull()
            if device.public_key is None:
                device = replace(device, public_key=candidate.public_key)
            self._save(replace(device, enrolled_at=now) if new else device)
            return self._devices[device.key]

    def _judged(self, candidate: Candidate) -> Device:
        listed_as = self._listed.get(candidate.key)
        device = judge_candidate(
            candidate,
            self._devices.get(candidate.key),
            listed_as=listed_as,
            holders=self._holders(listed_as or candidate.name, candidate.key),
            now=self._clock(),
        )
        return with_entry(device, self._entries.get(device.key))

    def _holders(self, name: str, key: str) -> frozenset[str]:
        states = {each.key: each.state for each in self._devices.values()}
        accepted = {
            each.key
            for each in self._devices.values()
            if each.name == name and each.state is EnrolState.ACCEPTED
        }
        listed = {each for each, listed in self._listed.items() if listed == name}
        published = {
            each
            for each, entry in self._entries.items()
            if entry.name == name and states.get(each) is not EnrolState.REJECTED
        }
        return frozenset((accepted | listed | published) - {key})

    def ingest(self, submissions: Sequence[Submission], now: datetime) -> tuple[Receipt, ...]:
        with self._lock:
            known = Known(
                self._devices,
                self._entries,
                self._rules,
                self._attempts,
                self.events.keys(),
                self._spent.keys(),
            )
            receipts, changes = process(submissions, known, now)
            self._apply(changes)
            return receipts

    def _apply(self, changes: Changes) -> None:
        for device in changes.devices.values():
            self._save(device)
        self._attempts.update(changes.attempts)
        self.events.update(changes.events)
        self._counters.update(changes.counters)
        self._spent.update(changes.spent)

    def _save(self, device: Device) -> None:
        if enrolment(self._devices.get(device.key)) != enrolment(device):
            self._version += 1
        self._devices[device.key] = device

    def ping(self) -> None:
        """There is nothing that could be away."""

    def device(self, key: str) -> Device | None:
        with self._lock:
            return self._devices.get(key)

    def devices(self, query: DeviceQuery) -> tuple[Device, ...]:
        with self._lock:
            found = [
                each
                for key, each in sorted(self._devices.items())
                if key > query.after
                and query.fleet in (None, each.fleet)
                and query.name in (None, each.name)
                and query.state in (None, each.state)
                and (query.selector is None or query.selector.matches(each.labels))
            ]
        return tuple(found[: query.limit])

    def devices_by_state(self) -> Mapping[EnrolState, int]:
        with self._lock:
            return Counter(each.state for each in self._devices.values())

    def rule(self, ruling: Ruling, now: datetime) -> Device | NameHeld | None:
        with self._lock:
            device = self._devices.get(ruling.key)
            if device is None:
                return None
            if ruling.state is EnrolState.ACCEPTED:
                if held := self._holders(device.name, device.key):
                    return NameHeld(min(held))
                assigned = {**device.assigned, **ruling.labels}
                device = replace(device, assigned=assigned)
                device = with_entry(device, self._entries.get(device.key))
            self._save(replace(device, state=ruling.state))
            self.audit.append((now, ruling))
            return self._devices[ruling.key]

    def history(
        self, *, fleet: str | None, rollout: str | None, limit: int
    ) -> tuple[tuple[str, Decision], ...]:
        with self._lock:
            found = [
                (each, decision)
                for each, decision in self._decisions
                if fleet in (None, each) and rollout in (None, decision.rollout)
            ]
        return tuple(sorted(found, key=lambda item: item[1].at, reverse=True)[:limit])
