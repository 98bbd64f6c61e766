"""A push is seen at once where the repository is local, at the next poll elsewhere, always."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.git_source import GitSource
from reconciler.adapters.git_watch import Alarm, poll_delay, system_jitter
from tests.support.git_upstream import Upstream, source_of, steady

SOON = 1.0  # second in which a local push must be seen
LONG = timedelta(seconds=20)  # no test waits for it: what it waits for comes earlier
MOMENT = timedelta(seconds=0.7)  # longer than the watch needs to tell of a change
NOW = timedelta(0)


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    upstream = Upstream(tmp_path / "upstream")
    upstream.push({"a.yaml": b"1"})
    return upstream


@pytest.fixture
def source(upstream: Upstream, tmp_path: Path) -> Iterator[GitSource]:
    source = source_of(upstream.bare, tmp_path / "state")
    yield source
    source.close()


def seconds_until_it_rings(source: GitSource) -> float:
    before = time.monotonic()
    assert source.wait(LONG)
    return time.monotonic() - before


def test_a_fresh_source_is_to_be_looked_at_at_once(source: GitSource) -> None:
    assert source.wait(NOW)


def test_after_a_fetch_nothing_rings_by_itself(source: GitSource) -> None:
    """Our own fetch reads the refs that are watched: it must not wake us."""
    source.fetch()
    assert not source.wait(MOMENT)
    source.fetch()
    assert not source.wait(MOMENT)


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_a_local_push_is_seen_in_under_a_second(
    upstream: Upstream, tmp_path: Path, address: str
) -> None:
    source = source_of(address.format(upstream.bare), tmp_path / "state")
    try:
        source.fetch()
        pushed: list[float] = []

        def push() -> None:
            upstream.push({"a.yaml": b"2"})
            pushed.append(time.monotonic())

        pushing = threading.Thread(target=push)
        pushing.start()
        assert source.wait(LONG)
        seen = time.monotonic()
        pushing.join()
        assert seen - pushed[0] < SOON
        assert source.fetch() == upstream.head()
    finally:
        source.close()


def test_a_push_between_fetch_and_wait_is_not_lost(upstream: Upstream, source: GitSource) -> None:
    source.fetch()
    commit = upstream.push({"a.yaml": b"2"})
    assert seconds_until_it_rings(source) < SOON
    assert source.fetch() == commit


def pack(upstream: Upstream) -> None:
    upstream.git("--git-dir", str(upstream.bare), "pack-refs", "--all")


def nest(upstream: Upstream) -> None:
    upstream.push_head("teams/paris/main")


@pytest.mark.parametrize("before", [pack, nest])
def test_a_push_is_seen_however_the_refs_are_stored(
    upstream: Upstream, source: GitSource, before: Callable[[Upstream], None]
) -> None:
    source.fetch()
    before(upstream)
    while source.wait(MOMENT):  # each change may ring more than once
        source.fetch()
    upstream.push({"a.yaml": b"2"})
    assert seconds_until_it_rings(source) < SOON


def test_a_commit_in_a_local_work_tree_is_seen(upstream: Upstream, tmp_path: Path) -> None:
    source = source_of(upstream.work, tmp_path / "state")
    try:
        source.fetch()
        commit = upstream.commit({"a.yaml": b"2"})
        assert seconds_until_it_rings(source) < SOON
        assert source.fetch() == commit
    finally:
        source.close()


def test_a_repository_that_was_replaced_is_watched_again(
    upstream: Upstream, source: GitSource
) -> None:
    source.fetch()
    fresh = upstream.bare.with_suffix(".fresh")
    shutil.copytree(upstream.bare, fresh)
    shutil.rmtree(upstream.bare)
    fresh.rename(upstream.bare)
    source.fetch()
    while source.wait(MOMENT):
        source.fetch()
    upstream.push({"a.yaml": b"2"})
    assert seconds_until_it_rings(source) < SOON


class NoMoreWatches:
    """An observer on a machine whose inotify watches are used up."""

    def __init__(self, **_: object) -> None: ...

    def schedule(self, *_: object, **__: object) -> None: ...

    def unschedule_all(self) -> None: ...

    def start(self) -> None:
        raise OSError(28, "inotify watch limit reached")


def test_a_push_is_seen_at_once_when_the_kernels_watches_are_used_up(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.adapters.git_watch.Observer", NoMoreWatches)
    source = source_of(upstream.bare, tmp_path / "state")
    source.fetch()
    commit = upstream.push({"a.yaml": b"2"})
    assert seconds_until_it_rings(source) < 1.5
    assert source.fetch() == commit


def test_without_any_watch_the_repository_is_polled(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.adapters.git_watch.Observer", NoMoreWatches)
    monkeypatch.setattr("reconciler.adapters.git_watch.PollingObserver", NoMoreWatches)
    source = source_of(upstream.bare, tmp_path / "state", poll=1)
    source.fetch()
    commit = upstream.push({"a.yaml": b"2"})
    assert seconds_until_it_rings(source) > 0.5
    assert source.fetch() == commit


def test_a_poke_rings_once(source: GitSource) -> None:
    source.fetch()
    source.poke()
    assert source.wait(NOW)
    assert not source.wait(NOW)


def test_close_ends_a_wait_and_every_later_one(source: GitSource) -> None:
    source.fetch()
    waited: list[bool] = []
    waiting = threading.Thread(target=lambda: waited.append(source.wait(timedelta(hours=1))))
    waiting.start()
    source.close()
    waiting.join(5)
    assert waited == [False]
    source.poke()
    assert not source.wait(timedelta(hours=1))
    source.close()


def test_a_poll_that_is_due_rings_again_and_again() -> None:
    alarm = Alarm(timedelta(milliseconds=20), steady)
    assert [alarm.wait(LONG) for _ in range(3)] == [True] * 3


def test_a_short_wait_ends_before_the_poll_is_due() -> None:
    alarm = Alarm(timedelta(hours=1), steady)
    alarm.looking()
    assert not alarm.wait(timedelta(milliseconds=20))


def test_a_hint_during_the_look_counts_for_the_next() -> None:
    alarm = Alarm(timedelta(hours=1), steady)
    alarm.ring()
    alarm.looking()
    assert not alarm.wait(NOW)
    alarm.ring()
    assert alarm.wait(NOW)


def test_the_jitter_moves_the_poll_by_a_fifth_at_most() -> None:
    minute = timedelta(minutes=1)
    delays = [poll_delay(minute, jitter).total_seconds() for jitter in (-9, -1, -0.5, 0, 1, 9)]
    assert delays == [48, 48, 54, 60, 72, 72]


def test_the_jitter_of_production_is_in_bounds() -> None:
    assert all(-1 <= system_jitter() <= 1 for _ in range(100))
