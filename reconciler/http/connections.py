"""Connections that end when their client does nothing: uvicorn alone waits for ever for the head of
a request, and for a reader, so that a few thousand idle connections would lock everybody out."""

import asyncio
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

STALLED = 3  # times the patience for a reader: a chunk of the tree may be slow on a bad line


class ImpatientHttp(HttpToolsProtocol):
    """Its patience, in seconds, is uvicorn's `timeout_keep_alive`."""

    _head: TimerHandle | None = None
    _reader: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        super().connection_made(transport)
        self._await_head()

    def on_headers_complete(self) -> None:
        _cancel(self._head)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader = self.loop.call_later(STALLED * self.timeout_keep_alive, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._reader)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head)
        _cancel(self._reader)
        super().connection_lost(exc)

    def _await_head(self) -> None:
        _cancel(self._head)
        self._head = self.loop.call_later(self.timeout_keep_alive, self._end_without_head)

    def _end_without_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # else its head came, pipelined
            self.transport.abort()


def _cancel(timer: TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
