"""The status document: what it says of a device, new, at work, held back or damaged."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.record import Problem, Record
from device_agent.core.states import State
from device_agent.journal import Journal
from device_agent.status import (
    INHIBITED,
    LIMIT,
    About,
    look,
    no_status,
    status_document,
    to_bytes,
)
from schemas.wire.decode import to_json
from schemas.wire.report import FailureClass, Outcome
from tests.support.agent_fakes import MODULE, ROOTFS, a_record
from tests.support.documents import NOW

ABOUT = About("kiosk-0001", "fleetcd-agent/1", daemon=True)
NEW_DEVICE = {
    "version": 1,
    "daemon": True,
    "name": "kiosk-0001",
    "agent": "fleetcd-agent/1",
    "fleet": None,
    "state": "idle",
    "running": None,
    "slot": {"running": "a", "primary": "a", "trial": None},
    "deployment": None,
    "lastOutcome": None,
    "failed": {},
    "unreported": 0,
    "timestampVersion": 0,
    "staleSince": None,
    "inhibited": None,
    "trouble": None,
    "byHand": None,
    "artifact": None,
    "updatedAt": "2026-11-24T06:00:00Z",
}


class Device:
    """A journal and a bootloader, and the document that they make."""

    def __init__(self, root: Path) -> None:
        boot(root)
        self.loader = FileBootloader(root)
        self.path = root / "journal.db"
        self.journal = Journal(self.path, id="0" * 32)

    def works_on(self, record: Record) -> None:
        self.journal.enter(record)

    @property
    def document(self) -> dict[str, Any]:
        status = status_document(ABOUT, self.journal, self.loader.facts(), NOW)
        shown: dict[str, Any] = json.loads(to_bytes(status))
        return shown


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_new_device_has_every_field_and_nothing_to_say(device: Device) -> None:
    assert device.document == {**NEW_DEVICE, "updatedAt": f"{NOW:%Y-%m-%dT%H:%M:%SZ}"}


def test_what_the_published_tree_said_last_is_shown(device: Device) -> None:
    device.journal.remember(fleet="kiosks", timestamp="7")
    device.journal.remember_time("stale", NOW - timedelta(hours=1))
    shown = device.document
    assert (shown["fleet"], shown["timestampVersion"]) == ("kiosks", 7)
    assert shown["staleSince"] == f"{NOW - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"


def test_a_deployment_at_work_is_shown_with_what_it_waits_for(device: Device) -> None:
    device.works_on(a_record(MODULE, state=State.REBOOT_WAIT, waiting="held: audit"))
    shown = device.document
    assert shown["state"] == "reboot-wait"
    assert shown["deployment"] == {
        "set": a_record(MODULE).set,
        "content": to_json(a_record(MODULE).content),
        "state": "reboot-wait",
        "rollout": "r-8be01aa2",
        "attempt": 1,
        "waiting": "held: audit",
        "problem": None,
    }


def test_a_deployments_problem_is_shown(device: Device) -> None:
    problem = Problem(Outcome.FAILED, FailureClass.HEALTHCHECK, "the till is silent")
    device.works_on(a_record(MODULE, state=State.ROLLBACK, problem=problem))
    shown = device.document["deployment"]["problem"]
    assert shown["message"] == "the till is silent"
    assert (shown["verdict"], shown["failure"]) == ("failed", "healthcheck")


def test_what_runs_is_shown_set_by_set_and_component_by_component(device: Device) -> None:
    record = a_record(ROOTFS, slot="a", state=State.FINISH)
    device.works_on(record)
    running = device.document["running"]
    assert running["set"] == record.set
    assert running["content"]["components"]["os"]["release"] == "kiosk-os@2"


def test_what_was_committed_in_the_other_slot_does_not_run(device: Device) -> None:
    device.works_on(a_record(ROOTFS, slot="b", state=State.FINISH))
    assert device.document["running"] is None


def test_a_set_that_failed_is_shown(device: Device) -> None:
    problem = Problem(Outcome.FAILED, FailureClass.INSTALL, "no")
    device.works_on(a_record(MODULE, state=State.IDLE, problem=problem))
    assert device.document["failed"] == {a_record(MODULE).set: 1}


def test_the_owners_word_is_shown(device: Device) -> None:
    device.journal.remember(**{INHIBITED: "inhibited by kiosk: busy"})
    assert device.document["inhibited"] == "inhibited by kiosk: busy"


def test_the_document_is_one_line(device: Device) -> None:
    status = status_document(ABOUT, device.journal, device.loader.facts(), NOW)
    assert to_bytes(status).count(b"\n") == 1


def test_a_document_that_is_too_long_says_so_in_its_place(device: Device) -> None:
    status = status_document(ABOUT, device.journal, device.loader.facts(), NOW)
    line = to_bytes(replace(status, failed={f"s-{number}": 1 for number in range(20_000)}))
    assert len(line) < LIMIT
    assert "fleetcd-agent show" in json.loads(line)["error"]


def test_the_reason_why_there_is_no_status_is_cut() -> None:
    line = to_bytes(no_status(ABOUT, ValueError("x" * LIMIT), NOW))
    assert len(line) < 2000


def test_the_status_is_read_from_the_journals_file(device: Device) -> None:
    device.works_on(a_record(MODULE))
    status = look(ABOUT, device.path, device.loader.facts, NOW)
    assert json.loads(to_bytes(status))["state"] == "download"


def test_a_journal_that_cannot_be_read_is_an_answer_too(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"no journal " * 1000)
    shown = json.loads(to_bytes(look(ABOUT, path, FileBootloader(tmp_path).facts, NOW)))
    assert "damaged" in shown["error"]
    assert (shown["name"], shown["version"]) == ("kiosk-0001", 1)
