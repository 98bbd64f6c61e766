"""The agent's polls, timed in a process that has imported no more than the daemon's loop.

`python -m tests.bench.agent_process CONFIG POLLS FULL_POLLS` prints JSON: pairs of wall and CPU
seconds of unchanged polls, of a plain conditional GET, and of full polls in a forked child.
"""

import json
import resource
import ssl
import sys
import time
from collections.abc import Callable
from http.client import HTTPSConnection
from pathlib import Path

from device_agent import app
from device_agent.daemon import TIMESTAMP, ForkedWork, Probe, Signals
from device_agent.exit_codes import ExitCode
from device_agent.fetch.url import parse_url
from device_agent.settings import Settings, load

Spent = tuple[float, float]
CHILD_WITHIN = 60.0  # seconds


def spent(work: Callable[[], object]) -> Spent:
    """Return wall and CPU seconds of `work`, its children included."""
    wall, cpu = time.perf_counter(), _cpu()
    work()
    return time.perf_counter() - wall, _cpu() - cpu


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


class PlainGet:
    """A conditional GET of the timestamp as http.client does it, a connection each."""

    def __init__(self, settings: Settings) -> None:
        self._tree = parse_url(settings.server.tree)
        self._trust = ssl.create_default_context(cafile=settings.server.ca)
        self._etag = ""

    def ask(self) -> int:
        """Return the status of the answer: 200 at first, then 304."""
        to = HTTPSConnection(self._tree.host, self._tree.port, timeout=10, context=self._trust)
        to.request("GET", f"/{TIMESTAMP}", headers={"If-None-Match": self._etag})
        answer = to.getresponse()
        answer.read()
        self._etag = answer.getheader("ETag") or ""
        to.close()
        return answer.status


def probe_of(settings: Settings) -> Probe:
    """Return a probe that has seen the tree as it is."""
    probe = Probe(app.tree(settings))
    assert probe.changed()
    probe.accept()
    return probe


def _main(config: Path, polls: int, full_polls: int) -> None:
    settings = load(config)
    probe, plain = probe_of(settings), PlainGet(settings)
    assert plain.ask() == 200
    work = ForkedWork(lambda: app.step(settings), Signals(), CHILD_WITHIN)
    found: dict[str, list[Spent]] = {"unchanged": [], "plain": [], "full": []}
    for _ in range(polls):
        found["unchanged"].append(spent(lambda: _expect(probe.changed(), False)))
        found["plain"].append(spent(lambda: _expect(plain.ask(), 304)))
    for _ in range(full_polls):
        found["full"].append(spent(lambda: _expect(work(), ExitCode.DONE)))
    print(json.dumps(found))


def _expect(found: int, wanted: int) -> None:
    assert found == wanted, found


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
