"""What a poll costs when nothing changed, and what the daemon keeps in memory.

The peer is a plain conditional GET of the same file by http.client, each time over a new TLS
connection, as the agent does it; for memory, Python with the standard library's TLS and SQLite.
"""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from device_agent import app
from device_agent.exit_codes import ExitCode
from device_agent.identity import Identity
from device_agent.settings import load
from reconciler.demo.stack import wait_until
from schemas.canonical import shard_of
from schemas.wire.shard import Shard, ShardEntry
from tests.bench.agent_process import PlainGet, probe_of
from tests.bench.figures import Figure, Peer, Scale
from tests.bench.tree_server import Traffic, TreeServer, tree_server
from tests.support.loopback_ca import loopback_ca
from tests.support.publications import manifest_of
from tests.support.signed_tree import SignedTree

POLLS = {Scale.FULL: 50, Scale.TINY: 2}
FULL_POLLS = {Scale.FULL: 10, Scale.TINY: 1}
DAEMONS = {Scale.FULL: 3, Scale.TINY: 1}
FLEET = "kiosks"
INTERVAL = 0.05  # seconds between the daemon's polls, so that fifty take a moment
UNCHANGED, FULL = "poll, unchanged tree", "full poll (every 15 min), nothing new"
ENDED_WITHIN, POLLED_WITHIN = 120.0, 60.0  # seconds

PLAIN = "a plain conditional GET (http.client)"
BARE = "Python with ssl, http.client and sqlite3"
_BARE_PROGRAM = (
    "import http.client, sqlite3, ssl, sys; kept = ssl.create_default_context(cafile=sys.argv[1]);"
    "print(open('/proc/self/status').read())"
)


@dataclass(frozen=True, slots=True)
class _Device:
    """Two configurations of one device: by the counted port of the server and by the direct one."""

    counted: Path
    direct: Path


def polling(scale: Scale, directory: Path) -> tuple[Figure, ...]:
    """Let the daemon poll; count polls of an unchanged tree at the server; time them."""
    polls, full_polls, daemons = POLLS[scale], FULL_POLLS[scale], DAEMONS[scale]
    ca, key = loopback_ca(directory).ca_file, _key(directory / "state")
    tree = SignedTree(directory / "tree", now=datetime.now(UTC))
    entry = ShardEntry("kiosk-0001", FLEET, {"product": "kiosk"})
    tree.set(f"devices/{shard_of(key)}.json", Shard({key: entry}))
    tree.publish()
    (directory / "root.json").write_bytes(tree.root)
    with tree_server(directory / "tree", directory / "server.pem") as server:
        device = _device(directory, server, ca)
        # Without a manifest there is no hint, and the daemon polls as often as it is configured to.
        memory = tuple(_daemons_memory(device, server, polls) for _ in range(daemons))
        bare = tuple(_bare_memory(ca) for _ in range(daemons))
        tree.set(f"fleets/{FLEET}.json", manifest_of(FLEET, 1))
        tree.publish()
        return (
            *_counted(device, server),
            *_timed(device, polls, full_polls),
            Figure(f"daemon's memory after {polls} polls", "MiB", memory, Peer(BARE, bare)),
        )


def _key(state: Path) -> str:
    state.mkdir(mode=0o700)
    return Identity.load_or_create(state / "device.key").key_id


def _device(directory: Path, server: TreeServer, ca: Path) -> _Device:
    def config(name: str, tree: str) -> Path:
        path = directory / f"{name}.toml"
        path.write_text(
            f'device = {{name = "kiosk-0001", state = "state"}}\n'
            f'server = {{tree = "{tree}", ca = "{ca}"}}\n'
            'trust = {root = "root.json"}\n'
            f"poll = {{interval = {INTERVAL}, initial_delay = 0}}\n",
            encoding="utf-8",
        )
        return path

    return _Device(config("counted", server.counted), config("direct", server.direct))


def _counted(device: _Device, server: TreeServer) -> tuple[Figure, ...]:
    """Count one poll of each kind. The first full poll learns, the second finds nothing new."""
    settings = load(device.counted)
    probe, plain = probe_of(settings), PlainGet(settings)
    plain.ask()
    assert app.step(settings) is ExitCode.DONE
    unchanged = _traffic(server, probe.changed)
    simple = _traffic(server, plain.ask)
    full = _traffic(server, lambda: app.step(settings))
    return tuple(
        Figure(
            f"{name}, {unit}", unit, (getattr(took, unit),), Peer(PLAIN, (getattr(simple, unit),))
        )
        for name, took in ((UNCHANGED, unchanged), (FULL, full))
        for unit in ("requests", "bytes")
    )


def _traffic(server: TreeServer, work: Callable[[], object]) -> Traffic:
    before = server.traffic()
    work()
    gc.collect()  # closes what a child of the daemon closes by ending
    return server.traffic().since(before)


def _timed(device: _Device, polls: int, full_polls: int) -> tuple[Figure, ...]:
    command = [sys.executable, "-m", "tests.bench.agent_process"]
    result = subprocess.run(
        [*command, str(device.direct), str(polls), str(full_polls)],
        stdout=subprocess.PIPE,
        timeout=ENDED_WITHIN,
        check=True,
    )
    found = json.loads(result.stdout)
    return tuple(
        Figure(
            f"{name}, {what}",
            "ms",
            tuple(each[place] * 1e3 for each in found[kind]),
            Peer(PLAIN, tuple(each[place] * 1e3 for each in found["plain"])),
        )
        for name, kind in ((UNCHANGED, "unchanged"), (FULL, "full"))
        for place, what in enumerate(("wall", "CPU"))
    )


def _daemons_memory(device: _Device, server: TreeServer, polls: int) -> float:
    """Return the daemon's VmRSS when it has polled so often, in MiB."""
    command = [sys.executable, "-m", "device_agent", "daemon", "--config", str(device.counted)]
    before = server.traffic().requests
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as daemon:
        try:
            wait_until(
                lambda: server.traffic().requests - before >= polls,
                POLLED_WITHIN,
                f"the daemon has polled {polls} times",
            )
            return _resident(Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii"))
        finally:
            daemon.terminate()


def _bare_memory(ca: Path) -> float:
    result = subprocess.run(
        [sys.executable, "-c", _BARE_PROGRAM, str(ca)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=ENDED_WITHIN,
        check=True,
    )
    return _resident(result.stdout)


def _resident(status: str) -> float:
    """Return VmRSS in MiB from the text of /proc/PID/status (proc(5))."""
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
