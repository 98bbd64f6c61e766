"""A git child is bounded in time and output, ends with its group, and is quoted safely."""

import os
import threading
import time
from pathlib import Path

import pytest

from reconciler.adapters.git_child import GitChild, TooMuchOutput, explain
from reconciler.adapters.git_remote import LOCAL, Environment
from reconciler.errors import Misconfigured, Stopping, Unavailable

BOUND = 5.0  # seconds in which something that is instant has surely happened


def fake_git(
    directory: Path, monkeypatch: pytest.MonkeyPatch, script: str, timeout: float = 0.5
) -> GitChild:
    program = directory / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return GitChild(directory, timeout)


def ends(pid: int) -> bool:
    """Return whether the process disappears within BOUND."""
    until = time.monotonic() + BOUND
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # dead; whoever adopted it has not looked yet
            return True
        time.sleep(0.01)
    return False


def test_a_child_that_hangs_is_ended_with_its_descendants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = fake_git(tmp_path, monkeypatch, "sleep 300 & echo $! > grandchild; wait")
    before = time.monotonic()
    with pytest.raises(Unavailable, match=r"git fetch did not end within 0\.5 s"):
        child.run("--git-dir=x", "fetch", environment=LOCAL)
    assert time.monotonic() - before < BOUND
    assert ends(int((tmp_path / "grandchild").read_text()))


def test_a_descendant_that_keeps_the_pipes_open_does_not_outlive_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = fake_git(tmp_path, monkeypatch, "sleep 300 & echo $! > grandchild")
    with pytest.raises(Unavailable):
        child.run("fetch", environment=LOCAL)
    assert ends(int((tmp_path / "grandchild").read_text()))


@pytest.mark.parametrize(
    "last",
    [
        pytest.param("wait", id="it says nothing"),
        pytest.param("exec >&- 2>&-; wait", id="it closed its outputs"),
    ],
)
def test_a_child_is_ended_with_its_descendants_as_soon_as_another_thread_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    script = f"sleep 300 > sleeps 2>&1 & echo $! > new; mv new grandchild; {last}"
    child = fake_git(tmp_path, monkeypatch, script, timeout=300)
    grandchild = tmp_path / "grandchild"

    def stop_once_it_runs() -> None:
        until = time.monotonic() + BOUND
        while not grandchild.exists() and time.monotonic() < until:
            time.sleep(0.01)
        child.stopping.set()

    thread = threading.Thread(target=stop_once_it_runs)
    thread.start()
    with pytest.raises(Stopping):
        child.run("fetch", environment=LOCAL)
    thread.join(BOUND)
    assert ends(int(grandchild.read_text()))


def test_no_child_is_started_once_this_process_is_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = fake_git(tmp_path, monkeypatch, "touch started")
    child.stopping.set()
    with pytest.raises(Stopping):
        child.run("fetch", environment=LOCAL)
    assert not (tmp_path / "started").exists()


def test_a_child_that_writes_without_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = fake_git(tmp_path, monkeypatch, "exec yes")
    with pytest.raises(TooMuchOutput):
        child.run("ls-remote", environment=LOCAL, limit=1000)


def test_what_is_fed_comes_back_whole_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = fake_git(tmp_path, monkeypatch, "exec cat")
    fed = os.urandom(1_000_000)
    outcome = child.run("cat-file", environment=LOCAL, stdin=fed, limit=len(fed))
    assert (outcome.status, outcome.stdout) == (0, fed)


def test_a_child_that_does_not_read_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = fake_git(tmp_path, monkeypatch, "echo done; exit 3")
    outcome = child.run("x", environment=LOCAL, stdin=bytes(1_000_000))
    assert (outcome.status, outcome.stdout) == (3, b"done\n")


def test_git_variables_of_our_own_environment_do_not_reach_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = fake_git(tmp_path, monkeypatch, "env")
    monkeypatch.setenv("GIT_DIR", "/somewhere/else")
    monkeypatch.setenv("GIT_TRACE", "1")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "1")
    monkeypatch.setenv("GIT_SSL_CAINFO", "/etc/ca.pem")
    lines = child.run("x", environment=LOCAL).stdout.decode().splitlines()
    assert not any(line.startswith(("GIT_DIR=", "GIT_TRACE=")) for line in lines)
    assert {"GIT_TERMINAL_PROMPT=0", "GIT_SSL_CAINFO=/etc/ca.pem"} <= set(lines)


def test_a_machine_without_git_is_told_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match=r"install git 2\.31"):
        GitChild(tmp_path, timeout=5).run("x", environment=LOCAL)


def test_a_git_that_ignores_the_hardening_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = fake_git(tmp_path, monkeypatch, "echo git version 2.30.2")
    with pytest.raises(Misconfigured, match=r"git 2\.30\.2 is too old"):
        child.check_version()


def test_what_git_says_is_shown_short_without_secrets_and_control_characters() -> None:
    environment = Environment({}, ("s3cret",))
    said = explain(
        b"x" * 5000 + b"\nremote: \x1b[31mred\x1b[0m\r\nfatal: s3cret at https://u:p@host/\n",
        environment,
    )
    assert len(said) < 700
    assert said.endswith("fatal: *** at https://***@host/")
    assert said.isprintable()
    assert "\x1b" not in said


def test_a_known_failure_comes_with_what_to_do() -> None:
    assert "git.known_hosts_file" in explain(b"Host key verification failed.\n", LOCAL)
