"""The first agent's journal is read without a loss, and that agent can read and go on with ours."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from device_agent.core.record import Record, journaled, restored
from device_agent.core.states import State
from device_agent.journal import SCHEMA_VERSION, Journal
from schemas.wire.decode import decode, encode
from schemas.wire.report import Event, EventKind, FailureClass, Outcome
from tests.golden import first_agent
from tests.support.agent_fakes import MODULE, ROOTFS, a_record
from tests.support.documents import NOW

STATES = (*first_agent.GOOD, *first_agent.BAD)


def opened(name: str, directory: Path) -> Journal:
    first_agent.write_journal(name, directory / "journal.db")
    return Journal(directory / "journal.db", id="f" * 32)


def a_refusal() -> Event:
    return Event(id="e" * 32, kind=EventKind.REFUSED, at=NOW, boot_id="")


@pytest.mark.parametrize("state", STATES)
def test_the_first_agent_is_described_as_it_wrote(state: str, tmp_path: Path) -> None:
    first_agent.write_journal(state, tmp_path / "journal.db")
    record, events = first_agent.documents(tmp_path / "journal.db")
    assert record
    assert encode(decode(first_agent.Record, record)) == record
    assert [encode(decode(first_agent.Event, event)) for event in events] == list(events)


@pytest.mark.parametrize("state", STATES)
def test_a_deployment_of_the_first_agent_is_read_without_a_loss(state: str, tmp_path: Path) -> None:
    first_agent.write_journal(state, tmp_path / "journal.db")
    written, events = first_agent.documents(tmp_path / "journal.db")
    assert written
    journal = Journal(tmp_path / "journal.db", id="f" * 32)
    record = journal.record()
    assert record
    assert record.state == state
    assert encode(decode(first_agent.Record, encode(record))) == written
    kept = [encode(event) for event in journal.batch(room=1 << 20).events]
    journal.close()
    assert kept == list(events)


def test_what_the_first_agent_knew_at_rest_is_known(tmp_path: Path) -> None:
    journal = opened("resting", tmp_path)
    installed, outcome = journal.installed(), journal.last_outcome()
    assert journal.id == "a1" * 16
    assert journal.record() is None
    assert installed
    assert (installed.running.set, installed.slot) == ("53bd7ab4ab2b36d8", "b")
    assert installed.running.content.id == installed.running.set
    assert journal.failed() == {"6795bfcbae849d90": 2}
    assert journal.epochs() == {"os": 3, "app": 1}
    assert outcome
    assert (outcome.outcome, outcome.failure) == (Outcome.FAILED, FailureClass.HEALTHCHECK)
    assert [journal.recall(note) for note in ("poll", "enrolled")] == ["60", "yes"]
    assert journal.recall_time("heartbeat")
    journal.close()


def test_reports_go_on_where_the_first_agent_was_interrupted(tmp_path: Path) -> None:
    """It had sent a batch that nobody has acknowledged: the same is sent again."""
    journal = opened("resting", tmp_path)
    batch = journal.batch(room=1 << 20)
    assert (batch.seq, [event.state for event in batch.events]) == (
        42,
        ["download", "install-wait", "install"],
    )
    journal.acknowledge(batch, last=42)
    rest = journal.batch(room=1 << 20)
    assert (rest.seq, len(rest.events)) == (43, 6)
    journal.close()


def test_a_refusal_that_the_first_agent_reported_is_not_reported_again(tmp_path: Path) -> None:
    journal = opened("resting", tmp_path)
    before = journal.pending()
    journal.refuse("E_COMPAT kiosk-os@3", a_refusal())
    assert journal.pending() == before
    journal.refuse("E_COMPAT kiosk-os@4", a_refusal())
    assert journal.pending() == before + 1
    journal.close()


@pytest.mark.parametrize("state", [state for state in State if state is not State.IDLE])
def test_both_agents_read_every_state_that_is_journaled(state: State, tmp_path: Path) -> None:
    record = a_record(ROOTFS, MODULE, state=state, boot_id="0" * 32, begun=1)
    journal = Journal(tmp_path / "journal.db", id="f" * 32)
    journal.enter(record)
    assert journal.record() == record
    journal.close()
    document, _ = first_agent.documents(tmp_path / "journal.db")
    assert document
    assert decode(first_agent.Record, document).begun == 1


def test_a_state_that_only_a_newer_agent_knows_is_the_one_it_stands_beside() -> None:
    written = encode(journaled(a_record(ROOTFS, state=State.MODULES_DOWNLOAD)))
    newer = written.replace(b'"exactState":"modules-download"', b'"exactState":"modules-wait"')
    assert newer != written
    assert restored(decode(Record, newer)).state is State.VERIFY_REBOOT


@pytest.mark.parametrize("statement", first_agent.STATEMENTS, ids=lambda one: str(one[0])[:40])
def test_the_first_agents_statements_run_on_a_journal_of_today(
    statement: tuple[str, tuple[str | int | bytes, ...]], tmp_path: Path
) -> None:
    Journal(tmp_path / "journal.db", id="f" * 32).close()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as today:
        today.execute(*statement)


def test_the_first_agent_changes_no_journal_of_today() -> None:
    assert SCHEMA_VERSION >= first_agent.SCHEMA_VERSION
