"""Does one task after another in a thread of its own, while the caller prepares the next."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

Task = Callable[[], None]


class Worker:
    """Does tasks in the order in which they are taken; at most `room` are unfinished at a time.

    After one that raised none is done: `take` and `wait` raise the same from then on. The thread
    begins with the first task, with the priorities of its caller, and ends with `close`.
    """

    def __init__(self, room: int) -> None:
        self._last: deque[Future[None]] = deque(maxlen=room + 1)
        self._thread = ThreadPoolExecutor(max_workers=1)

    def take(self, task: Task) -> None:
        """Have `task` done. Returns when there is room for another."""
        before = self._last[-1] if self._last else None
        self._last.append(self._thread.submit(_follow, before, task))
        if len(self._last) == self._last.maxlen:
            self._last[0].result()

    def wait(self) -> None:
        """Return when everything is done."""
        if self._last:
            self._last[-1].result()

    def close(self) -> None:
        """End the thread when everything is done, or a task raised."""
        self._thread.shutdown()


def _follow(before: Future[None] | None, task: Task) -> None:
    if before:
        before.result()  # raises what that task raised
    task()
