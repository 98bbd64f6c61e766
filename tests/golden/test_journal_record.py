"""The journal's record is pinned: an older agent must be able to read it after a rollback."""

import json
from dataclasses import replace
from pathlib import Path

from device_agent.core.component import Contents, RebootNeed
from device_agent.core.record import Problem, Record
from device_agent.core.states import State
from schemas.wire.decode import decode, to_json
from schemas.wire.report import FailureClass, Outcome
from tests.support.agent_fakes import MODULE, ROOTFS, a_record

GOLDEN = Path(__file__).with_name("journal_record.json")
FIRST = Path(__file__).with_name("journal_record_first.json")  # before `.mender` artifacts

RECORD = a_record(
    ROOTFS,
    MODULE,
    state=State.ROLLBACK,
    boot_id="00112233445566778899aabbccddeeff",
    begun=2,
    entries=11,
    tries=1,
    reboots={"os": RebootNeed.AGENT},
    problem=Problem(Outcome.FAILED, FailureClass.HEALTHCHECK, "systemd:kiosk.service: inactive"),
    inconsistent=("app",),
    waiting="the published tree cannot be asked",
    stop_before=State.COMMIT,
    contents={"app": Contents("app-2", "kiosks", ("files",), {"files.version": "2"}, ("files.*",))},
    aftermath=("app was not rolled back: exited with status 1",),
    rollback_reboots=1,
)


def test_the_record_is_written_as_pinned() -> None:
    written = json.dumps(to_json(RECORD), indent=2, sort_keys=True) + "\n"
    assert GOLDEN.read_text(encoding="utf-8") == written


def test_the_pinned_record_is_read() -> None:
    assert decode(Record, GOLDEN.read_bytes()) == RECORD


def test_the_first_agents_record_is_read() -> None:
    record = decode(Record, FIRST.read_bytes())
    assert record == replace(RECORD, contents={}, aftermath=(), rollback_reboots=0)


def test_a_newer_agents_record_is_read() -> None:
    newer = json.loads(GOLDEN.read_text(encoding="utf-8")) | {"invented": {"later": True}}
    assert decode(Record, json.dumps(newer).encode()) == RECORD
