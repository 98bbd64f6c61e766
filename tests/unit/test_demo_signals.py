"""What the demo starts is known before a signal can end the demo."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from reconciler.demo.stack import signals_held_back

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def heard() -> Iterator[list[int]]:
    numbers = list[int]()
    before = [signal.signal(number, lambda number, _: numbers.append(number)) for number in ENDING]
    yield numbers
    for number, handler in zip(ENDING, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_counts_when_the_block_is_left(heard: list[int], number: signal.Signals) -> None:
    with signals_held_back():
        os.kill(os.getpid(), number)
        assert heard == []
    assert heard == [number]


def test_handlers_are_as_they_were(heard: list[int]) -> None:
    before = [signal.getsignal(number) for number in ENDING]
    with signals_held_back():
        pass
    assert [signal.getsignal(number) for number in ENDING] == before
    assert heard == []


def test_other_threads_may_start_things_too() -> None:
    ended = list[bool]()

    def start() -> None:
        with signals_held_back():
            ended.append(True)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(5)
    assert ended == [True]
