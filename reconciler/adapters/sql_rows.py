"""Rows to domain objects and back."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Row

from reconciler.domain.attempts import Attempt, AttemptKey, Rules, awaits_return
from reconciler.domain.devices import Device, Heard
from schemas.canonical import canonical
from schemas.wire.decode import decode, encode, to_json
from schemas.wire.manifest import Next
from schemas.wire.report import EnrolState, Event, FailureClass, Outcome
from schemas.wire.shard import ShardEntry

CHUNK = 500  # values in one IN (...): below every engine's limit

T = TypeVar("T")


def chunks(values: Collection[T]) -> Iterator[Sequence[T]]:
    ordered = list(values)
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def json_text(value: Any) -> str:
    return canonical(to_json(value)).decode()


def device_row(device: Device) -> dict[str, Any]:
    heard = device.heard
    told = heard and {
        "components": heard.components,
        "state": heard.state,
        "agent": heard.agent,
        "waiting": heard.waiting,
        "timestamp_version": heard.timestamp_version,
        "clock_trusted": heard.clock_trusted,
    }
    return {
        "key": device.key,
        "name": device.name,
        "public_key": device.public_key,
        "state": str(device.state),
        "enrolled_at": device.enrolled_at,
        "assigned": json_text(device.assigned),
        "labels": json_text(device.labels),
        "fleet": device.fleet,
        "last_seen": device.last_seen,
        "heard_at": heard.at if heard else None,
        "running": device.running,
        "heard": json_text(told) if told else None,
        "facts": json_text(heard.facts) if heard else None,
        "journal": device.journal,
        "last_seq": device.last_seq,
        "resync_asks": device.resync_asks,
    }


def device_of(row: Row[Any]) -> Device:
    return Device(
        key=row.key,
        name=row.name,
        public_key=row.public_key,
        state=EnrolState(row.state),
        enrolled_at=row.enrolled_at,
        assigned=json.loads(row.assigned),
        labels=json.loads(row.labels),
        fleet=row.fleet,
        heard=_heard_of(row) if row.heard else None,
        last_seen=row.last_seen,
        journal=row.journal,
        last_seq=row.last_seq,
        resync_asks=row.resync_asks,
    )


def _heard_of(row: Row[Any]) -> Heard:
    told = json.loads(row.heard)
    return Heard(at=row.heard_at, running=row.running, facts=json.loads(row.facts), **told)


def event_row(key: str, event: Event, received_at: Any) -> dict[str, Any]:
    return {
        "key": key,
        "id": event.id,
        "received_at": received_at,
        "at": event.at,
        "kind": str(event.kind),
        "boot_id": event.boot_id,
        "rollout": event.rollout,
        "set": event.set,
        "attempt": event.attempt,
        "state": event.state,
        "outcome": event.outcome,
        "failure": event.failure,
        "code": event.code,
        "message": event.message,
    }


def attempt_row(key: AttemptKey, attempt: Attempt) -> dict[str, Any]:
    return {
        "key": key[0],
        "rollout": key[1],
        "attempt": key[2],
        "set": attempt.set,
        "state": attempt.state,
        "awaits_return": awaits_return(attempt.state),
        "started_at": attempt.started_at,
        "last_event_at": attempt.last_event_at,
        "stage": attempt.stage,
        "outcome": attempt.outcome,
        "failure": attempt.failure,
        "finished_at": attempt.finished_at,
    }


def attempts_of(rows: Iterable[Row[Any]]) -> dict[AttemptKey, Attempt]:
    return {
        (row.key, row.rollout, row.attempt): Attempt(
            set=row.set,
            state=row.state,
            started_at=row.started_at,
            last_event_at=row.last_event_at,
            stage=row.stage,
            outcome=Outcome(row.outcome) if row.outcome else None,
            failure=FailureClass(row.failure) if row.failure else None,
            finished_at=row.finished_at,
        )
        for row in rows
    }


def entry_row(key: str, entry: ShardEntry) -> dict[str, Any]:
    return {"key": key, "name": entry.name, "document": json_text(entry)}


def rules_row(rules: Rules) -> dict[str, Any]:
    return {
        "rollout": rules.next.rollout,
        "fleet": rules.fleet,
        "attempt": rules.attempt,
        "is_current": True,
        "document": encode(rules.next).decode(),
    }


@lru_cache(maxsize=512)
def rules_from(fleet: str, attempt: int, document: str) -> Rules:
    """Return the rules in a row; a rollout's are asked for with every report about it."""
    return Rules(fleet, attempt, decode(Next, document.encode()))


@lru_cache(maxsize=512)
def entry_from(document: str) -> ShardEntry:
    return decode(ShardEntry, document.encode())
