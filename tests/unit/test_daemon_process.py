"""The daemon as a process: it ends when told to, survives its children, runs once, stays small."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BANNED = [
    "tuf",
    "securesystemslib",
    "urllib3",
    "cryptography",
    "requests",
    "pydantic",
    "yaml",
    "asyncio",
]
WITHIN = 20.0  # seconds


class Timestamp(BaseHTTPRequestHandler):
    """A tree that has a timestamp and nothing else."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        unchanged = self.headers.get("If-None-Match") == '"one"'
        self.send_response(304 if unchanged else 200)
        self.send_header("ETag", '"one"')
        if not unchanged:
            self.send_header("Content-Length", "2")
        self.end_headers()
        if not unchanged:
            self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    """A configuration whose tree answers 304 or 200, and proves nothing."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Timestamp)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = tmp_path / "agent.toml"
    (tmp_path / "root.json").write_text("{}")
    path.write_text(
        f"""
        [device]
        name = "kiosk-0001"
        state = "state"
        facts = {{hardware = "x86"}}
        [server]
        tree = "http://127.0.0.1:{server.server_port}"
        http_hosts = ["127.0.0.1"]
        [trust]
        root = "root.json"
        [poll]
        interval = 0.2
        initial_delay = 0
        """
    )
    yield path
    server.shutdown()


def a_daemon(config: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "device_agent", "daemon", "--config", str(config)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """Return the daemon's log up to the line with `text`."""
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"{text!r} never came:\n{''.join(lines)}")


def test_a_daemon_goes_on_after_polls_that_fail_and_ends_when_told_to(config: Path) -> None:
    process = a_daemon(config)
    read_until(process, "(2 in a row)")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=WITHIN)
    assert process.returncode == 0


def test_a_second_daemon_exits_with_a_clear_message(config: Path) -> None:
    """security.md, case 40."""
    first = a_daemon(config)
    try:
        read_until(first, "polls http")
        second = a_daemon(config)
        _, log = second.communicate(timeout=WITHIN)
        assert second.returncode == 76
        assert f"process {first.pid}" in log
    finally:
        first.terminate()
        first.communicate(timeout=WITHIN)


def test_a_command_while_the_agent_works_exits_with_a_clear_message(config: Path) -> None:
    """security.md, case 40."""
    script = f"""
        from pathlib import Path
        from device_agent.cli import main
        from device_agent.lock import locked
        Path({str(config.parent / "state")!r}).mkdir()
        with locked(Path({str(config.parent / "state" / "agent.lock")!r})):
            raise SystemExit(main(["install", "--config", {str(config)!r}]))
    """
    done = run_script(script)
    assert done.returncode == 76
    assert "another fleetcd-agent" in done.stderr


