"""How many signed reports a second the gateway takes on SQLite, durably.

Each report carries a heartbeat and an event. The peer is SQLite itself with the same pragmas:
one row of a report's size, inserted by a transaction of its own.
"""

import asyncio
import itertools
import sqlite3
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from reconciler.adapters.sql_store import SqlStore
from reconciler.domain.devices import Candidate, Device
from reconciler.domain.ingest import Verdict
from reconciler.http.app import create_app
from reconciler.http.metrics import Health
from reconciler.http.nonces import NonceMint
from reconciler.http.reports import ReportDesk
from reconciler.http.server import serve
from schemas.wire.decode import encode
from tests.bench.figures import Figure, Peer, Scale, seconds
from tests.support.gateway_device import NOW, SigningDevice, event, heartbeat
from tests.support.gateway_world import (
    FLEET,
    ROLLOUT,
    StillView,
    entry,
    everybody,
    first_report,
    fresh_nonce,
    manifest,
)
from tests.support.loopback_ca import loopback_ca

DEVICES = {Scale.FULL: 256, Scale.TINY: 4}
ROUNDS = {Scale.FULL: 4, Scale.TINY: 1}  # reports of each device, for what goes in parallel
SINGLE = {Scale.FULL: 100, Scale.TINY: 3}  # reports that are sent one after the other
REPEATS = {Scale.FULL: 5, Scale.TINY: 1}
BATCH = 128  # as the gateway's batcher
CONNECTIONS = 32
ANSWER_WITHIN, CLIENT_WITHIN = 30, 120  # seconds

Body = bytes


def ingest(scale: Scale, directory: Path) -> tuple[Figure, ...]:
    """Send reports over HTTPS (from a process of its own) and hand them to the desk directly."""
    store = SqlStore.open(f"sqlite:///{directory / 'fleetcd.db'}")
    devices = _enrolled(store, DEVICES[scale])
    rates: dict[str, list[float]] = {}
    desk = ReportDesk(store, NonceMint(store.nonce_secret()), _now, max_pending=1)
    ca = loopback_ca(directory).ca_file
    pem = directory / "server.pem"
    app = create_app(store=store, view=StillView(), health=Health())
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with closing(store), pool, serve(app, host="127.0.0.1", port=0, certificate=pem, key=pem) as to:
        for _ in range(REPEATS[scale]):
            for name, lanes in (
                (f"HTTPS, {CONNECTIONS} connections", _lanes(devices, ROUNDS[scale])),
                ("HTTPS, one connection", [_some(devices, SINGLE[scale])]),
            ):
                sent = pool.submit(_sent, to.port, ca, lanes).result(CLIENT_WITHIN)
                rates.setdefault(name, []).append(sent)
            for name, bodies, size in (
                (f"in process, batches of {BATCH}", _many(devices, ROUNDS[scale]), BATCH),
                ("in process, one by one", _some(devices, SINGLE[scale]), 1),
            ):
                rates.setdefault(name, []).append(_taken(desk, bodies, size))
            rows = _some(devices, SINGLE[scale])
            rates.setdefault("", []).append(_inserted(directory / "rows.db", rows))
    peer = Peer("SQLite: such a row, a transaction each", tuple(rates.pop("")))
    return tuple(
        Figure(f"reports, {name}", "1/s", tuple(each), peer) for name, each in rates.items()
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _enrolled(store: SqlStore, count: int) -> list[SigningDevice]:
    devices = [SigningDevice(f"kiosk-{number:04}", "ES256") for number in range(count)]
    store.learn(
        entries={device.key: entry(device) for device in devices},
        listed={device.key: device.name for device in devices},
        manifests={FLEET: manifest(everybody())},
    )
    for device in devices:
        candidate = Candidate(device.key, device.name, device.public_key)
        assert isinstance(store.enrol(candidate, fresh_nonce(), NOW, max_pending=1), Device)
    receipts = store.ingest([first_report(each) for each in devices], _now())
    assert {receipt.verdict for receipt in receipts} == {Verdict.TAKEN}
    return devices


def _signed(device: SigningDevice) -> Body:
    report = device.report(event(ROLLOUT), heartbeat=heartbeat(), at=_now())
    return device.sign(encode(report))


def _many(devices: Sequence[SigningDevice], rounds: int) -> list[Body]:
    return [_signed(device) for _ in range(rounds) for device in devices]


def _some(devices: Sequence[SigningDevice], count: int) -> list[Body]:
    return [_signed(device) for device in itertools.islice(itertools.cycle(devices), count)]


def _lanes(devices: Sequence[SigningDevice], rounds: int) -> list[list[Body]]:
    """Return the reports of each connection; a device keeps to its own."""
    lanes = [_many(devices[place::CONNECTIONS], rounds) for place in range(CONNECTIONS)]
    return [lane for lane in lanes if lane]


def _taken(desk: ReportDesk, bodies: Sequence[Body], size: int) -> float:
    batches = [bodies[start : start + size] for start in range(0, len(bodies), size)]
    began = time.perf_counter()
    answers = [answer for batch in batches for answer in desk.take(batch)]
    rate = len(bodies) / (time.perf_counter() - began)
    assert {answer.status for answer in answers} == {200}
    return rate


def _inserted(path: Path, rows: Sequence[Body]) -> float:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body BLOB)")

        def insert() -> None:
            for row in rows:
                database.execute("INSERT INTO rows (body) VALUES (?)", (row,))

        return len(rows) / seconds(insert)


def _sent(port: int, ca: Path, lanes: Sequence[Sequence[Body]]) -> float:
    """Send all lanes at once, each over a connection of its own; return reports per second."""
    return asyncio.run(_rate(port, ssl.create_default_context(cafile=ca), lanes))


async def _rate(port: int, trust: ssl.SSLContext, lanes: Sequence[Sequence[Body]]) -> float:
    opened = [
        await asyncio.open_connection("127.0.0.1", port, ssl=trust) for _ in range(len(lanes))
    ]
    began = time.perf_counter()
    await asyncio.gather(
        *(_send(reader, writer, lane) for (reader, writer), lane in zip(opened, lanes, strict=True))
    )
    took = time.perf_counter() - began
    for _, writer in opened:
        writer.close()
    return sum(map(len, lanes)) / took


async def _send(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: Sequence[Body]
) -> None:
    for body in lane:
        writer.write(_request(body))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_WITHIN)
        status, *headers = head.decode("latin-1").lower().split("\r\n")
        length = next(line for line in headers if line.startswith("content-length:"))
        answer = await reader.readexactly(int(length.partition(":")[2]))
        assert status.split()[1] == "200", answer


def _request(body: Body) -> bytes:
    return (
        "POST /v1/report HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/jose\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
