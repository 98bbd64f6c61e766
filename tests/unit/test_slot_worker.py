"""A worker does one thing after another in its thread, and a failure is not passed over."""

import hashlib
import os
import threading
from contextlib import closing
from functools import partial

import pytest

from device_agent.install.worker import Worker

LONG = 10.0  # seconds until a test that hangs gives up


def test_tasks_are_done_in_order() -> None:
    done: list[int] = []
    with closing(Worker(2)) as worker:
        for number in range(20):
            worker.take(partial(done.append, number))
        worker.wait()
        assert done == list(range(20))


def test_the_caller_goes_on_while_tasks_wait() -> None:
    gate, done = threading.Event(), list[bool]()

    def task() -> None:
        done.append(gate.wait(LONG))

    with closing(Worker(2)) as worker:
        worker.take(task)
        worker.take(task)
        assert done == []
        gate.set()
        worker.wait()
    assert done == [True, True]


@pytest.mark.parametrize("room", [0, 1, 2])
def test_no_more_tasks_wait_than_there_is_room_for(room: int) -> None:
    done: list[bytes] = []

    def task() -> None:
        done.append(hashlib.sha256(bytes(1024 * 1024)).digest())  # slower than the caller

    with closing(Worker(room)) as worker:
        for taken in range(1, 31):
            worker.take(task)
            assert taken - len(done) <= room


def test_what_a_task_raises_comes_out_and_nothing_follows_it() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError(5, "Input/output error")

    with closing(Worker(2)) as worker:
        worker.take(partial(done.append, 1))
        worker.take(fail)
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output"):
                worker.wait()
        with pytest.raises(OSError, match="Input/output"):
            for number in (2, 3, 4):
                worker.take(partial(done.append, number))
        with pytest.raises(OSError, match="Input/output"):
            worker.wait()
    assert done == [1]


def test_closing_ends_the_thread_when_all_is_done() -> None:
    before, done = threading.active_count(), list[int]()
    with closing(Worker(9)) as worker:
        for number in range(9):
            worker.take(partial(done.append, number))
    assert done == list(range(9))
    assert threading.active_count() == before


def test_a_worker_that_had_nothing_to_do_is_done() -> None:
    with closing(Worker(2)) as worker:
        worker.wait()


def test_the_thread_is_as_nice_as_its_caller() -> None:
    found: list[int] = []

    def nice_caller() -> None:
        os.nice(3)  # of this thread only
        with closing(Worker(2)) as worker:
            worker.take(lambda: found.append(os.getpriority(os.PRIO_PROCESS, 0)))
            worker.wait()

    thread = threading.Thread(target=nice_caller)
    thread.start()
    thread.join(LONG)
    assert found == [min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19)]
