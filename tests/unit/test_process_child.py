"""Children are bounded in time and output, and end with everything in their group."""

import errno
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from device_agent.leaving import ASKED, leaving_when_asked
from device_agent.process import Child, Completed, last_line, printable, run

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def shell(script: str, *, timeout: float = 20, termination: float = 5) -> Completed:
    return run(
        ["sh", "-c", script], timeout=timeout, environment=ENVIRONMENT, termination=termination
    )


def alive(pid: int) -> bool:
    """Say whether `pid` runs: a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_death(pid: int) -> None:
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} lives on"
        time.sleep(0.01)


def test_a_child_gives_its_status_and_both_streams() -> None:
    done = shell("echo out; echo err >&2; exit 3")
    assert done == Completed(3, b"out\n", b"err\n", timed_out=False, truncated=False)
    assert not done.ok
    assert str(done) == "exited with status 3: err"


def test_a_child_gets_the_given_environment_and_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OUR_SECRET", "1")
    done = run(["env"], timeout=20, environment={**ENVIRONMENT, "GIVEN": "yes"})
    assert b"GIVEN=yes" in done.stdout
    assert b"OUR_SECRET" not in done.stdout


def test_a_child_runs_in_the_given_directory(tmp_path: Path) -> None:
    done = run(["pwd", "-P"], timeout=20, environment=ENVIRONMENT, directory=tmp_path)
    assert done.stdout.decode().strip() == str(tmp_path.resolve())


def test_a_program_that_does_not_exist_is_an_oserror() -> None:
    with pytest.raises(FileNotFoundError):
        run(["/no/such/program"], timeout=1, environment=ENVIRONMENT)


def test_nothing_is_started_that_nobody_could_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor_left() -> selectors.BaseSelector:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(selectors, "DefaultSelector", no_descriptor_left)
    children = Path("/proc/thread-self/children")
    before = children.read_text()
    with pytest.raises(OSError, match="Too many open files"):
        shell("sleep 20")
    assert children.read_text() == before


def test_output_beyond_the_limit_is_read_and_dropped() -> None:
    done = run(
        ["sh", "-c", "head -c 20000000 /dev/zero; echo end >&2"],
        timeout=60,
        environment=ENVIRONMENT,
        output_limit=1000,
    )
    assert done.truncated
    assert done.ok
    assert (done.stdout, done.stderr) == (bytes(1000), b"end\n")


def test_a_child_that_takes_too_long_is_terminated_and_may_tidy_up() -> None:
    done = shell("trap 'echo tidy; exit 0' TERM; sleep 60 & wait", timeout=0.3)
    assert done.timed_out
    assert not done.ok
    assert done.stdout == b"tidy\n"
    assert str(done) == "did not end in time and was killed: tidy"


def test_a_child_that_ignores_termination_is_killed_with_its_group() -> None:
    done = shell("trap '' TERM; sleep 60 & echo $!; wait; sleep 60", timeout=0.3, termination=0.2)
    assert done.timed_out
    assert done.status == -9
    wait_for_death(int(done.stdout))


def test_a_grandchild_that_keeps_the_pipe_open_does_not_hold_up_the_end() -> None:
    before = time.monotonic()
    done = shell("sleep 30 & echo $!; exit 0")
    assert time.monotonic() - before < 10
    assert done.ok
    os.kill(int(done.stdout), 9)


def test_a_child_that_closed_its_output_is_still_waited_for() -> None:
    done = shell("exec >&- 2>&-; sleep 0.2; exit 4")
    assert done.status == 4


def test_leaving_the_block_early_ends_the_group() -> None:
    with (
        pytest.raises(RuntimeError),
        Child(["sleep", "60"], environment=ENVIRONMENT, termination=1) as child,
    ):
        pid = child._process.pid
        raise RuntimeError
    assert not alive(pid)


def test_being_asked_to_end_while_a_child_starts_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = subprocess.Popen, []

    def start_and_be_asked(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        process = start(*arguments, **options)
        started.append(process.pid)
        signal.raise_signal(signal.SIGTERM)
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_be_asked)
    with pytest.raises(SystemExit), leaving_when_asked():
        shell("sleep 60")
    assert [alive(pid) for pid in started] == [False]


def test_a_child_hears_the_signals_that_its_parent_holds_back_to_start_it() -> None:
    done = run(["grep", "SigBlk", "/proc/self/status"], timeout=20, environment=ENVIRONMENT)
    blocked = int(done.stdout.split()[1], 16)
    assert not [number for number in ASKED if blocked >> (number - 1) & 1]


@pytest.mark.parametrize("program", ["true", "/no/such/program"])
def test_signals_are_heard_again_after_a_start(program: str) -> None:
    with suppress(FileNotFoundError):
        run([program], timeout=20, environment=ENVIRONMENT)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(ASKED)


def test_a_child_does_not_work_on_when_its_parent_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = f"echo $$ >{told}.new; mv {told}.new {told}; exec sleep 60"
    program = (
        "from device_agent.process import run;"
        f"run(['sh', '-c', {script!r}], timeout=60, environment={ENVIRONMENT!r})"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) as parent:
        deadline = time.monotonic() + 20
        while not told.exists():
            assert time.monotonic() < deadline, "the child did not start"
            time.sleep(0.01)
        parent.kill()
    wait_for_death(int(told.read_text()))


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (b"", ""),
        (b"\n \n", ""),
        (b"one\ntwo\n\n", "two"),
        (b"red \x1b[31mtext\rx", "x"),
        (b"\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        (b"bad \xff utf-8", "bad \\xff utf-8"),
    ],
)
def test_the_last_line_is_shown_without_control_characters(output: bytes, shown: str) -> None:
    assert last_line(output) == shown


def test_a_long_line_is_cut() -> None:
    assert last_line(b"x" * 5000, limit=10) == "xxxxxxxxx…"
    assert printable(b"\x00" * 10, 10) == "\\x00\\x00\\…"
