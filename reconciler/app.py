"""The only place that builds the reconciler's adapters: from settings to running parts."""

import signal
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import FrameType

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from reconciler.adapters.git_source import GitSource
from reconciler.adapters.git_watch import system_jitter
from reconciler.adapters.signers import load_signer
from reconciler.adapters.sql_store import SqlStore
from reconciler.adapters.tree_view import TreeView
from reconciler.adapters.tuf_tree import DirectoryTree
from reconciler.adapters.yaml_loader import Loader
from reconciler.commit import CommitReader
from reconciler.conditions import Conditions
from reconciler.domain.planner import Hints
from reconciler.errors import Misconfigured
from reconciler.http.app import TREE, create_app
from reconciler.http.metrics import Health
from reconciler.http.server import Server, serve
from reconciler.http.static_tree import StaticTree
from reconciler.http.tokens import TokenFile
from reconciler.ports import Step, no_step
from reconciler.reconcile import Reconciler
from reconciler.settings import Rollouts, Settings

log = structlog.get_logger()


class Part(StrEnum):
    """What `fleetcd run` can run; together in one process, or each alone."""

    RECONCILER = "reconciler"
    GATEWAY = "gateway"
    TREE = "tree"


def utc_now() -> datetime:
    return datetime.now(UTC)


def hints(rollouts: Rollouts) -> Hints:
    return Hints(
        poll=rollouts.poll,
        poll_rolling=rollouts.poll_rolling,
        fresh_for=rollouts.fresh_for or None,
        heartbeat=timedelta(seconds=rollouts.heartbeat),
        heartbeat_rolling=timedelta(seconds=rollouts.heartbeat_rolling),
    )


class App:
    """The parts of one process, and how they start and end."""

    def __init__(self, settings: Settings, parts: frozenset[Part], step: Step = no_step) -> None:
        self._settings, self._parts, self._step = settings, parts, step
        self._stopping = threading.Event()
        self._health = Health()
        self._conditions = Conditions(utc_now)
        self._source: GitSource | None = None

    def run(self) -> None:
        """Run until stop(). Raises Misconfigured, LeaseHeld, and Unavailable at the start."""
        with ExitStack() as ending:
            store = self._open_store(ending)
            reconciler = self._reconciler(store, ending) if store and self._reconciles else None
            if reconciler is not None:
                reconciler.start()  # first: devices that a lost database forgot are known again
            if self._parts & {Part.GATEWAY, Part.TREE}:
                ending.callback(self._serve(store).stop)
            if reconciler is not None and self._source is not None:
                self._loop(reconciler, self._source)
            else:
                self._stopping.wait()

    def stop(self) -> None:
        """End run() after what it is at; a Git host is not waited for. Again: no effect. Not to
        be called by a signal handler: it takes locks that the interrupted thread may hold."""
        self._stopping.set()
        if self._source is not None:
            self._source.close()

    @property
    def _reconciles(self) -> bool:
        return Part.RECONCILER in self._parts

    def _open_store(self, ending: ExitStack) -> SqlStore | None:
        if not self._parts & {Part.RECONCILER, Part.GATEWAY}:
            return None
        store = SqlStore.open(self._database_url())
        ending.callback(store.close)
        return store

    def _loop(self, reconciler: Reconciler, source: GitSource) -> None:
        """One pass a tick, and one as soon as the branch may have moved."""
        tick = timedelta(seconds=self._settings.rollouts.tick)
        while not self._stopping.is_set():
            if source.wait(tick) and not self._stopping.is_set():
                reconciler.look()
            if not self._stopping.is_set():
                reconciler.publish()

    def _database_url(self) -> str:
        self._settings.state.directory.mkdir(parents=True, exist_ok=True)
        return self._settings.state.database_url

    def _serve(self, store: SqlStore | None) -> Server:
        gateway = self._settings.gateway
        host, _, port = gateway.listen.rpartition(":")
        if not port.isdecimal():
            raise Misconfigured(f"gateway.listen: HOST:PORT expected, not {gateway.listen!r}")
        gateway_store = store if Part.GATEWAY in self._parts else None
        server = serve(
            self._gateway(gateway_store) if gateway_store else self._tree_alone(),
            host=host.strip("[]"),
            port=int(port),
            certificate=gateway.certificate,
            key=gateway.key,
        )
        log.info("listening", host=server.host, port=server.port, parts=sorted(self._parts))
        return server

    def _gateway(self, store: SqlStore) -> ASGIApp:
        gateway, directory = self._settings.gateway, self._settings.tree.directory
        conditions = self._conditions.all if self._reconciles else None
        return create_app(
            store=store,
            view=TreeView(directory, conditions),
            health=self._health,
            tokens=TokenFile(gateway.operator_tokens) if gateway.operator_tokens else None,
            tree=directory if Part.TREE in self._parts and gateway.serve_tree else None,
        )

    def _tree_alone(self) -> ASGIApp:
        def well(_request: Request) -> Response:
            return PlainTextResponse("ok\n")

        tree = StaticTree(self._settings.tree.directory)
        probes = [Route(path, well) for path in ("/healthz", "/readyz")]
        return Starlette(routes=[*probes, Mount(TREE, tree)])

    def _reconciler(self, store: SqlStore, ending: ExitStack) -> Reconciler:
        settings = self._settings
        source = self._source = GitSource(settings.git, settings.state.directory, system_jitter)
        ending.callback(source.close)
        tree = DirectoryTree(
            settings.tree.directory,
            online=load_signer(settings.keys.online),
            timestamp=load_signer(settings.keys.timestamp),
            step=self._step,
        )
        ending.callback(tree.release_lease)
        return Reconciler(
            source=source,
            reader=CommitReader(source, Loader()),
            tree=tree,
            store=store,
            hints=hints(settings.rollouts),
            conditions=self._conditions,
            pulse=self._health,
            clock=utc_now,
        )


def run_until_signal(app: App) -> None:
    """Run `app` in the main thread until SIGTERM or SIGINT."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=app.stop, name="stop").start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    app.run()
