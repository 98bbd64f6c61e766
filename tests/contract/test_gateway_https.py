"""The gateway as devices meet it: real HTTPS, real SQLite."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from starlette.types import Receive, Scope, Send

from reconciler.adapters.sql_store import SqlStore
from reconciler.errors import Misconfigured, Unavailable
from reconciler.http.app import create_app
from reconciler.http.metrics import Health
from reconciler.http.server import Server, serve
from schemas.wire.decode import encode
from schemas.wire.report import Event, Outcome
from tests.support.gateway_app import JOSE
from tests.support.gateway_device import SigningDevice, event
from tests.support.gateway_world import ROLLOUT, StillView, everybody, manifest, publish
from tests.support.loopback_ca import loopback_ca


@dataclass
class Live:
    """A gateway that runs, its store, and a client that trusts its authority."""

    folder: Path
    client: requests.Session = field(default_factory=requests.Session)

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        store = SqlStore.open(f"sqlite:///{self.folder / 'fleetcd.db'}")
        tree = self.folder / "tree"
        (tree / "metadata").mkdir(parents=True, exist_ok=True)
        (tree / "metadata/timestamp.json").write_bytes(b"{}")
        loopback_ca(self.folder)
        self.store = store
        self.client.trust_env = False
        self.client.verify = str(self.folder / "ca.pem")
        app = create_app(store=store, view=StillView(), health=Health(), tree=tree)
        pem = self.folder / "server.pem"
        with serve(app, host="127.0.0.1", port=0, certificate=pem, key=pem) as server:
            self.url = f"https://127.0.0.1:{server.port}"
            yield server
        store.close()

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.client.get(self.url + path, headers=headers, timeout=10)

    def post(self, path: str, body: bytes) -> requests.Response:
        return self.client.post(self.url + path, data=body, headers=JOSE, timeout=10)

    def join(self, device: SigningDevice) -> None:
        """Enrol a listed device and start its journal."""
        claims = device.enrol_claims(self.get("/v1/nonce").json()["nonce"], now())
        assert self.post("/v1/enrol", device.sign(claims, typ="fleetcd-enrol+jws")).ok
        nonce = self.post("/v1/report", signed(device)).json()["nonce"]
        assert self.post("/v1/report", signed(device, nonce=nonce)).status_code == 200


def now() -> datetime:
    return datetime.now(UTC)


async def never_called(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError(scope)


def signed(device: SigningDevice, *events: Event, nonce: str | None = None) -> bytes:
    return device.sign(encode(device.report(*events, nonce=nonce, at=now())))


def test_a_device_joins_and_its_outcome_counts(tmp_path: Path) -> None:
    live, device = Live(tmp_path), SigningDevice("kiosk-0001", "ES256")
    with live.running():
        publish(live.store, [device], manifest(everybody()))
        live.join(device)
        answer = live.post("/v1/report", signed(device, event(ROLLOUT, outcome=Outcome.OK)))
        assert answer.json() == {"ack": device.seq, "resync": False}
        assert live.store.observed(now(), {}).counts[ROLLOUT]["all"].ok == 1


def test_of_two_reports_with_one_number_exactly_one_is_taken(tmp_path: Path) -> None:
    live, device = Live(tmp_path), SigningDevice()
    with live.running():
        publish(live.store, [device])
        live.join(device)
        body = signed(device)
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda _: live.post("/v1/report", body).status_code, range(8))
        assert sorted(answers) == [200] + [409] * 7


def test_a_number_is_remembered_over_a_restart(tmp_path: Path) -> None:
    live, device = Live(tmp_path), SigningDevice()
    with live.running():
        publish(live.store, [device])
        live.join(device)
        last = signed(device)
        assert live.post("/v1/report", last).status_code == 200
    with live.running():
        again = live.post("/v1/report", last)
        assert (again.status_code, again.json()["lastSeq"]) == (409, device.seq)
        assert live.post("/v1/report", signed(device)).status_code == 200


def test_the_tree_is_served_with_conditions_and_ranges(tmp_path: Path) -> None:
    live = Live(tmp_path)
    with live.running():
        path = "/tree/metadata/timestamp.json"
        whole = live.get(path)
        assert (whole.status_code, whole.content) == (200, b"{}")
        assert live.get(path, **{"If-None-Match": whole.headers["ETag"]}).status_code == 304
        assert live.get(path, Range="bytes=1-1").content == b"}"
        assert live.get("/tree/metadata").status_code == 404


def test_it_is_ready_when_it_has_started_and_gone_when_it_was_stopped(tmp_path: Path) -> None:
    live = Live(tmp_path)
    with live.running() as server:
        assert live.get("/readyz").status_code == 200
        server.stop()
        assert server.wait(0)
        with pytest.raises(requests.ConnectionError):
            live.client.get(live.url + "/healthz", timeout=5)


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    live = Live(tmp_path)
    with live.running() as server, pytest.raises(Unavailable, match=str(server.port)):
        serve(never_called, host="127.0.0.1", port=server.port)


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(Misconfigured, match=r"missing\.pem"):
        serve(never_called, host="127.0.0.1", port=0, certificate=missing, key=missing)
