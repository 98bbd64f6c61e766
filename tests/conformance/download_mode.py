"""The mode download-resume: a server abuses ranges, or goes away, while an artifact is read."""

import hashlib
import random
from dataclasses import dataclass, replace
from pathlib import Path

from device_agent.errors import TransientError, UpdateRejected
from device_agent.fetch.download import HttpArtifactSource, Patience
from device_agent.fetch.http import HttpClient
from schemas.wire.descriptor import Artifact, Encoding
from tests.conformance.case import Case, Facts, Fields, Unsupported
from tests.support.fault_server import Asked, FaultServer, Reply
from tests.support.trust_device import IMPATIENT, LOOPBACK

SIZE = 123_457  # bytes: off every block boundary
BODY = random.Random(11).randbytes(SIZE)
PART = 5  # a request brings one fifth of the body, then the connection breaks
TRIES = 10

# Ranges that the case file tells by the case's name only.
_NAMED_RANGES = {
    "NegativeRange": f"bytes 20000-10000/{SIZE}",
    "InvalidEndRange": f"bytes 1000-20o0/{SIZE}",
}


@dataclass(frozen=True, slots=True)
class _Server:
    """What is wrong with the answers to ranges. `content_range` replaces the header's value."""

    shift: int = 0
    content_range: str | None = None
    without_total: bool = False
    total: str = str(SIZE)
    end: int = SIZE - 1
    unit: str = "bytes"
    start: str | None = None
    ranges: bool = True
    breaks: int = PART
    down_for: int | None = 0  # requests that find nobody after the first one; None: for ever

    def answer(self, asked: Asked, number: int) -> Reply:
        """Answer the request `number`, which counts from 0."""
        if number and (self.down_for is None or number <= self.down_for):
            return Reply(503)
        cut = SIZE // self.breaks
        wanted = asked.headers.get("range")
        if wanted is None or not self.ranges:
            return Reply(200, BODY, cut=cut)
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) + self.shift
        headers = {"Content-Range": self._content_range(first)}
        return Reply(206, BODY[first:], headers, cut=min(cut, SIZE - first))

    def _content_range(self, first: int) -> str:
        if self.content_range is not None:
            return self.content_range
        span = f"{self.unit} {self.start or first}-{self.end}"
        return span if self.without_total else f"{span}/{self.total}"


def download_resume(case: Case, _: Path) -> tuple[Facts, Facts]:
    """Does the download end with the exact bytes?"""
    fields = case.fields()
    given, expected = fields.inner("given"), fields.inner("expected")
    success = expected.flag("success")
    server, tries = _server(given, case.name)
    for each in (given, expected, fields):
        each.end()
    return _ended(success), _ended(_downloads(server, tries))


def _ended(success: bool) -> Facts:
    return {"download": ("exact bytes" if success else "an error, no byte wrong",)}


def _server(given: Fields, name: str) -> tuple[_Server, int]:
    """Return the server that is described, and how many requests the client may make."""
    server = _Server(content_range=_NAMED_RANGES.get(name))
    changes = {
        "early_range_start": replace(server, shift=-5),
        "late_range_start": replace(server, shift=5),
        "broken_content_length": replace(server, total=str(SIZE - 1), end=SIZE - 2),
        "missing_content_length": replace(server, without_total=True),
        "no_partial_content_support": replace(server, ranges=False),
        "missing_content_range": replace(server, content_range=""),
        "garbled_content_start": replace(server, start="abc"),
        "garbled_bytes": replace(server, unit="abcde"),
        "unknown_content_length": replace(server, total="*"),
    }
    for word, changed in changes.items():
        if word in given and _true(given.text(word)):
            server = changed
    if "custom_content_range" in given:
        server = replace(server, content_range=given.text("custom_content_range").strip('"'))
    return _going_down(server, given)


def _going_down(server: _Server, given: Fields) -> tuple[_Server, int]:
    goes, returns = "server_down_after" in given, "server_up_again_after" in given
    failures, tries = given.text("server_failures", "0"), given.text("retry_download_count", "0")
    given.leave("server_down_after", "server_up_again_after")
    if not (failures.isdecimal() and tries.isdecimal()):
        raise Unsupported("server_failures and retry_download_count are numbers")
    if int(failures):
        return replace(server, breaks=int(failures)), int(tries) or TRIES
    if goes:
        server = replace(server, down_for=1 if returns else None)
    return server, int(tries) or TRIES


def _true(text: str) -> bool:
    if text not in ("true", "false"):
        raise Unsupported(f"{text!r} is neither true nor false")
    return text == "true"


def _downloads(wrong: _Server, tries: int) -> bool:
    """Download, and say whether it succeeded. Wrong bytes raise AssertionError."""
    artifact = Artifact("", hashlib.sha256(BODY).hexdigest(), SIZE, SIZE, Encoding.RAW)
    received = bytearray()
    with FaultServer(lambda _: Reply(500)) as server:
        server.route = lambda asked: wrong.answer(asked, len(server.asked) - 1)
        source = HttpArtifactSource(
            server.url,
            HttpClient(LOOPBACK, IMPATIENT),
            patience=Patience(fruitless=3, total=tries),
            sleep=lambda _: None,
            chance=random.Random(1),
        )
        try:
            for chunk in source.stream(artifact):
                received += chunk
        except (TransientError, UpdateRejected):
            assert BODY.startswith(bytes(received)), "wrong bytes were passed on"
            return False
    assert bytes(received) == BODY, "wrong bytes were passed on"
    return True
