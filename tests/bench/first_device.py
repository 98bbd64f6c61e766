"""How long it takes from a pushed commit to the first device that begins to install it.

A whole installation on loopback, as the demo has it: the repository is a local one, so the push is
noticed at once; over the network a poll of the Git host (`git.poll`) comes first.
"""

import json
import re
import sqlite3
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.demo.stack import Stack, wait_until
from schemas.wire.status import Phase
from tests.bench.figures import Figure, Scale

DEVICES = {Scale.FULL: 4, Scale.TINY: 2}
REPEATS = {Scale.FULL: 7, Scale.TINY: 1}
PATIENCE = 90.0  # seconds until a version runs everywhere
LOOK = 0.005  # seconds between looks at the journals: how exact the last part is
SCRAPES = 7
POLL = "devices poll every 2 s"  # reconciler/demo/stack.py

_GOOD_AGE = re.compile(r"^fleetcd_commit_good_age_seconds (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Journey:
    """Seconds since the epoch."""

    pushed: float
    seen: float
    published: float
    begun: float


def first_device(scale: Scale, directory: Path) -> tuple[Figure, ...]:
    """Push versions one after the other, each when the one before runs everywhere."""
    with Stack(directory / "stack", devices=DEVICES[scale]) as stack:
        _begin(stack)
        journeys = [_journey(stack, str(number)) for number in range(2, 2 + REPEATS[scale])]
    parts = {
        "push returned to commit seen": tuple(j.seen - j.pushed for j in journeys),
        "commit seen to manifest published": tuple(j.published - j.seen for j in journeys),
        f"published to first device begins ({POLL})": tuple(
            j.begun - j.published for j in journeys
        ),
        "push returned to first device begins": tuple(j.begun - j.pushed for j in journeys),
    }
    return tuple(Figure(name, "s", seconds) for name, seconds in parts.items())


def _begin(stack: Stack) -> None:
    """Bring every device to version 1."""
    stack.prepare()
    stack.start()
    wait_until(lambda: len(stack.scene().waiting) == 1, PATIENCE, "one device is pending")
    stack.accept_waiting()
    _wait_all_run(stack, "1")


def _wait_all_run(stack: Stack, version: str) -> None:
    def done() -> bool:
        scene = stack.scene()
        rollout = scene.status.rollout if scene.status else None
        completed = rollout is not None and rollout.phase is Phase.COMPLETED
        return completed and set(scene.versions.values()) == {version}

    wait_until(done, PATIENCE, f"every device runs {version}")


def _journey(stack: Stack, version: str) -> _Journey:
    stack.release(version, health="good")
    stack.want(version)
    with ExitStack() as journals:
        opened = [
            journals.enter_context(closing(_journal(device.directory / "state" / "journal.db")))
            for device in stack.devices
        ]
        stack.commit(f"Ship demo-os {version}")
        pushed = time.time()
        published = _published(stack, version)
        begun = _begun(opened)
    seen = _seen(stack)
    _wait_all_run(stack, version)
    return _Journey(pushed, seen, published, begun)


def _published(stack: Stack, version: str) -> float:
    """Wait until the tree serves `version`; return when its timestamp was put in place."""
    stamp = stack.made.tree / "metadata" / "timestamp.json"
    wanted = f"os=demo-os@{version}"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        at = stamp.stat().st_mtime_ns
        status = stack.status()
        shown = status and status.desired_text == wanted and status.rollout
        if shown and at == stamp.stat().st_mtime_ns:  # else the status is newer than `at`
            return at / 1e9
        time.sleep(LOOK)
    raise TimeoutError(f"{wanted} was not published")


def _begun(journals: list[sqlite3.Connection]) -> float:
    """Wait until a device has journaled a deployment; nothing was at work before."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        now = time.time()
        if any(_state(journal) for journal in journals):
            return now
        time.sleep(LOOK)
    raise TimeoutError("no device has begun")


def _journal(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)


def _state(journal: sqlite3.Connection) -> str | None:
    row = journal.execute("SELECT document FROM record").fetchone()
    record: dict[str, Any] = json.loads(row[0]) if row else {}
    return record.get("state")


def _seen(stack: Stack) -> float:
    """Return when the reconciler took up the commit that it accepted last.

    Metrics hold an age; it was right at some moment of the request, so the shortest is believed.
    """
    return min(_scraped(stack) for _ in range(SCRAPES))[1]


def _scraped(stack: Stack) -> tuple[float, float]:
    """Return how long the request took, and the moment by its middle."""
    asked = time.time()
    answer = stack.session.get(f"{stack.made.url}/metrics", timeout=PATIENCE)
    took = time.time() - asked
    found = _GOOD_AGE.search(answer.text)
    assert found, answer.text
    return took, asked + took / 2 - float(found[1])
