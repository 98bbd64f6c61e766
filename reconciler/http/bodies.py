"""Routes whose body is bounded in size and time: FastAPI reads it before it asks who is calling."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

MAX_BODY = 64 * 1024  # bytes
BODY_TIMEOUT = 10  # seconds for a whole body


class BoundedRoute(APIRoute):
    """Answers 413 or 408 to a body that is too long, or too slow, instead of reading on."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handle(Request(request.scope, _bounded(request.receive)))

        return bounded


def _bounded(receive: Receive) -> Receive:
    taken, until = 0, asyncio.get_running_loop().time() + BODY_TIMEOUT

    async def bounded() -> Message:
        nonlocal taken
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(408, f"the body took longer than {BODY_TIMEOUT} seconds") from error
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise HTTPException(413, f"at most {MAX_BODY} bytes are accepted")
        return message

    return bounded
