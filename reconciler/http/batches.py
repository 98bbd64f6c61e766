"""Group commit: requests that wait at the same time share one transaction and one fsync."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from reconciler.errors import Unavailable

In = TypeVar("In")
Out = TypeVar("Out")


class Batcher(Generic[In, Out]):
    """Runs `work` on batches, one at a time in a thread; while one runs, the next gathers."""

    def __init__(
        self, work: Callable[[Sequence[In]], Sequence[Out]], *, size: int = 128, waiting: int = 4096
    ) -> None:
        self._work, self._size, self._limit = work, size, waiting
        self._queue: deque[tuple[In, asyncio.Future[Out]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: In) -> Out:
        """Answer `item`. Raises Unavailable when too many wait, or what `work` does."""
        if len(self._queue) >= self._limit:
            raise Unavailable(f"{self._limit} reports wait already")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Out] = loop.create_future()
        self._queue.append((item, answer))
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._drain())
        return await answer

    async def _drain(self) -> None:
        while self._queue:
            count = min(self._size, len(self._queue))
            batch = [self._queue.popleft() for _ in range(count)]
            try:
                answers = await asyncio.to_thread(self._work, [item for item, _ in batch])
            except Exception as error:
                for _, waiter in batch:
                    if not waiter.done():
                        waiter.set_exception(error)
                continue
            for (_, waiter), answer in zip(batch, answers, strict=True):
                if not waiter.done():
                    waiter.set_result(answer)
