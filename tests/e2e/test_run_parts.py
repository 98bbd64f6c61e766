"""`fleetcd run`: parts in processes of their own work together, and end when they are told to."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from reconciler.adapters.dir_initialise import Initialised, initialise
from reconciler.adapters.dir_repository import commit_and_push
from reconciler.adapters.tree_view import TreeView
from reconciler.demo.stack import free_port, wait_until

pytestmark = pytest.mark.e2e

PATIENCE = 60.0  # seconds that a loaded machine may need
PROMPT = 8.0  # seconds in which a process that was told to end is gone


def installed(path: Path) -> Initialised:
    made = initialise(path / "server", datetime.now(UTC), listen=f"127.0.0.1:{free_port()}")
    with made.config.open("a", encoding="utf-8") as config:
        config.write("[rollouts]\ntick = 0.3\n")
    return made


def another_address(made: Initialised) -> Path:
    """Return a configuration of the same installation for a second server."""
    text, (host, port) = made.config.read_text(encoding="utf-8"), ("127.0.0.1", free_port())
    old = next(line for line in text.splitlines() if line.startswith("listen"))
    config = made.directory / "second.toml"
    config.write_text(text.replace(old, f'listen = "{host}:{port}"'), encoding="utf-8")
    return config


def another_remote(made: Initialised, url: str) -> None:
    """Let the installation's reconciler ask for commits at `url`."""
    text = made.config.read_text(encoding="utf-8")
    head, section, rest = text.partition("[git]\n")
    _, _, others = rest.partition("\n")  # the url comes first
    made.config.write_text(f'{head}{section}url = "{url}"\n{others}', encoding="utf-8")


class Running:
    """A `fleetcd run` process; what it says is in a file."""

    def __init__(self, config: Path, *parts: str) -> None:
        self.log = config.parent / f"{'-'.join(parts) or 'all'}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reconciler", "run", *parts, "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit status and how long the process took."""
        began = time.monotonic()
        self.process.send_signal(how)
        return self.process.wait(PATIENCE), time.monotonic() - began


@contextmanager
def running(config: Path, *parts: str) -> Iterator[Running]:
    started = Running(config, *parts)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def session(made: Initialised) -> requests.Session:
    new = requests.Session()
    new.trust_env, new.verify = False, str(made.ca)
    new.headers["Authorization"] = f"Bearer {made.operator_token}"
    return new


def answers(client: requests.Session, url: str) -> bool:
    try:
        return client.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def shows(made: Initialised, commit: str) -> bool:
    conditions = {c.type: c for c in TreeView(made.tree).conditions()}
    published = conditions.get("Published")
    return published is not None and commit[:12] in published.message


def refused(config: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    """Run to the end what cannot start, and return what it said."""
    return subprocess.run(
        [sys.executable, "-m", "reconciler", "run", *parts, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_reconciler_gateway_and_tree_work_together_in_processes_of_their_own(
    tmp_path: Path,
) -> None:
    made = installed(tmp_path)
    second = another_address(made)
    tree_url = next(
        line.split('"')[1].replace("127.0.0.1", "https://localhost")
        for line in second.read_text(encoding="utf-8").splitlines()
        if line.startswith("listen")
    )
    client = session(made)
    with (
        running(made.config, "gateway") as gateway,
        running(second, "tree") as tree,
        running(made.config, "reconciler") as reconciler,
    ):
        wait_until(lambda: answers(client, f"{made.url}/readyz"), PATIENCE, "the gateway answers")
        wait_until(lambda: answers(client, f"{tree_url}/readyz"), PATIENCE, "the tree is served")
        (made.clone / "fleets" / "none.yaml").write_text("kind: Nothing\n", encoding="utf-8")
        commit_and_push(made.clone, "Say nothing")

        def told() -> bool:
            metrics = client.get(f"{made.url}/metrics", timeout=5).text
            return 'fleetcd_condition{type="CommitValid"} 0.0' in metrics

        wait_until(told, PATIENCE, "the gateway says that the commit is bad")
        (made.clone / "fleets" / "none.yaml").unlink()
        good = commit_and_push(made.clone, "Take it back")
        wait_until(lambda: shows(made, good), PATIENCE, "the good commit is published")
        stamp = client.get(f"{tree_url}/tree/metadata/timestamp.json", timeout=5)
        assert stamp.content == (made.tree / "metadata" / "timestamp.json").read_bytes()
        for part in (reconciler, tree, gateway):  # the client's connections are still open
            status, seconds = part.end()
            assert (status, seconds < PROMPT) == (0, True), part.said
            assert "Traceback" not in part.said


def test_all_parts_in_one_process_end_by_ctrl_c_with_idle_connections(tmp_path: Path) -> None:
    made = installed(tmp_path)
    client = session(made)
    with running(made.config) as whole:
        wait_until(lambda: answers(client, f"{made.url}/readyz"), PATIENCE, "the gateway answers")
        status, seconds = whole.end(signal.SIGINT)
        assert (status, seconds < PROMPT) == (0, True), whole.said
        assert "Traceback" not in whole.said
        assert '"level": "error"' not in whole.said


def test_a_git_host_that_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    made = installed(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        another_remote(made, f"https://127.0.0.1:{silent.getsockname()[1]}/fleet.git")
        with running(made.config) as whole:
            asked, _ = silent.accept()
            with asked:
                status, seconds = whole.end()
        assert (status, seconds < PROMPT) == (0, True), whole.said
        assert '"level": "error"' not in whole.said


def test_a_second_reconciler_is_refused_by_one_line(tmp_path: Path) -> None:
    made = installed(tmp_path)
    with running(made.config, "reconciler"):
        wait_until(lambda: bool(TreeView(made.tree).conditions()), PATIENCE, "it has published")
        second = refused(made.config, "reconciler")
    assert second.returncode == 2
    assert "writes this tree" in second.stderr
    assert second.stderr.count("\n") == 1


def test_what_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    made = installed(tmp_path)
    with running(made.config, "tree"):
        client = session(made)
        wait_until(lambda: answers(client, f"{made.url}/readyz"), PATIENCE, "the tree is served")
        taken = refused(made.config, "tree")
    missing = refused(tmp_path / "nowhere.toml")
    (made.keys / "online.pem").unlink()
    keyless = refused(made.config, "reconciler")
    for ended, words in (
        (taken, "cannot listen on 127.0.0.1"),
        (missing, "nowhere.toml: No such file"),
        (keyless, "online.pem"),
    ):
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.startswith("fleetcd: "), ended.stderr
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
