"""How the gateway says no: RFC 9457 problem documents, for every path and every reason."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from reconciler.errors import Unavailable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 10  # seconds


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    document = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(json.dumps(document), status, dict(headers or {}), MEDIA_TYPE)


def install_problems(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Unavailable, _unavailable)
    app.add_exception_handler(Exception, _bug)


async def _http(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return problem(error.status_code, error.detail, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:20]]
    return problem(422, "; ".join(lines))


async def _unavailable(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    return problem(503, str(error), {"Retry-After": str(RETRY_AFTER)})


async def _bug(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    return problem(500, "an internal error; the gateway's log has it")
