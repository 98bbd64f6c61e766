"""Sends what the journal's outbox holds, and says what runs. No report ever gates an update."""

import base64
import logging
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from device_agent.errors import TransientError
from device_agent.journal import Batch, Journal
from device_agent.ports import Answer, Clock, Gateway, Identity
from schemas.refusal import Refusal
from schemas.wire.decode import decode, encode
from schemas.wire.report import (
    ENROL_TYPE,
    MAX_LIFETIME,
    REPORT_LIMIT,
    REPORT_TYPE,
    EnrolReply,
    EnrolRequest,
    EnrolState,
    Heartbeat,
    NonceReply,
    Report,
    ReportReply,
    SequenceConflict,
)

# What POST /v1/enrol answers with an EnrolReply: accepted, pending, rejected, conflict.
ENROL_ANSWERS = frozenset({200, 202, 403, 409})
REPORT_PATH, ENROL_PATH, NONCE_PATH = "/v1/report", "/v1/enrol", "/v1/nonce"
MAX_REPORTS = 50  # of one call; the rest goes with the next
# Of the payload in bytes: base64 adds a third, header and signature about 400 bytes.
PAYLOAD_LIMIT = REPORT_LIMIT * 3 // 4 - 400
ENVELOPE = 400  # bytes of a payload that is neither heartbeat nor events

log = logging.getLogger(__name__)
Document = TypeVar("Document")


class Sent(StrEnum):
    """How a call ended. What was not acknowledged stays in the outbox."""

    ALL = "all"
    LATER = "later"  # the gateway is away, or overwhelmed
    NOT_ACCEPTED = "not accepted"  # a person has to accept this device


@dataclass(frozen=True, slots=True)
class Introduction:
    """How the device asks to be enrolled."""

    name: str
    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reporter:
    """Everything may be done twice: the gateway counts an event once, by its id."""

    journal: Journal
    gateway: Gateway
    identity: Identity
    clock: Clock
    introduction: Introduction

    def send(self, heartbeat: Heartbeat | None) -> Sent:
        """Send all events, and `heartbeat` if there is one. Raises nothing but journal errors."""
        try:
            if self.journal.recall("enrolled") is None and not self._enrol():
                return Sent.NOT_ACCEPTED
            return self._send_all(heartbeat)
        except (TransientError, Refusal) as error:
            log.warning("reports wait: %s", error)
            return Sent.LATER

    def _send_all(self, heartbeat: Heartbeat | None) -> Sent:
        due = _bounded(heartbeat) if heartbeat else None
        for _ in range(MAX_REPORTS):
            if due is None and not self.journal.pending():
                return Sent.ALL
            size = len(encode(due)) if due else 0
            batch = self.journal.batch(room=PAYLOAD_LIMIT - ENVELOPE - size)
            fits = size + sum(len(encode(event)) + 1 for event in batch.events)
            carried = due if fits <= PAYLOAD_LIMIT - ENVELOPE else None
            answer = self._deliver(self._report(batch, carried))
            if answer is None:
                return Sent.NOT_ACCEPTED
            self.journal.acknowledge(batch, last=answer.ack)
            if carried:
                due = None
            if answer.resync and heartbeat and not carried:
                due = _bounded(heartbeat)
        return Sent.LATER

    def _report(self, batch: Batch, heartbeat: Heartbeat | None) -> Report:
        return Report(
            iss=self.identity.key_id,
            aud="fleetcd-report",
            iat=0,
            exp=0,
            journal=self.journal.id,
            seq=batch.seq,
            heartbeat=heartbeat,
            events=batch.events,
        )

    def _deliver(self, report: Report) -> ReportReply | None:
        """Return the acknowledgement, None if this device is not accepted (any more).

        A nonce is asked for at most once: by a gateway that does not know the journal (409), or
        that finds our clock off (401). A 401 without one: enrol anew.
        """
        now, nonce = int(self.clock.now().timestamp()), None
        for _ in range(2):
            answer = self._post(report, now, nonce)
            match answer.status:
                case 200:
                    return decode(ReportReply, answer.body)
                case 401 if (reply := _offered_nonce(answer)) is not None:
                    now, nonce = reply.date, reply.nonce
                case 401 | 403:  # a key that the gateway does not know (any more), or refuses
                    self.journal.forget("enrolled")
                    return None
                case 409:
                    conflict = decode(SequenceConflict, answer.body)
                    if conflict.journal == report.journal and report.seq <= conflict.last_seq:
                        return ReportReply(ack=conflict.last_seq)
                    nonce = conflict.nonce
                case _:
                    break
        raise TransientError(f"the gateway answers {answer.status} to a report")

    def _post(self, report: Report, now: int, nonce: str | None) -> Answer:
        timed = replace(report, iat=now, exp=now + MAX_LIFETIME, nonce=nonce)
        body = self.identity.sign(encode(timed), REPORT_TYPE).encode()
        return self.gateway.post(REPORT_PATH, body)

    def _enrol(self) -> bool:
        reply = _answered(NonceReply, self.gateway.get(NONCE_PATH), frozenset({200}))
        request = EnrolRequest(
            aud="fleetcd-enrol",
            iat=reply.date,
            exp=reply.date + MAX_LIFETIME,
            nonce=reply.nonce,
            name=self.introduction.name,
            public_key=base64.b64encode(self.identity.public_key_der).decode(),
            facts=self.introduction.facts,
        )
        body = self.identity.sign(encode(request), ENROL_TYPE).encode()
        decision = _answered(EnrolReply, self.gateway.post(ENROL_PATH, body), ENROL_ANSWERS)
        log.info("enrolment as %s: %s %s", request.name, decision.state, decision.message)
        if decision.state is not EnrolState.ACCEPTED:
            return False
        self.journal.remember(enrolled=decision.state)
        return True


def _offered_nonce(answer: Answer) -> NonceReply | None:
    try:
        return decode(NonceReply, answer.body)
    except Refusal:
        return None


def _answered(kind: type[Document], answer: Answer, good: frozenset[int]) -> Document:
    if answer.status not in good:
        raise TransientError(f"the gateway answers {answer.status}")
    return decode(kind, answer.body)


def _bounded(heartbeat: Heartbeat) -> Heartbeat:
    """Return the heartbeat, without what is nice to have if it would not fit into a report."""
    room = PAYLOAD_LIMIT - ENVELOPE
    for smaller in (
        heartbeat,
        replace(heartbeat, facts={}),
        replace(heartbeat, facts={}, running=None, last_outcome=None),
    ):
        if len(encode(smaller)) <= room:
            return smaller
    return smaller
