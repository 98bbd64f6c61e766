"""Reports: sent until acknowledged, in batches that fit, and never in anybody's way."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from device_agent.errors import TransientError
from device_agent.journal import Journal
from device_agent.ports import Answer
from device_agent.reporter import ENROL_PATH, NONCE_PATH, REPORT_PATH, Introduction, Reporter, Sent
from schemas.wire.decode import decode, encode
from schemas.wire.report import (
    REPORT_LIMIT,
    EnrolReply,
    EnrolRequest,
    EnrolState,
    Event,
    EventKind,
    Heartbeat,
    NonceReply,
    Report,
    ReportReply,
    SequenceConflict,
)
from tests.support.agent_fakes import MODULE, FakeClock, a_record, ids
from tests.support.documents import KEY, NOW, REPORT

JOURNAL = "00112233445566778899aabbccddeeff"
HEARTBEAT: Heartbeat = REPORT.heartbeat or Heartbeat(None, None, None, "idle", 0, True, "", "")
NEW_ID = ids()


class PlainIdentity:
    """Signs nothing: the payload is the body, in front of which its type is written."""

    key_id = KEY
    public_key_der = b"a public key"

    def sign(self, payload: bytes, typ: str) -> str:
        return f"{typ} {payload.decode()}"


ENROL_STATUS = {
    EnrolState.ACCEPTED: 200,
    EnrolState.PENDING: 202,
    EnrolState.REJECTED: 403,
    EnrolState.CONFLICT: 409,
}


@dataclass
class FakeGateway:
    """Takes reports as the real one does; `script` answers go first. `away` raises."""

    last_seq: int = 0
    state: EnrolState = EnrolState.ACCEPTED
    script: list[Answer] = field(default_factory=list)
    away: bool = False
    lose_answers: int = 0
    reports: list[Report] = field(default_factory=list)
    enrolments: list[EnrolRequest] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def get(self, path: str) -> Answer:
        self._reach()
        assert path == NONCE_PATH
        return Answer(200, encode(NonceReply("n-1", 1_795_503_600)))

    def post(self, path: str, body: bytes) -> Answer:
        self._reach()
        self.bodies.append(body)
        payload = body.partition(b" ")[2]
        if path == ENROL_PATH:
            self.enrolments.append(decode(EnrolRequest, payload))
            return Answer(ENROL_STATUS[self.state], encode(EnrolReply(self.state)))
        assert path == REPORT_PATH
        report = decode(Report, payload)
        if self.script:
            self.reports.append(report)
            return self.script.pop(0)
        if report.seq <= self.last_seq:
            return Answer(409, encode(SequenceConflict(report.journal, self.last_seq)))
        self.reports.append(report)
        self.last_seq = report.seq
        if self.lose_answers:
            self.lose_answers -= 1
            raise TransientError("the connection broke")
        return Answer(200, encode(ReportReply(report.seq)))

    def _reach(self) -> None:
        if self.away:
            raise TransientError("no route to host")

    @property
    def received(self) -> list[str]:
        return [event.id for report in self.reports for event in report.events]


class Desk:
    def __init__(self, root: Path) -> None:
        self.journal = Journal(root / "journal.db", id=JOURNAL)
        self.gateway = FakeGateway()
        self.reporter = Reporter(
            self.journal,
            self.gateway,
            PlainIdentity(),
            FakeClock(),
            Introduction("kiosk-0001", {"hardware": "x86"}),
        )

    def queue(self, number: int = 1, message: str | None = None) -> list[str]:
        events = [
            Event(NEW_ID(), EventKind.FINISHED, NOW, "1", message=message) for _ in range(number)
        ]
        self.journal.enter(a_record(MODULE), events)
        return [event.id for event in events]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_new_device_enrols_with_a_nonce_and_then_reports(desk: Desk) -> None:
    queued = desk.queue()
    assert desk.reporter.send(HEARTBEAT) is Sent.ALL
    (request,) = desk.gateway.enrolments
    assert (request.name, request.nonce, request.facts) == (
        "kiosk-0001",
        "n-1",
        {"hardware": "x86"},
    )
    assert desk.gateway.received == queued


def test_an_enrolled_device_does_not_ask_again(desk: Desk) -> None:
    desk.reporter.send(HEARTBEAT)
    desk.reporter.send(HEARTBEAT)
    assert len(desk.gateway.enrolments) == 1


@pytest.mark.parametrize("state", [EnrolState.PENDING, EnrolState.REJECTED, EnrolState.CONFLICT])
def test_a_device_that_is_not_accepted_keeps_its_events_and_asks_again(
    desk: Desk, state: EnrolState
) -> None:
    desk.queue()
    desk.gateway.state = state
    assert desk.reporter.send(HEARTBEAT) is Sent.NOT_ACCEPTED
    assert desk.journal.pending() == 1
    desk.gateway.state = EnrolState.ACCEPTED
    assert desk.reporter.send(HEARTBEAT) is Sent.ALL


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(403, b"{}"), id="not accepted any more"),
        pytest.param(Answer(401, b'{"title":"this key is not enrolled"}'), id="forgotten"),
    ],
)
def test_a_device_that_was_thrown_out_enrols_again(desk: Desk, answer: Answer) -> None:
    desk.reporter.send(HEARTBEAT)
    desk.gateway.script = [answer]
    assert desk.reporter.send(HEARTBEAT) is Sent.NOT_ACCEPTED
    assert desk.reporter.send(HEARTBEAT) is Sent.ALL
    assert len(desk.gateway.enrolments) == 2


def test_events_are_deleted_only_when_acknowledged(desk: Desk) -> None:
    desk.queue(3)
    desk.gateway.away = True
    assert desk.reporter.send(HEARTBEAT) is Sent.LATER
    assert desk.journal.pending() == 3
    desk.gateway.away = False
    assert desk.reporter.send(HEARTBEAT) is Sent.ALL
    assert desk.journal.pending() == 0


def test_a_report_whose_answer_was_lost_is_not_told_twice_nor_lost(desk: Desk) -> None:
    desk.reporter.send(None)
    first = desk.queue(2)
    desk.gateway.lose_answers = 1
    assert desk.reporter.send(None) is Sent.LATER
    second = desk.queue(1)
    assert desk.reporter.send(None) is Sent.ALL
    assert desk.gateway.received == [*first, *second]
    assert desk.journal.pending() == 0


def test_a_clock_that_is_off_is_answered_with_the_gateways_nonce_and_time(desk: Desk) -> None:
    desk.reporter.send(None)
    desk.queue()
    desk.gateway.script = [Answer(401, encode(NonceReply("n-2", 1_800_000_000)))]
    assert desk.reporter.send(None) is Sent.ALL
    last = desk.gateway.reports[-1]
    assert (last.nonce, last.iat, last.exp) == ("n-2", 1_800_000_000, 1_800_000_120)


def test_a_gateway_that_does_not_know_the_journal_gets_its_nonce_back(desk: Desk) -> None:
    desk.queue()
    stranger = SequenceConflict("f" * 32, 7, "n-3")
    desk.gateway.script = [Answer(409, encode(stranger))]
    assert desk.reporter.send(None) is Sent.ALL
    assert desk.gateway.reports[-1].nonce == "n-3"


@pytest.mark.parametrize("status", [401, 409])
def test_a_gateway_that_keeps_asking_for_nonces_is_not_humoured(desk: Desk, status: int) -> None:
    desk.queue()
    bodies = {401: encode(NonceReply("n", 1)), 409: encode(SequenceConflict(None, 0, "n"))}
    desk.gateway.script = [Answer(status, bodies[status])] * 5
    assert desk.reporter.send(None) is Sent.LATER
    assert len(desk.gateway.reports) == 2
    assert desk.journal.pending() == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(200, b"<html>"), id="a web page"),
        pytest.param(Answer(500, b""), id="an error"),
        pytest.param(Answer(413, b"{}"), id="refused"),
        pytest.param(Answer(302, b""), id="a redirect"),
    ],
)
def test_an_answer_that_is_none_changes_nothing(desk: Desk, answer: Answer) -> None:
    desk.queue()
    desk.gateway.script = [answer]
    assert desk.reporter.send(HEARTBEAT) is Sent.LATER
    assert desk.journal.pending() == 1


def test_reports_are_split_so_that_each_fits(desk: Desk) -> None:
    queued = desk.queue(40, message="ä" * 1000)
    assert desk.reporter.send(HEARTBEAT) is Sent.ALL
    assert desk.gateway.received == queued
    assert len(desk.gateway.reports) > 5
    assert all(len(body) * 4 / 3 < REPORT_LIMIT for body in desk.gateway.bodies)


def test_a_heartbeat_that_is_too_large_leaves_out_what_is_nice_to_have(desk: Desk) -> None:
    large = replace(HEARTBEAT, facts={f"fact{number}": "x" * 100 for number in range(200)})
    assert desk.reporter.send(large) is Sent.ALL
    beat = desk.gateway.reports[-1].heartbeat
    assert beat is not None
    assert (beat.facts, beat.set) == ({}, large.set)


def test_a_gateway_that_forgot_gets_a_heartbeat_with_the_last_outcome(desk: Desk) -> None:
    desk.queue(30, message="x" * 1000)
    desk.reporter.send(None)
    desk.queue()
    desk.gateway.script = [Answer(200, encode(ReportReply(10**6, resync=True)))]
    large = replace(HEARTBEAT, facts={"note": "x" * 11_000})
    assert desk.reporter.send(large) is Sent.ALL
    assert any(report.heartbeat for report in desk.gateway.reports[-2:])


def test_numbers_rise_by_one_with_each_report(desk: Desk) -> None:
    for _ in range(3):
        desk.reporter.send(HEARTBEAT)
    assert [report.seq for report in desk.gateway.reports] == [1, 2, 3]


def test_what_is_signed_is_the_whole_report_with_its_type(desk: Desk) -> None:
    desk.reporter.send(HEARTBEAT)
    kind, _, payload = desk.gateway.bodies[-1].partition(b" ")
    assert kind == b"fleetcd-report+jws"
    assert json.loads(payload)["iss"] == KEY
