"""What a poll's child leaves behind: a good one's may run on, a broken one's is ended first."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHIN = 20.0  # seconds

PRELUDE = """
    import os, signal, sys, time
    from contextlib import contextmanager
    from pathlib import Path
    from device_agent import orphans
    from device_agent.daemon import ForkedWork, Signals
    from device_agent.process import Child
    orphans.GRACE = 0.3
    note, signals = Path(sys.argv[1]), Signals()

    def work(step):
        return ForkedWork(step, signals, 30.0)()

    @contextmanager
    def module():
        # A module that notes the ids of what it starts; all of it runs when this begins.
        environment = {"PATH": os.defpath, "NOTE": sys.argv[1]}
        with Child(["sh", "-c", MODULE], environment=environment) as child:
            wait_for(all_noted, lambda: child.pump(0.01))
            yield child

    def all_noted():
        return note.exists() and "all" in note.read_text().split()

    def there():
        # Say which of the noted processes there are, as zombies too.
        ids = [word for word in note.read_text().split() if word.isdigit()]
        assert ids
        return [Path("/proc", pid).exists() for pid in ids]

    def wait_for(condition, pause):
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            pause()

    def killed():
        with module():
            os.kill(os.getpid(), signal.SIGKILL)

    def crashed():
        with module():
            raise RuntimeError("a mistake")

    def good():
        with module() as child:
            return child.wait(20).status
"""

PLAIN = 'sleep 60 & echo $! all >> "$NOTE"; wait'
STARTS = {
    "a program": PLAIN,
    "a program in a session of its own": "setsid sh -c 'echo $$ all >> \"$NOTE\"; exec sleep 60'",
    "a chain of programs": (
        'sh -c \'echo $$ >> "$NOTE"; sh -c "sleep 60 & echo \\$! all >> $NOTE; wait"; :\'; :'
    ),
    "what ignores TERM": "trap '' TERM; " + PLAIN,
}
LEFT = 'sleep 60 & echo $! all >> "$NOTE"'


def daemon(tmp_path: Path, module: str, body: str) -> str:
    """Run `body` as the daemon, beside a module that does `module`, and return its output."""
    script = textwrap.dedent(PRELUDE) + f"MODULE = {module!r}\n" + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "note")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("what", STARTS)
def test_what_a_killed_child_had_started_is_ended_before_the_next_one(
    tmp_path: Path, what: str
) -> None:
    said = daemon(tmp_path, STARTS[what], "print(work(killed), any(there()))")
    assert said == "-9 False"


def test_what_a_crashed_child_had_started_is_ended_before_the_next_one(tmp_path: Path) -> None:
    """Its group is ended on the way out; what has left the group is not."""
    own_session = STARTS["a program in a session of its own"]
    assert daemon(tmp_path, own_session, "print(work(crashed), any(there()))") == "70 False"


def test_what_a_good_child_left_running_stays_even_when_a_later_one_is_killed(
    tmp_path: Path,
) -> None:
    body = """
        print(work(good), all(there()))
        print(work(lambda: os.kill(os.getpid(), signal.SIGKILL)), all(there()))
        os.kill(int(note.read_text().split()[0]), signal.SIGKILL)
    """
    assert daemon(tmp_path, LEFT, body).splitlines() == ["0 True", "-9 True"]


def test_what_a_good_child_left_is_reaped_between_polls_when_it_ends(tmp_path: Path) -> None:
    body = """
        work(good)
        os.kill(int(note.read_text().split()[0]), signal.SIGKILL)
        wait_for(lambda: not any(there()), lambda: signals.pause(0.05))
    """
    daemon(tmp_path, LEFT, body)


def test_what_a_good_child_left_is_reaped_while_the_next_one_works(tmp_path: Path) -> None:
    body = """
        def next_one():
            os.kill(int(note.read_text().split()[0]), signal.SIGKILL)
            wait_for(lambda: not any(there()), lambda: time.sleep(0.01))
            return 0
        work(good)
        print(work(next_one))
    """
    assert daemon(tmp_path, LEFT, body) == "0"


def test_a_process_that_nothing_ends_does_not_hold_up_the_daemon(tmp_path: Path) -> None:
    body = """
        kill, orphans.GRACE, orphans.HOPELESS = os.kill, 0.1, 0.1
        def hangs_in_the_kernel(pid, number):
            if pid == os.getpid():
                kill(pid, number)
        os.kill = hangs_in_the_kernel
        print(work(killed), all(there()))
        kill(int(note.read_text().split()[0]), signal.SIGKILL)
    """
    assert daemon(tmp_path, PLAIN, body) == "-9 True"
