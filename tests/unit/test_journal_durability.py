"""The journal: all or nothing, bounded, readable by older agents, never a reason to brick."""

import os
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.core.record import Problem, state_event
from device_agent.core.states import State
from device_agent.journal import (
    MAX_FAILED,
    MAX_OTHER_EVENTS,
    MAX_STATE_EVENTS,
    Journal,
    JournalDamaged,
    JournalUnavailable,
    open_journal,
)
from schemas.wire.decode import encode
from schemas.wire.report import Event, EventKind, FailureClass, Outcome
from tests.support.agent_fakes import MODULE, ROOTFS, a_record, ids
from tests.support.documents import NOW

ID = "0123456789abcdef0123456789abcdef"
FAILED = Problem(Outcome.FAILED, FailureClass.INSTALL, "no")
NEW_ID = ids()


def a_journal(root: Path) -> Journal:
    return Journal(root / "journal.db", id=ID)


def an_event(kind: EventKind = EventKind.STATE) -> Event:
    return Event(id=NEW_ID(), kind=kind, at=NOW, boot_id="1", state="download")


def reported(journal: Journal) -> tuple[Event, ...]:
    return journal.batch(room=1 << 24).events


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    record = a_record(ROOTFS, MODULE, entries=3, problem=FAILED, inconsistent=("app",))
    a_journal(tmp_path).enter(record)
    assert a_journal(tmp_path).record() == record


def test_the_journal_keeps_its_id_over_restarts(tmp_path: Path) -> None:
    a_journal(tmp_path)
    assert Journal(tmp_path / "journal.db", id="f" * 32).id == ID


def test_only_its_owner_may_read_the_journal(tmp_path: Path) -> None:
    a_journal(tmp_path)
    assert stat.S_IMODE((tmp_path / "journal.db").stat().st_mode) == 0o600


