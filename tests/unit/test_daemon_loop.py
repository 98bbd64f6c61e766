"""The resident loop: when it starts a child, how long it waits, what it answers to failures."""
# ruff: noqa: ARG005 - a fake has arguments

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from device_agent.core.schedule import ARRIVAL, MAX_BACKOFF, Polling, delay, heartbeat_due
from device_agent.daemon import FULL_POLL, Loop, Probe
from device_agent.errors import TransientError
from device_agent.exit_codes import ExitCode
from device_agent.outlook import Outlook
from device_agent.trust.source import Found, TreeFile
from tests.support.documents import NOW


@dataclass
class FakeTree:
    """Serves one timestamp, with an ETag if it has one. `away` raises."""

    content: bytes = b"v1"
    etag: str | None = '"v1"'
    away: bool = False
    asked: list[str | None] = field(default_factory=list)

    @contextmanager
    def open(self, path: str, etag: str | None) -> Iterator[TreeFile]:
        assert path == "metadata/timestamp.json"
        self.asked.append(etag)
        if self.away:
            raise TransientError("no route")
        if etag is not None and etag == self.etag:
            yield TreeFile(Found.UNCHANGED, etag=etag)
        else:
            yield TreeFile(Found.FILE, iter([self.content]), self.etag)

    def close(self) -> None:
        pass


