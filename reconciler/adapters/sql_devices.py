"""Devices in SQL: reading, listing, enrolling; saving keeps every counter that depends on them."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, delete, exists, insert, select, update

from reconciler.adapters.sql_engine import add, put, put_new
from reconciler.adapters.sql_rows import chunks, device_of, device_row, entry_from
from reconciler.adapters.sql_tables import (
    audit,
    device_labels,
    devices,
    entries,
    listed_keys,
    meta,
    spent_nonces,
    state_counters,
)
from reconciler.adapters.sql_tables import running_counters as running
from reconciler.domain.devices import (
    WAITING,
    Candidate,
    Device,
    enrolment,
    judge_candidate,
    presence,
    with_entry,
)
from reconciler.domain.ingest import Nonce
from reconciler.http.ports import DeviceQuery, NameHeld, NonceSpent, PendingFull, Ruling
from schemas.selector import Operator, Requirement
from schemas.wire.report import EnrolState
from schemas.wire.shard import ShardEntry

VERSION = "devices_version"


def load(connection: Connection, keys: Collection[str]) -> dict[str, Device]:
    """Return the devices of `keys`, locked until the transaction ends."""
    found: dict[str, Device] = {}
    for chunk in chunks(keys):
        query = select(devices).where(devices.c.key.in_(chunk)).with_for_update()
        found.update((row.key, device_of(row)) for row in connection.execute(query))
    return found


def load_entries(connection: Connection, keys: Collection[str]) -> dict[str, ShardEntry]:
    found: dict[str, ShardEntry] = {}
    for chunk in chunks(keys):
        query = select(entries.c.key, entries.c.document).where(entries.c.key.in_(chunk))
        found.update((row.key, entry_from(row.document)) for row in connection.execute(query))
    return found


def save(connection: Connection, before: Mapping[str, Device], after: Mapping[str, Device]) -> None:
    """Write devices and keep what is derived from them: labels, counters, the version."""
    changed = {key: device for key, device in after.items() if before.get(key) != device}
    put(connection, devices, [device_row(device) for device in changed.values()])
    _save_labels(connection, before, changed)
    places, states = Counter[tuple[str, str]](), Counter[str]()
    for key, device in changed.items():
        for sign, version in ((-1, before.get(key)), (1, device)):
            if place := presence(version):
                places[place] += sign
            if version:
                states[version.state] += sign
    add(connection, running, [
        {"fleet": fleet, "set": name, "number": number}
        for (fleet, name), number in places.items() if number
    ])  # fmt: skip
    add(connection, state_counters, [
        {"state": str(state), "number": number} for state, number in states.items() if number
    ])  # fmt: skip
    if any(enrolment(before.get(key)) != enrolment(device) for key, device in changed.items()):
        _bump_version(connection)


def _save_labels(
    connection: Connection, before: Mapping[str, Device], changed: Mapping[str, Device]
) -> None:
    relabelled = [
        device
        for key, device in changed.items()
        if device.labels != (before[key].labels if key in before else {})
    ]
    for chunk in chunks([device.key for device in relabelled]):
        connection.execute(delete(device_labels).where(device_labels.c.key.in_(chunk)))
    put(connection, device_labels, [
        {"key": device.key, "label": label, "value": value}
        for device in relabelled for label, value in device.labels.items()
    ])  # fmt: skip


def _bump_version(connection: Connection) -> None:
    put_new(connection, meta, [{"name": VERSION, "value": "0"}])
    number = version(connection) + 1
    connection.execute(update(meta).where(meta.c.name == VERSION).values(value=str(number)))


def version(connection: Connection) -> int:
    value = connection.scalar(select(meta.c.value).where(meta.c.name == VERSION))
    return int(value or 0)


def query_of(query: DeviceQuery) -> Select[tuple[object, ...]]:
    """Return the statement for one page, in key order, by indexes."""
    statement = select(devices).where(devices.c.key > query.after)
    if query.fleet is not None:
        statement = statement.where(devices.c.fleet == query.fleet)
    if query.name is not None:
        statement = statement.where(devices.c.name == query.name)
    if query.state is not None:
        statement = statement.where(devices.c.state == str(query.state))
    for requirement in query.selector.requirements if query.selector else ():
        statement = statement.where(_meets(requirement))
    return statement.order_by(devices.c.key).limit(query.limit)


def _meets(requirement: Requirement) -> ColumnElement[bool]:
    same = (device_labels.c.key == devices.c.key, device_labels.c.label == requirement.key)
    has = exists().where(*same)
    has_value = exists().where(*same, device_labels.c.value.in_(requirement.values))
    match requirement.operator:
        case Operator.EXISTS:
            return has
        case Operator.ABSENT:
            return ~has
        case Operator.IN:
            return has_value
        case Operator.NOT_IN:
            return ~has_value


def holders(connection: Connection, name: str, key: str) -> frozenset[str]:
    """Return the other keys to which `name` belongs: accepted, listed in Git, or published."""
    rejected = select(devices.c.key).where(devices.c.state == str(EnrolState.REJECTED))
    found = set[str]()
    for query in (
        select(devices.c.key).where(
            devices.c.name == name, devices.c.state == str(EnrolState.ACCEPTED)
        ),
        select(listed_keys.c.key).where(listed_keys.c.name == name),
        select(entries.c.key).where(entries.c.name == name, entries.c.key.not_in(rejected)),
    ):
        found.update(connection.scalars(query))
    return frozenset(found - {key})


def judged(
    connection: Connection, candidate: Candidate, known: Device | None, now: datetime
) -> Device:
    """Return what a candidate is by what Git lists and publishes."""
    listed_as = connection.scalar(
        select(listed_keys.c.name).where(listed_keys.c.key == candidate.key)
    )
    name = listed_as or candidate.name
    device = judge_candidate(
        candidate,
        known,
        listed_as=listed_as,
        holders=holders(connection, name, candidate.key),
        now=now,
    )
    return with_entry(device, load_entries(connection, [candidate.key]).get(candidate.key))


def enrol(
    connection: Connection, candidate: Candidate, nonce: Nonce, now: datetime, max_pending: int
) -> Device | NonceSpent | PendingFull:
    if not spend(connection, {nonce.text: nonce.expires}, now):
        return NonceSpent()
    before = load(connection, [candidate.key])
    known = before.get(candidate.key)
    device = judged(connection, candidate, known, now)
    if known is None and device.state in WAITING and _waiting(connection) >= max_pending:
        return PendingFull()
    if known and known.public_key is None:
        device = replace(device, public_key=candidate.public_key)
    save(connection, before, {device.key: device})
    return device


def spend(connection: Connection, nonces: Mapping[str, datetime], now: datetime) -> bool:
    """Remember nonces as used; return whether all of them were unused. Forgets expired ones."""
    if not nonces:
        return True
    connection.execute(delete(spent_nonces).where(spent_nonces.c.expires < now))
    if spent(connection, nonces):
        return False
    rows = [{"nonce": nonce, "expires": expires} for nonce, expires in nonces.items()]
    connection.execute(insert(spent_nonces), rows)
    return True


def spent(connection: Connection, nonces: Collection[str]) -> frozenset[str]:
    found = set[str]()
    for chunk in chunks(nonces):
        query = select(spent_nonces.c.nonce).where(spent_nonces.c.nonce.in_(chunk))
        found.update(connection.scalars(query))
    return frozenset(found)


def _waiting(connection: Connection) -> int:
    counts = by_state(connection)
    return sum(counts.get(state, 0) for state in WAITING)


def by_state(connection: Connection) -> dict[EnrolState, int]:
    rows = connection.execute(select(state_counters.c.state, state_counters.c.number))
    return {EnrolState(row.state): row.number for row in rows if row.number}


def rule(connection: Connection, ruling: Ruling, now: datetime) -> Device | NameHeld | None:
    before = load(connection, [ruling.key])
    device = before.get(ruling.key)
    if device is None:
        return None
    if ruling.state is EnrolState.ACCEPTED:
        if held := holders(connection, device.name, device.key):
            return NameHeld(min(held))
        entry = load_entries(connection, [device.key]).get(device.key)
        assigned = {**device.assigned, **ruling.labels}
        device = with_entry(replace(device, assigned=assigned), entry)
    after = replace(device, state=ruling.state)
    save(connection, before, {after.key: after})
    action = "accept device" if ruling.state is EnrolState.ACCEPTED else "reject device"
    write_audit(connection, [(ruling.actor, action, ruling.key, ruling.reason)], now)
    return after


def write_audit(
    connection: Connection, records: Iterable[tuple[str, str, str, str]], now: datetime
) -> None:
    """Append (actor, action, object, reason)."""
    rows = [
        {"at": now, "actor": actor, "action": action, "object": target, "reason": reason}
        for actor, action, target, reason in records
    ]
    connection.execute(insert(audit), rows)
