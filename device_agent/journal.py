"""What must survive a power cut: the deployment's record, what runs, and the events to report.

One SQLite file. `enter` stores the record and its events in one transaction, so that a report is
neither lost nor invented. SQLite syncs the disk before a transaction counts (synchronous=FULL).
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from device_agent import reserve
from device_agent.core.record import Consequences, Record, consequences, journaled, restored
from device_agent.errors import AgentError, TransientError
from schemas.canonical import canonical
from schemas.refusal import Refusal
from schemas.resolve import Running
from schemas.wire.decode import decode, encode, parse, utc, utc_text
from schemas.wire.report import Event, EventKind
from schemas.wire.types import ComponentSet

SCHEMA_VERSION = 1
# In the outbox, of each kind: the oldest are dropped first. A gateway may be away for months.
MAX_STATE_EVENTS, MAX_OTHER_EVENTS = 200, 1000
MAX_FAILED = 100  # remembered sets that failed here
MAX_REFUSALS = 50  # remembered refusals, each reported once
RECORD_LIMIT = 4 * 1024 * 1024  # bytes
BUSY_TIMEOUT = 10.0  # seconds

log = logging.getLogger(__name__)

# Additive only: the agent of the other slot must be able to read a newer journal after a rollback.
MIGRATIONS = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE TABLE record (one INTEGER PRIMARY KEY CHECK (one = 1), document BLOB NOT NULL)",
        "CREATE TABLE running (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL,"
        " slot TEXT NOT NULL, content BLOB NOT NULL)",
        "CREATE TABLE failed (name TEXT PRIMARY KEY, attempt INTEGER NOT NULL)",
        "CREATE TABLE refusals (name TEXT PRIMARY KEY)",
        "CREATE TABLE epochs (component TEXT PRIMARY KEY, floor INTEGER NOT NULL)",
        "CREATE TABLE outbox (place INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL,"
        " document BLOB NOT NULL)",
    ),
)


class JournalDamaged(AgentError):
    """The file is no journal, or its content makes no sense. It has to be set aside."""


class JournalUnavailable(TransientError):
    """The journal cannot be written (a full or read-only disk): do nothing to the device."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What runs, and the slot it was committed in ("" without slots)."""

    running: Running
    slot: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The events that report `seq` carries; sent again with the same until it is acknowledged."""

    seq: int
    through: int
    events: tuple[Event, ...]


class Journal:
    """Opens the journal at `path`, or makes one with the random `id` (32 hex digits).

    Raises JournalDamaged or JournalUnavailable.
    """

    def __init__(self, path: Path, *, id: str) -> None:
        self._reserve = path.with_name(path.name + ".reserve")
        with _translated():
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            # Not quick_check: it takes an index that lost a row for whole.
            if self._db.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                raise JournalDamaged(f"{path}: SQLite finds it damaged")
            self._migrate(id)
        self._check(path)

    def close(self) -> None:
        self._db.close()

    @property
    def id(self) -> str:
        return self._meta("journal") or ""

    def record(self) -> Record | None:
        """Return the deployment at work, if there is one."""
        row = self._one("SELECT document FROM record")
        return restored(decode(Record, row[0], limit=RECORD_LIMIT)) if row else None

    def installed(self) -> Installed | None:
        row = self._one("SELECT name, slot, content FROM running")
        if row is None:
            return None
        content = decode(ComponentSet, row[2], limit=RECORD_LIMIT)
        return Installed(Running(row[0], content), row[1])

    def failed(self) -> dict[str, int]:
        """Return the sets that failed here, each with its highest failed attempt."""
        with _translated():
            return dict(self._db.execute("SELECT name, attempt FROM failed"))

    def epochs(self) -> dict[str, int]:
        """Return the lowest epoch that each component may have."""
        with _translated():
            return dict(self._db.execute("SELECT component, floor FROM epochs"))

    def last_outcome(self) -> Event | None:
        text = self._meta("outcome")
        return _readable(text.encode()) if text else None

    def make_reserve(self) -> None:
        """Keep room back for the states of a deployment that is about to begin."""
        reserve.make(self._reserve)

    def enter(self, record: Record, events: Iterable[Event] = ()) -> None:
        """Store the record, what follows from it, and its events, all or nothing.

        On a full disk that takes the reserve.
        """
        kept = tuple(events)
        try:
            self._enter(record, kept)
        except JournalUnavailable:
            if not reserve.spend(self._reserve):
                raise
            self._enter(record, kept)

    def _enter(self, record: Record, events: Iterable[Event]) -> None:
        follows = consequences(record)
        with self._transaction():
            if follows.over:
                self._db.execute("DELETE FROM record")
            else:
                document = encode(journaled(record))
                self._db.execute("INSERT OR REPLACE INTO record VALUES (1, ?)", (document,))
            if follows.running:
                self._store_running(follows.running, record.slot)
            if follows.installed or follows.artifact_name:
                self._store_provides(follows)
            if follows.failed:
                self._store_failed(*follows.failed)
            for event in events:
                self._append(event)

    def provides(self) -> Mapping[str, str]:
        """Return what the installed artifacts of Mender's format provide, `artifact_name` first
        of all. Empty when none was ever installed."""
        document = (self._meta("provides") or "{}").encode()
        return {str(key): str(value) for key, value in parse(document, limit=RECORD_LIMIT).items()}

    def standalone(self) -> bytes | None:
        """Return the record of the installation by hand that is at work, if there is one."""
        text = self._meta("standalone")
        return text.encode() if text else None

    def keep_standalone(self, document: bytes, provides: Mapping[str, str] | None = None) -> None:
        """Store that record, and what the device provides from now on, all or nothing."""
        with self._transaction():
            self._put("standalone", document.decode())
            if provides is not None:
                self._put("provides", canonical(dict(provides)).decode())

    def drop_standalone(self, provides: Mapping[str, str] | None = None) -> None:
        """The installation by hand is over. Again: no effect."""
        with self._transaction():
            self._db.execute("DELETE FROM meta WHERE name = 'standalone'")
            if provides is not None:
                self._put("provides", canonical(dict(provides)).decode())

    def raise_epochs(self, epochs: dict[str, int]) -> None:
        """Never accept a component of a lower epoch again. Lower floors are ignored."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO epochs VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET floor = max(floor, excluded.floor)",
                epochs.items(),
            )

    def refuse(self, reason: str, event: Event) -> None:
        """Queue a refusal's event, unless the same `reason` was queued before."""
        with self._transaction():
            known = self._db.execute("SELECT 1 FROM refusals WHERE name = ?", (reason,)).fetchone()
            if known:
                return
            self._db.execute("INSERT INTO refusals VALUES (?)", (reason,))
            self._db.execute(
                "DELETE FROM refusals WHERE rowid <= (SELECT max(rowid) FROM refusals) - ?",
                (MAX_REFUSALS,),
            )
            self._append(event)

    def batch(self, *, room: int) -> Batch:
        """Return the next report's number and events: the oldest, at most `room` bytes of them.

        The same again until `acknowledge`, whatever was queued since: the gateway may have it.
        An event that cannot be read is left out, and goes with the others.
        """
        with self._transaction():
            seq = int(self._meta("seq") or "1")
            through = self._meta("sent")
            if through is None:
                through = str(self._fit(room))
                self._put("sent", through)
            rows = self._db.execute(
                "SELECT document FROM outbox WHERE place <= ? ORDER BY place", (int(through),)
            ).fetchall()
        events = (_readable(row[0]) for row in rows)
        return Batch(seq, int(through), tuple(event for event in events if event))

    def acknowledge(self, batch: Batch, *, last: int) -> None:
        """Delete the batch's events. `last` is the highest number that the gateway knows."""
        with self._transaction():
            self._db.execute("DELETE FROM outbox WHERE place <= ?", (batch.through,))
            self._db.execute("DELETE FROM meta WHERE name = 'sent'")
            self._put("seq", str(max(batch.seq, last) + 1))

    def pending(self) -> int:
        """Return how many events wait to be reported."""
        row = self._one("SELECT count(*) FROM outbox")
        return int(row[0]) if row else 0

    def remember(self, **values: str) -> None:
        """Keep small facts between polls: `poll` (seconds), `heartbeat` (a time), `enrolled`."""
        with self._transaction():
            for name, value in values.items():
                self._put(f"note:{name}", value)

    def forget(self, name: str) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM meta WHERE name = ?", (f"note:{name}",))

    def recall(self, name: str) -> str | None:
        return self._meta(f"note:{name}")

    def recall_time(self, name: str) -> datetime | None:
        text = self.recall(name)
        return utc(text) if text else None

    def remember_time(self, name: str, time: datetime) -> None:
        self.remember(**{name: utc_text(time)})

    def _check(self, path: Path) -> None:
        try:
            self.record()
            self.installed()
        except Refusal as error:
            self.close()
            raise JournalDamaged(f"{path}: {error}") from error

    def _migrate(self, id: str) -> None:
        if self._db.execute("PRAGMA user_version").fetchone()[0] >= SCHEMA_VERSION:
            return  # without a lock: whoever only looks must not wait for a writer
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    self._db.execute(statement)
            if version == 0:
                self._put("journal", id)
            if version < SCHEMA_VERSION:
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _store_running(self, running: Running, slot: str | None) -> None:
        installed = self.installed()  # without a new rootfs, the slot stays what it was
        kept = slot if slot is not None else installed.slot if installed else ""
        self._db.execute(
            "INSERT OR REPLACE INTO running VALUES (1, ?, ?, ?)",
            (running.set, kept, encode(running.content)),
        )

    def _store_provides(self, follows: Consequences) -> None:
        from device_agent.artifact.provides import NAME, provides_after

        provides = self.provides()
        for contents in follows.installed:
            provides = provides_after(contents, provides)
        if follows.artifact_name:
            provides = {**provides, NAME: follows.artifact_name}
        self._put("provides", canonical(dict(provides)).decode())

    def _store_failed(self, name: str, attempt: int) -> None:
        self._db.execute(
            "INSERT INTO failed VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET attempt = max(attempt, excluded.attempt)",
            (name, attempt),
        )
        self._db.execute(
            "DELETE FROM failed WHERE rowid <= (SELECT max(rowid) FROM failed) - ?", (MAX_FAILED,)
        )

    def _append(self, event: Event) -> None:
        document = encode(event)
        self._db.execute(
            "INSERT INTO outbox (kind, document) VALUES (?, ?)", (event.kind, document)
        )
        if event.kind is EventKind.FINISHED:
            self._put("outcome", document.decode())
        most = MAX_STATE_EVENTS if event.kind is EventKind.STATE else MAX_OTHER_EVENTS
        self._db.execute(
            "DELETE FROM outbox WHERE kind = ? AND place NOT IN"
            " (SELECT place FROM outbox WHERE kind = ? ORDER BY place DESC LIMIT ?)",
            (event.kind, event.kind, most),
        )

    def _fit(self, room: int) -> int:
        """Return the place of the last event that fits; the first one always does."""
        through = used = 0
        for place, size in self._db.execute(
            "SELECT place, length(document) + 1 FROM outbox ORDER BY place"
        ):
            used += size
            if used > room and through:
                break
            through = place
        return through

    def _meta(self, name: str) -> str | None:
        row = self._one("SELECT value FROM meta WHERE name = ?", name)
        return str(row[0]) if row else None

    def _put(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _one(self, query: str, *values: str) -> tuple[Any, ...] | None:
        with _translated():
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
            return row

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def open_journal(path: Path, *, id: str) -> tuple[Journal, str | None]:
    """Return the journal, and what was wrong with the damaged one that it replaces, if any.

    The damaged file is kept beside it under `.damaged`, for a person to look at. The device then
    does not know what it runs; the next poll converges it again. Raises JournalUnavailable.
    """
    try:
        return Journal(path, id=id), None
    except JournalDamaged as error:
        with _translated():
            path.replace(path.with_name(path.name + ".damaged"))
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        return Journal(path, id=id), str(error)


def _readable(document: bytes) -> Event | None:
    """Return the event, None for one with words that only a newer agent knew, before a rollback."""
    try:
        return decode(Event, document)
    except Refusal as error:
        log.warning("an event is dropped, it cannot be read: %s", error)
        return None


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn SQLite's errors into what the caller should do about them."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        raise JournalUnavailable(f"the journal cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise JournalDamaged(f"the journal is damaged: {error}") from error