def test_every_transaction_is_synced_to_the_disk(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_record_and_events_are_stored_all_or_nothing(tmp_path: Path) -> None:
    class Cut(BaseException):
        pass

    def events() -> object:
        yield an_event()
        raise Cut

    journal = a_journal(tmp_path)
    with pytest.raises(Cut):
        journal.enter(a_record(MODULE), events())  # type: ignore[arg-type]  # an iterable
    assert (journal.record(), journal.pending()) == (None, 0)


def test_idle_ends_the_record_and_leaves_the_last_word(tmp_path: Path) -> None:
    journal, record = a_journal(tmp_path), a_record(MODULE)
    journal.enter(record)
    over = replace(record, state=State.IDLE)
    word = state_event(over, NEW_ID(), NOW)
    journal.enter(over, [word])
    assert (journal.record(), journal.last_outcome(), reported(journal)) == (None, word, (word,))


def test_the_running_set_is_stored_with_the_state_after_the_commit(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    record = a_record(ROOTFS)
    journal.enter(replace(record, state=State.COMMIT))
    assert journal.installed() is None
    journal.enter(replace(record, state=State.FINISH))
    installed = journal.installed()
    assert installed
    assert (installed.running.content, installed.slot) == (record.content, "b")


def test_without_a_rootfs_the_slot_stays_what_it_was(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.enter(replace(a_record(ROOTFS), state=State.FINISH))
    journal.enter(replace(a_record(MODULE), state=State.FINISH))
    installed = journal.installed()
    assert installed
    assert installed.slot == "b"


def test_a_failed_attempt_is_remembered_by_its_highest_number(tmp_path: Path) -> None:
    journal, record = a_journal(tmp_path), a_record(MODULE, problem=FAILED)
    for attempt in (1, 3, 2):
        journal.enter(replace(record, attempt=attempt))
    assert journal.failed() == {record.set: 3}


def test_a_neutral_end_is_not_remembered(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.enter(a_record(MODULE, problem=replace(FAILED, verdict=Outcome.NEUTRAL)))
    assert journal.failed() == {}


def test_failed_sets_are_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    journal, record = a_journal(tmp_path), a_record(MODULE, problem=FAILED)
    for number in range(MAX_FAILED + 5):
        journal.enter(replace(record, set=f"{number:016x}"))
    assert len(journal.failed()) == MAX_FAILED
    assert f"{MAX_FAILED + 4:016x}" in journal.failed()


def test_the_outbox_drops_the_oldest_states_and_no_last_word_for_them(tmp_path: Path) -> None:
    journal, record = a_journal(tmp_path), a_record(MODULE)
    word = an_event(EventKind.FINISHED)
    journal.enter(record, [word])
    states = [an_event() for _ in range(MAX_STATE_EVENTS + 10)]
    journal.enter(record, states)
    assert reported(journal) == (word, *states[10:])


def test_refusals_that_nobody_hears_for_months_do_not_fill_the_disk(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    refusals = [an_event(EventKind.REFUSED) for _ in range(MAX_OTHER_EVENTS + 3)]
    journal.enter(a_record(MODULE), refusals)
    assert reported(journal) == tuple(refusals[3:])


def test_an_event_that_only_a_newer_agent_could_read_blocks_no_report(tmp_path: Path) -> None:
    journal, known = a_journal(tmp_path), an_event()
    journal.enter(a_record(MODULE), [an_event(EventKind.FINISHED), known])
    newer = encode(an_event(EventKind.FINISHED)).replace(b"finished", b"tomorrow")
    with sqlite3.connect(tmp_path / "journal.db") as database:
        database.execute("UPDATE outbox SET document = ? WHERE kind = 'finished'", (newer,))
        database.execute("UPDATE meta SET value = ? WHERE name = 'outcome'", (newer.decode(),))
    database.close()
    journal = a_journal(tmp_path)
    batch = journal.batch(room=1 << 16)
    assert batch.events == (known,)
    assert journal.last_outcome() is None
    journal.acknowledge(batch, last=batch.seq)
    assert journal.pending() == 0


def test_a_batch_is_the_same_until_it_is_acknowledged(tmp_path: Path) -> None:
    journal, record = a_journal(tmp_path), a_record(MODULE)
    journal.enter(record, [an_event()])
    first = journal.batch(room=1 << 16)
    journal.enter(record, [an_event()])
    assert a_journal(tmp_path).batch(room=1 << 16) == first
    journal.acknowledge(first, last=first.seq)
    second = journal.batch(room=1 << 16)
    assert (second.seq, len(second.events)) == (first.seq + 1, 1)


def test_a_batch_takes_as_many_events_as_there_is_room_for_and_at_least_one(
    tmp_path: Path,
) -> None:
    journal = a_journal(tmp_path)
    journal.enter(a_record(MODULE), [an_event() for _ in range(5)])
    batch = journal.batch(room=1)
    assert len(batch.events) == 1
    journal.acknowledge(batch, last=batch.seq)
    assert len(journal.batch(room=400).events) == 2


def test_a_number_that_the_gateway_has_seen_is_never_used_again(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.acknowledge(journal.batch(room=1), last=41)
    assert journal.batch(room=1).seq == 42


def test_the_same_refusal_is_queued_once(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.refuse("E_ROLLBACK: version 6", an_event(EventKind.REFUSED))
    journal.refuse("E_ROLLBACK: version 6", an_event(EventKind.REFUSED))
    journal.refuse("E_ROLLBACK: version 5", an_event(EventKind.REFUSED))
    assert journal.pending() == 2


def test_epoch_floors_only_rise(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.raise_epochs({"os": 3})
    journal.raise_epochs({"os": 2, "app": 1})
    assert journal.epochs() == {"os": 3, "app": 1}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"not a database, but long enough to be taken for one" * 20, id="no database"),
        pytest.param(b"\0" * 8192, id="zeros"),
    ],
)
def test_a_damaged_journal_is_set_aside_and_a_new_one_begun(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(content)
    journal, damage = open_journal(path, id=ID)
    assert damage
    assert journal.record() is None
    assert (tmp_path / "journal.db.damaged").read_bytes() == content


def test_a_torn_page_is_noticed_when_the_journal_is_opened(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.enter(a_record(ROOTFS), [an_event() for _ in range(50)])
    journal.close()
    path = tmp_path / "journal.db"
    data = bytearray(path.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 512] = os.urandom(512)
    path.write_bytes(data)
    with pytest.raises(JournalDamaged):
        a_journal(tmp_path)


def test_an_index_that_lost_a_row_is_noticed_when_the_journal_is_opened(tmp_path: Path) -> None:
    """Through it the journal's id would not be found any more, and no report be accepted."""
    a_journal(tmp_path).close()
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as database:
        index = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_meta_1'"
        (page,) = database.execute(index).fetchone()
    database.close()
    data = bytearray(path.read_bytes())
    start = (page - 1) * 4096
    data[start : start + 4096] = data[start : start + 4096].replace(b"journal", b"jourmal")
    path.write_bytes(data)
    with pytest.raises(JournalDamaged):
        a_journal(tmp_path)


def test_a_record_that_makes_no_sense_is_damage(tmp_path: Path) -> None:
    a_journal(tmp_path).enter(a_record(MODULE))
    with sqlite3.connect(tmp_path / "journal.db") as database:
        database.execute("UPDATE record SET document = ?", (b'{"state": "flying"}',))
    database.close()
    _, damage = open_journal(tmp_path / "journal.db", id=ID)
    assert damage and "Record" in damage


def test_a_journal_that_cannot_be_written_says_so_before_anything_is_done(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal._db.execute("PRAGMA query_only = ON")  # as a read-only disk answers, root included
    with pytest.raises(JournalUnavailable):
        journal.enter(a_record(MODULE))
    assert a_journal(tmp_path).record() is None


def test_a_newer_journal_with_more_tables_is_read(tmp_path: Path) -> None:
    a_journal(tmp_path).enter(a_record(MODULE))
    with sqlite3.connect(tmp_path / "journal.db") as database:
        database.execute("PRAGMA user_version = 99")
        database.execute("CREATE TABLE tomorrow (what TEXT)")
    database.close()
    assert a_journal(tmp_path).record() == a_record(MODULE)
