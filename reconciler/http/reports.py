"""The desk that takes reports and requests to be enrolled: bytes in, an answer out. Synchronous."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.domain.devices import Candidate, Device
from reconciler.domain.ingest import Receipt, Submission, Verdict
from reconciler.domain.text import printable
from reconciler.http.jws import Envelope, JwsRefused, device_key, open_envelope, verify
from reconciler.http.nonces import ENROL, NonceMint
from reconciler.http.ports import DeviceStore, Identity, NonceSpent, PendingFull
from schemas.refusal import Refusal
from schemas.wire.decode import decode, parse
from schemas.wire.report import (
    ENROL_AUDIENCE,
    ENROL_TYPE,
    MAX_LIFETIME,
    MAX_SKEW,
    REPORT_AUDIENCE,
    REPORT_LIMIT,
    REPORT_TYPE,
    EnrolReply,
    EnrolRequest,
    EnrolState,
    NonceReply,
    Report,
    ReportReply,
    SequenceConflict,
)

MAX_DETAIL = 500  # characters of a refusal that are sent back

Document = EnrolReply | NonceReply | ReportReply | SequenceConflict

_ENROL_STATUS = {
    EnrolState.ACCEPTED: 200,
    EnrolState.PENDING: 202,
    EnrolState.REJECTED: 403,
    EnrolState.CONFLICT: 409,
}
_NOT_ACCEPTED = "this device is not accepted: ask with POST /v1/enrol"
_ENROL_MESSAGE = {
    EnrolState.ACCEPTED: "",
    EnrolState.PENDING: "waiting for a person, or for Git to list this key",
    EnrolState.REJECTED: "rejected by an operator",
    EnrolState.CONFLICT: "the name belongs to another key, which an operator would have to reject",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`reason` is one of few words, for counting; `document` the body, or what is wrong as text."""

    status: int
    reason: str
    document: Document | str