@dataclass
class World:
    """A loop that ends after `polls` pauses. Waits are noted, and time passes by them."""

    polls: int = 3
    tree: FakeTree = field(default_factory=FakeTree)
    statuses: list[int] = field(default_factory=list)
    outlook: Outlook = field(default_factory=lambda: Outlook(busy=False))
    worked: int = 0
    waits: list[float] = field(default_factory=list)
    now: float = 5000.0

    def work(self) -> int:
        self.worked += 1
        return self.statuses.pop(0) if self.statuses else ExitCode.DONE

    def pause(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return len(self.waits) > self.polls

    def run(self) -> int:
        loop = Loop(
            work=self.work,
            probe=Probe(self.tree),
            outlook=lambda: self.outlook,
            pause=self.pause,
            polling=Polling(interval=100.0, jitter=0.2, initial_delay=30.0),
            uniform=lambda low, high: high,
            monotonic=lambda: self.now,
        )
        return loop.run()


def test_an_unchanged_tree_needs_one_child_and_then_none() -> None:
    world = World(polls=5)
    assert world.run() == ExitCode.DONE
    assert world.worked == 1
    assert world.tree.asked == [None, *['"v1"'] * 4]


def test_a_tree_without_etags_is_compared_by_content() -> None:
    world = World(polls=4, tree=FakeTree(etag=None))
    world.run()
    assert world.worked == 1


def test_a_child_that_did_not_succeed_is_repeated_although_nothing_changed() -> None:
    world = World(polls=4, statuses=[ExitCode.UNAVAILABLE, 70, ExitCode.DONE])
    world.run()
    assert world.worked == 3


def test_after_a_deployment_the_tree_is_looked_at_again() -> None:
    world = World(polls=3, statuses=[ExitCode.AGAIN, ExitCode.DONE])
    world.run()
    assert world.worked == 2


def test_a_device_with_work_to_do_starts_at_once_and_polls_by_a_child_each_time() -> None:
    world = World(polls=3, outlook=Outlook(busy=True))
    world.run()
    assert world.worked == 4
    assert 30.0 not in world.waits


def test_an_idle_device_waits_a_random_while_after_its_start() -> None:
    world = World()
    world.run()
    assert world.waits[0] == 30.0


def test_a_full_poll_is_made_now_and_then_although_nothing_changed() -> None:
    world = World(polls=20)
    world.run()
    assert world.worked == 1 + (20 * 120) // int(FULL_POLL)


def test_a_wish_to_reboot_ends_the_daemon_with_its_status() -> None:
    world = World(statuses=[ExitCode.REBOOT])
    assert world.run() == ExitCode.REBOOT


def test_an_unreachable_tree_makes_waits_grow_and_its_return_resets_them() -> None:
    world = World(polls=4, statuses=[ExitCode.UNAVAILABLE] * 3)
    world.run()
    assert world.waits == [30.0, 200.0, 400.0, 800.0, 120.0]


def test_a_tree_that_cannot_be_asked_costs_one_child_which_notes_the_trouble() -> None:
    world = World(polls=3, tree=FakeTree(away=True))
    world.run()
    assert world.worked == 1
    assert world.waits == [30.0, 120.0, 200.0, 400.0]


def test_a_device_that_no_fleet_has_asks_more_often_for_an_hour() -> None:
    world = World(polls=60, outlook=Outlook(busy=False, unassigned=True))
    world.run()
    assert world.waits[1:51] == [72.0] * 50
    assert world.waits[51:] == [120.0] * 10


def test_an_image_with_scripts_for_every_poll_has_a_child_for_each_and_asks_nothing_before_it() -> (
    None
):
    """Sync_Enter may be what brings the network up."""
    world = World(polls=4, outlook=Outlook(busy=False, scripted=True))
    world.run()
    assert world.worked == 4
    assert world.tree.asked == []
    assert world.waits[0] == 30.0, "it is idle: it does not start with its whole fleet at once"


def test_the_troubles_of_an_image_with_scripts_make_its_waits_grow() -> None:
    world = World(
        polls=3,
        outlook=Outlook(busy=False, scripted=True),
        statuses=[ExitCode.UNAVAILABLE] * 2,
    )
    world.run()
    assert world.waits == [30.0, 200.0, 400.0, 120.0]


@pytest.mark.parametrize(
    ("interval", "unassigned_for", "expected"),
    [
        pytest.param(300.0, 10.0, 60.0, id="somebody may be waiting to see it arrive"),
        pytest.param(300.0, ARRIVAL, 300.0, id="it may stay so for long"),
        pytest.param(300.0, None, 300.0, id="a fleet has it"),
        pytest.param(5.0, 10.0, 5.0, id="the configured interval is shorter"),
    ],
)
def test_an_unassigned_device_polls(
    interval: float, unassigned_for: float | None, expected: float
) -> None:
    wait = delay(
        Polling(interval, jitter=0.0),
        hint=None,
        unassigned_for=unassigned_for,
        failures=0,
        uniform=lambda low, high: high,
    )
    assert wait == expected


@pytest.mark.parametrize(
    ("hint", "failures", "draw", "expected"),
    [
        pytest.param(None, 0, 0.5, 100.0, id="the configured interval"),
        pytest.param(None, 0, 0.0, 80.0, id="twenty percent less"),
        pytest.param(None, 0, 1.0, 120.0, id="twenty percent more"),
        pytest.param(60.0, 0, 0.5, 60.0, id="the manifest's hint"),
        pytest.param(None, 2, 0.5, 200.0, id="full jitter over four intervals"),
        pytest.param(None, 9, 1.0, MAX_BACKOFF, id="an hour at most"),
        pytest.param(7200.0, 9, 1.0, 7200.0, id="never more often than hinted, on average"),
        pytest.param(None, 3, 0.0, 1.0, id="never at once"),
    ],
)
def test_the_next_poll(hint: float | None, failures: int, draw: float, expected: float) -> None:
    wait = delay(
        Polling(interval=100.0),
        hint=hint,
        unassigned_for=None,
        failures=failures,
        uniform=lambda low, high: low + (high - low) * draw,
    )
    assert wait == pytest.approx(expected)


def test_a_heartbeat_is_due_at_first_after_the_interval_and_when_the_clock_went_back() -> None:
    earlier = NOW.replace(hour=6)
    assert heartbeat_due(None, NOW, 3600)
    assert heartbeat_due(earlier, NOW, 3600)
    assert not heartbeat_due(earlier, NOW, 3601)
    assert heartbeat_due(NOW, earlier, 3600)
