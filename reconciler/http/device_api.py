"""The three calls of devices, as plain Starlette routes: GET nonce, POST enrol, POST report."""

import asyncio
import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from reconciler.errors import Unavailable
from reconciler.http.batches import Batcher
from reconciler.http.bodies import BODY_TIMEOUT
from reconciler.http.metrics import Metrics
from reconciler.http.problems import RETRY_AFTER, problem
from reconciler.http.rates import RateLimit
from reconciler.http.reports import Answer, ReportDesk
from schemas.wire.decode import encode
from schemas.wire.report import REPORT_LIMIT

MEDIA_TYPE = "application/jose"


class DeviceApi:
    """`enrolments` limits requests to be enrolled by peer address."""

    def __init__(self, desk: ReportDesk, metrics: Metrics, enrolments: RateLimit) -> None:
        self._desk, self._metrics, self._enrolments = desk, metrics, enrolments
        self._batches: Batcher[bytes, Answer] = Batcher(desk.take)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/nonce", self._nonce, methods=["GET"]),
            Route("/v1/enrol", self._enrol, methods=["POST"]),
            Route("/v1/report", self._report, methods=["POST"]),
        ]

    async def _nonce(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's signature
        return Response(encode(self._desk.nonce()), media_type="application/json")

    async def _enrol(self, request: Request) -> Response:
        peer = request.client.host if request.client else ""
        if not self._enrolments.allow(peer, time.monotonic()):
            answer = Answer(429, "rate", "too many requests to be enrolled from this address")
            return self._respond("enrol", answer)
        body = await _body(request)
        if isinstance(body, Answer):
            return self._respond("enrol", body)
        return self._respond("enrol", await run_in_threadpool(self._desk.enrol, body))

    async def _report(self, request: Request) -> Response:
        body = await _body(request)
        if isinstance(body, Answer):
            return self._respond("report", body)
        try:
            answer = await self._batches.submit(body)
        except Unavailable:
            self._metrics.count("report", "unavailable")
            raise
        return self._respond("report", answer)

    def _respond(self, call: str, answer: Answer) -> Response:
        self._metrics.count(call, answer.reason)
        if isinstance(answer.document, str):
            headers = {"Retry-After": str(RETRY_AFTER)} if answer.status == 429 else None
            return problem(answer.status, answer.document, headers)
        return Response(encode(answer.document), answer.status, media_type="application/json")


async def _body(request: Request) -> bytes | Answer:
    """Return the body, having read no more than REPORT_LIMIT bytes of it, or why not."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        return Answer(415, "media_type", f"Content-Type is {MEDIA_TYPE}")
    length = request.headers.get("content-length", "0")
    too_long = Answer(413, "length", f"at most {REPORT_LIMIT} bytes are accepted")
    if not length.isdecimal() or int(length) > REPORT_LIMIT:
        return too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > REPORT_LIMIT:
                    return too_long
    except TimeoutError:
        return Answer(408, "timeout", f"the body took longer than {BODY_TIMEOUT} seconds")
    except ClientDisconnect:
        return Answer(400, "disconnected", "the body ended early")
    return bytes(body)
