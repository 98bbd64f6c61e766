"""How many signed reports a second one gateway takes on SQLite: TLS, signature, fsync and all."""

import asyncio
import os
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.adapters.sql_store import SqlStore
from reconciler.domain.ingest import Verdict
from reconciler.http.app import create_app
from reconciler.http.metrics import Health
from reconciler.http.server import Server, serve
from schemas.wire.decode import encode
from schemas.wire.report import REPORT_LIMIT, Outcome
from tests.support.gateway_device import SigningDevice, event, heartbeat
from tests.support.gateway_world import (
    ROLLOUT,
    StillView,
    enrol,
    everybody,
    first_report,
    manifest,
    publish,
)
from tests.support.loopback_ca import loopback_ca

DEVICES, REPORTS, CONNECTIONS = 200, 20, 32

pytestmark = pytest.mark.bench


def request_of(body: bytes) -> bytes:
    head = (
        "POST /v1/report HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/jose\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def send_all(port: int, trust: ssl.SSLContext, requests: Sequence[bytes]) -> list[int]:
    """Send requests one after the other over one connection; return their statuses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
    statuses = []
    for request in requests:
        writer.write(request)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        statuses.append(int(head.split()[1]))
        length = next(
            int(line.partition(b":")[2])
            for line in head.splitlines()
            if line.lower().startswith(b"content-length:")
        )
        await asyncio.wait_for(reader.readexactly(length), 30)
        assert length < REPORT_LIMIT
    writer.close()
    return statuses


async def hammer(server: Server, trust: ssl.SSLContext, lanes: Sequence[list[bytes]]) -> list[int]:
    results = await asyncio.gather(*(send_all(server.port, trust, lane) for lane in lanes))
    return [status for statuses in results for status in statuses]


def prepared(store: SqlStore) -> list[list[bytes]]:
    """Return one lane of signed reports for each connection; each device keeps to its lane."""
    devices = [SigningDevice(f"kiosk-{n:04}", "ES256") for n in range(DEVICES)]
    publish(store, devices, manifest(everybody()))
    for device in devices:
        enrol(store, device)
    receipts = store.ingest([first_report(each) for each in devices], datetime.now(UTC))
    assert {receipt.verdict for receipt in receipts} == {Verdict.TAKEN}
    lanes: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
    for number in range(REPORTS):
        for place, device in enumerate(devices):
            told = event(ROLLOUT, outcome=Outcome.OK if number == REPORTS - 1 else None)
            report = device.report(told, heartbeat=heartbeat(), at=datetime.now(UTC))
            lanes[place % CONNECTIONS].append(request_of(device.sign(encode(report))))
    return lanes


def test_reports_per_second_on_sqlite(tmp_path: Path) -> None:
    store = SqlStore.open(f"sqlite:///{tmp_path / 'fleetcd.db'}")
    lanes = prepared(store)
    loopback_ca(tmp_path)
    pem = tmp_path / "server.pem"
    app = create_app(store=store, view=StillView(), health=Health())
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with serve(app, host="127.0.0.1", port=0, certificate=pem, key=pem) as server:
        start = time.perf_counter()
        statuses = asyncio.run(hammer(server, trust, lanes))
        seconds = time.perf_counter() - start
    assert set(statuses) == {200}
    assert store.observed(datetime.now(UTC), {}).counts[ROLLOUT]["all"].ok == DEVICES
    store.close()
    rate = len(statuses) / seconds
    print(f"\nreports/s on SQLite: {rate:.0f} ({CONNECTIONS} connections, {os.cpu_count()} CPUs)")
    assert rate > 50
