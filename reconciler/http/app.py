"""The gateway's ASGI application: device API, operator API, health, metrics and the static tree."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.http.device_api import DeviceApi
from reconciler.http.metrics import Health, Metrics
from reconciler.http.nonces import NonceMint
from reconciler.http.operator_api import PREFIX, Authority, operator_router
from reconciler.http.ports import FleetView, GatewayStore
from reconciler.http.problems import install_problems
from reconciler.http.rates import RateLimit
from reconciler.http.reports import ReportDesk
from reconciler.http.static_tree import StaticTree
from reconciler.http.tokens import TokenFile

TREE = "/tree"  # below it: metadata/…, targets/…


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(
    *,
    store: GatewayStore,
    view: FleetView,
    health: Health,
    tokens: TokenFile | None = None,
    tree: Path | None = None,
    tree_max_age: int = 30,
    max_pending: int = 1000,
    enrolments_per_minute: int = 60,
    enrolment_burst: int = 100,
    clock: Callable[[], datetime] = _utc_now,
) -> ASGIApp:
    """Return the application. Without `tokens` the operator API refuses everybody, without `tree`
    nothing is served below /tree. `tree_max_age` is seconds that caches may keep a timestamp;
    enrolment is limited by peer address and by how many wait. Reads the store once."""
    metrics = Metrics(store, view, health, clock)
    desk = ReportDesk(store, NonceMint(store.nonce_secret()), clock, max_pending=max_pending)
    devices = DeviceApi(desk, metrics, RateLimit(enrolments_per_minute, enrolment_burst))
    app = FastAPI(
        title="fleetcd",
        docs_url=None,  # it would load scripts from a content delivery network
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
        redirect_slashes=False,
    )
    install_problems(app)
    app.router.routes.extend(devices.routes())
    app.include_router(operator_router(store, view, Authority(tokens), clock))
    _add_probes(app, store, metrics)
    if tree is not None:
        app.mount(TREE, StaticTree(tree, short=tree_max_age))
    return NoSniff(app)


def _add_probes(app: FastAPI, store: GatewayStore, metrics: Metrics) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        store.ping()  # Unavailable is answered with 503
        return Response("ok\n", media_type="text/plain")

    @app.get("/metrics", include_in_schema=False)
    def scrape(request: Request) -> Response:  # noqa: ARG001 - FastAPI's signature
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")


class NoSniff:
    """Tells browsers to take every answer for what it says it is, and caches to keep none that
    does not say how long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                present = {name for name, _ in headers}
                for name, value in (
                    (b"cache-control", b"no-store"),
                    (b"x-content-type-options", b"nosniff"),
                ):
                    if name not in present:
                        headers.append((name, value))
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, sending)