def run_script(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


FORKING = """
    import os, signal, sys, time
    from pathlib import Path
    from device_agent import daemon
    from device_agent.daemon import ForkedWork, Signals
    daemon.TERMINATION = 0.5
    def work(step, timeout=30.0):
        return ForkedWork(step, Signals(), timeout)()
"""


def forked(body: str) -> str:
    done = run_script(FORKING + textwrap.indent(textwrap.dedent(body), "    "))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_childs_status_is_the_steps() -> None:
    assert forked("print(work(lambda: 4), work(lambda: sys.exit(75)))") == "4 75"


def test_a_child_that_crashes_does_not_end_the_loop() -> None:
    assert forked("print(work(lambda: 1 // 0))") == "70"


def test_a_child_that_is_killed_does_not_end_the_loop() -> None:
    assert forked("print(work(lambda: os.kill(os.getpid(), signal.SIGKILL)))") == "-9"


def test_a_child_that_hangs_is_told_to_end() -> None:
    assert forked("print(work(lambda: time.sleep(60), timeout=0.2))") == "143"


def test_a_child_that_ignores_being_told_is_killed() -> None:
    body = """
        def stubborn():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
        print(work(stubborn, timeout=0.2))
    """
    assert forked(body) == "-9"


def test_a_child_that_is_told_twice_still_ends_in_order(tmp_path: Path) -> None:
    """As by systemd, which tells every process, and then by the daemon, which tells the group."""
    note = tmp_path / "tidied"
    body = f"""
        def step():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                Path({str(note)!r}).touch()
        print(work(step))
    """
    assert forked(body) == "143"
    assert note.exists()


def test_an_application_is_answered_while_a_child_works(tmp_path: Path) -> None:
    body = f"""
        from device_agent.status import answering, read_status
        path = Path({str(tmp_path / "status.sock")!r})
        def step():  # the child, in place of an application
            return 0 if read_status(path) == b"{{}}\\n" else 1
        with answering(path, lambda: b"{{}}\\n") as answer:
            print(ForkedWork(step, Signals(answer), 30.0)())
    """
    assert forked(body) == "0"


def test_what_a_child_starts_hears_all_signals(tmp_path: Path) -> None:
    """Or a module could not be told to end."""
    body = f"""
        import subprocess
        from device_agent.status import answering
        show = ["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]
        with answering(Path({str(tmp_path / "status.sock")!r}), lambda: b"") as answer:
            ForkedWork(lambda: subprocess.run(show).returncode, Signals(answer), 30.0)()
    """
    masks = [int(line.split()[1], 16) for line in forked(body).splitlines()]
    watched = [signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGIO]
    assert len(masks) == 2
    assert not [one for one in watched for mask in masks if mask >> (one - 1) & 1]


def test_a_daemon_that_cannot_fork_looks_again_later() -> None:
    body = """
        def no_more():
            raise BlockingIOError("no more processes")
        os.fork = no_more
        print(work(lambda: 0))
    """
    assert forked(body) == "69"


def test_a_child_dies_with_its_daemon(tmp_path: Path) -> None:
    """Or it would hold the lock, and the next daemon could not work."""
    note = tmp_path / "child"
    body = f"""
        def step():
            Path({str(note)!r}).write_text(str(os.getpid()))
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        work(step)
    """
    done = run_script(FORKING + textwrap.indent(textwrap.dedent(body), "    "))
    assert done.returncode == -9
    child = int(note.read_text())

    def gone() -> bool:
        try:
            return (Path("/proc") / str(child) / "stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    wait_for(gone)


def test_the_resident_loop_imports_nothing_heavy(config: Path, record_property: object) -> None:
    script = f"""
        import json, sys
        from datetime import UTC, datetime
        from pathlib import Path
        from device_agent import app
        from device_agent.daemon import ForkedWork, Loop, Probe, Signals
        from device_agent.status import About, look, to_bytes
        from device_agent.settings import load
        settings = load(Path({str(config)!r}))
        app.journal(settings).close()
        facts = app.bootloader(settings).facts
        about = About("kiosk-0001", "fleetcd-agent/1", daemon=True)
        def status():
            return to_bytes(look(about, settings.journal, facts, datetime.now(UTC)))
        polls = []
        loop = Loop(
            work=lambda: 0,
            probe=Probe(app.tree(settings)),
            outlook=lambda: app._outlook(settings),
            pause=lambda seconds: polls.append(status()) or len(polls) > 30,
            polling=app.Polling(initial_delay=0.0),
            uniform=lambda low, high: low,
        )
        loop.run()
        status = Path("/proc/self/status").read_text()
        rss = int(status.partition("VmRSS:")[2].split()[0])
        print(json.dumps([rss, sorted(name.partition(".")[0] for name in sys.modules)]))
    """
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    rss, modules = json.loads(done.stdout)
    assert not set(BANNED) & set(modules)
    print(f"resident: {rss} kB, {len(modules)} modules")
    assert rss < 40_000


def test_systemd_is_told_that_the_daemon_is_ready(config: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(WITHIN)
        process = subprocess.Popen(
            [sys.executable, "-m", "device_agent", "daemon", "--config", str(config)],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        try:
            assert notices.recv(64) == b"READY=1"
            assert notices.recv(64) == b"WATCHDOG=1"
        finally:
            process.terminate()
            process.wait(timeout=WITHIN)