class ReportDesk:
    """Verifies what devices sign and hands it to the store."""

    def __init__(
        self,
        store: DeviceStore,
        mint: NonceMint,
        clock: Callable[[], datetime],
        *,
        max_pending: int,
    ) -> None:
        self._store, self._mint, self._clock = store, mint, clock
        self._max_pending = max_pending

    def nonce(self) -> NonceReply:
        return self._fresh(ENROL, self._clock())

    def take(self, bodies: Sequence[bytes]) -> tuple[Answer, ...]:
        """Answer reports, in order; those that are accepted are durable on return."""
        now = self._clock()
        opened = [_opened(body, REPORT_TYPE) for body in bodies]
        kids = {each.kid for each in opened if isinstance(each, Envelope)}
        identities = self._store.identities(kids)
        checked = [self._checked(each, identities, now) for each in opened]
        submissions = [each for each in checked if isinstance(each, Submission)]
        receipts = iter(self._store.ingest(submissions, now) if submissions else ())
        return tuple(
            self._answer(each, next(receipts), now) if isinstance(each, Submission) else each
            for each in checked
        )

    def _checked(
        self, opened: Envelope | Answer, identities: Mapping[str, Identity], now: datetime
    ) -> Submission | Answer:
        if isinstance(opened, Answer):
            return opened
        identity = identities.get(opened.kid)
        if identity is None or identity.public_key is None:
            return Answer(403, "unknown", _NOT_ACCEPTED)
        try:
            verify(opened, device_key(identity.public_key))
            report = decode(Report, opened.payload, limit=REPORT_LIMIT)
        except JwsRefused as error:
            return Answer(error.status, error.reason, error.message)
        except Refusal as error:
            return _malformed(error, opened.payload, REPORT_AUDIENCE)
        return self._timed(report, opened.kid, now)

    def _timed(self, report: Report, kid: str, now: datetime) -> Submission | Answer:
        if report.iss != kid:
            return Answer(401, "issuer", "iss is not the signing key")
        if not 0 < report.exp - report.iat <= MAX_LIFETIME:
            return Answer(401, "lifetime", f"exp is 1 to {MAX_LIFETIME} seconds after iat")
        if report.nonce is not None:
            nonce = self._mint.check(report.nonce, report.iss, now)
            if nonce is None:
                return Answer(401, "nonce", self._fresh(report.iss, now))
            return Submission(report, nonce)
        seconds = now.timestamp()
        if report.iat > seconds + MAX_SKEW or report.exp < seconds - MAX_SKEW:
            return Answer(401, "clock", self._fresh(report.iss, now))
        return Submission(report)

    def _answer(self, submission: Submission, receipt: Receipt, now: datetime) -> Answer:
        key = submission.report.iss
        match receipt.verdict:
            case Verdict.TAKEN:
                return Answer(200, "accepted", ReportReply(receipt.last_seq, receipt.resync))
            case Verdict.REPEATED:
                return Answer(409, "repeated", SequenceConflict(receipt.journal, receipt.last_seq))
            case Verdict.NEW_JOURNAL:
                nonce = self._mint.mint(key, now)
                conflict = SequenceConflict(receipt.journal, receipt.last_seq, nonce)
                return Answer(409, "journal", conflict)
            case Verdict.NONCE_SPENT:
                return Answer(401, "nonce", self._fresh(key, now))
            case Verdict.NOT_ACCEPTED:
                return Answer(403, "not_accepted", _NOT_ACCEPTED)
            case Verdict.UNKNOWN:
                return Answer(403, "unknown", _NOT_ACCEPTED)

    def _fresh(self, purpose: str, now: datetime) -> NonceReply:
        return NonceReply(self._mint.mint(purpose, now), int(now.timestamp()))

    def enrol(self, body: bytes) -> Answer:
        """Answer a request to be enrolled."""
        now = self._clock()
        opened = _opened(body, ENROL_TYPE)
        if isinstance(opened, Answer):
            return opened
        try:
            request = decode(EnrolRequest, opened.payload, limit=REPORT_LIMIT)
            key = device_key(request.public_key)
            verify(opened, key)
        except JwsRefused as error:
            return Answer(error.status, error.reason, error.message)
        except Refusal as error:
            return _malformed(error, opened.payload, ENROL_AUDIENCE)
        except ValueError as error:
            return Answer(400, "key", f"publicKey: {error}")
        if not 0 < request.exp - request.iat <= MAX_LIFETIME:
            return Answer(401, "lifetime", f"exp is 1 to {MAX_LIFETIME} seconds after iat")
        nonce = self._mint.check(request.nonce, ENROL, now)
        if nonce is None:
            return Answer(401, "nonce", self._fresh(ENROL, now))
        candidate = Candidate(key.id, request.name, request.public_key)
        return self._enrolled(
            self._store.enrol(candidate, nonce, now, max_pending=self._max_pending), now
        )

    def _enrolled(self, outcome: Device | NonceSpent | PendingFull, now: datetime) -> Answer:
        match outcome:
            case NonceSpent():
                return Answer(401, "nonce", self._fresh(ENROL, now))
            case PendingFull():
                return Answer(429, "pending_full", "too many devices wait for a decision")
            case Device(state=state):
                reply = EnrolReply(state, _ENROL_MESSAGE[state])
                return Answer(_ENROL_STATUS[state], str(state), reply)


def _opened(body: bytes, typ: str) -> Envelope | Answer:
    try:
        return open_envelope(body, typ)
    except JwsRefused as error:
        return Answer(error.status, error.reason, error.message)


def _malformed(error: Refusal, payload: bytes, audience: str) -> Answer:
    """Claims for elsewhere or without bounds are no credential here (401), the rest is 400."""
    try:
        claims = parse(payload, limit=REPORT_LIMIT)
    except Refusal:
        claims = None
    if isinstance(claims, dict):
        if claims.get("aud") != audience:
            return Answer(401, "audience", f"aud is not {audience}")
        if not claims.keys() >= {"iat", "exp"}:
            return Answer(401, "lifetime", "iat and exp are required")
    return Answer(400, "format", printable(str(error), MAX_DETAIL))
