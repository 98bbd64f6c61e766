"""The status socket: everybody gets one document, and nobody can hold up the loop."""

import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from device_agent.daemon import Signals
from device_agent.status import LIMIT, StatusSocket, answering, read_status

WITHIN = 20.0  # seconds
LINE = b'{"version":1}\n'


@pytest.fixture(autouse=True)
def _signals_stay_as_they_were() -> Iterator[None]:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handler = signal.getsignal(signal.SIGIO)
    yield
    signal.signal(signal.SIGIO, lambda *_: None)  # one may be on its way
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    signal.signal(signal.SIGIO, handler)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "status.sock"


def asking(path: Path) -> socket.socket:
    """Return a connection that nobody has answered yet."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(WITHIN)
    client.connect(str(path))
    return client


def heard(client: socket.socket) -> bytes:
    """Return everything up to the end of the connection."""
    parts = iter(lambda: client.recv(LIMIT), b"")
    with client:
        return b"".join(parts)


def test_whoever_asks_gets_one_document_and_the_end_of_the_connection(path: Path) -> None:
    with answering(path, lambda: LINE) as answer:
        clients = [asking(path) for _ in range(3)]
        answer()
        assert [heard(client) for client in clients] == [LINE] * 3


def test_without_anybody_who_asks_nothing_is_read_nor_waited_for(path: Path) -> None:
    read: list[int] = []
    with answering(path, lambda: read.append(1) or LINE) as answer:  # type: ignore[func-returns-value]  # it notes the call
        answer()
    assert read == []


def test_the_largest_document_arrives_whole_without_a_reader(path: Path) -> None:
    with answering(path, lambda: b"x" * LIMIT) as answer:
        client = asking(path)
        answer()
        assert len(heard(client)) == LIMIT


def test_whoever_does_not_read_holds_up_nobody(path: Path) -> None:
    with answering(path, lambda: b"x" * (64 * LIMIT)) as answer:
        deaf = asking(path)
        answer()
        other = asking(path)
        answer()
        assert heard(other).startswith(b"x")
        deaf.close()


def test_whoever_is_gone_before_the_answer_harms_nobody(path: Path) -> None:
    with answering(path, lambda: LINE) as answer:
        asking(path).close()
        other = asking(path)
        answer()
        assert heard(other) == LINE


def test_the_journal_is_read_once_a_second_however_many_ask(path: Path) -> None:
    read: list[int] = []
    with answering(path, lambda: read.append(1) or LINE) as answer:  # type: ignore[func-returns-value]  # it notes the call
        for _ in range(10):
            client = asking(path)
            answer()
            assert heard(client) == LINE
    assert len(read) < 10


def alone(work: Callable[[], bool]) -> bool:
    """Return what `work` says in a forked child. There one thread takes all signals, as in the
    daemon; here a test runner's others may."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def test_a_loop_that_waits_for_signals_answers_at_once(path: Path) -> None:
    def waits() -> bool:
        with answering(path, lambda: LINE) as answer:
            signals = Signals(answer)
            client = asking(path)
            started = time.monotonic()
            signals.wait(WITHIN)
            soon = time.monotonic() - started < WITHIN / 2
            return heard(client) == LINE and soon and not signals.ending

    assert alone(waits)


def test_a_daemon_that_is_told_to_end_ends_although_somebody_asks(path: Path) -> None:
    def ends() -> bool:
        with answering(path, lambda: LINE) as answer:
            signals = Signals(answer)
            client = asking(path)
            os.kill(os.getpid(), signal.SIGTERM)
            return signals.pause(WITHIN) and heard(client) == LINE

    assert alone(ends)


def test_the_signal_of_somebody_who_asks_ends_no_process(path: Path) -> None:
    """Its default does; and a thread, or a child, may not block it."""
    opened = StatusSocket(path, lambda: LINE)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
    client = asking(path)
    opened.answer()
    assert heard(client) == LINE
    opened.close()


def test_everybody_on_the_device_may_ask(tmp_path: Path) -> None:
    path = tmp_path / "run" / "fleetcd" / "status.sock"
    before = os.umask(0o077)
    try:
        with answering(path, lambda: LINE):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    finally:
        os.umask(before)
    assert not path.exists(), "a socket that nobody answers is not left behind"


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with answering(tmp_path / "status.sock", lambda: LINE):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_the_socket_of_a_daemon_that_was_killed_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert read_status(path) is None
    with answering(path, lambda: LINE) as answer:
        client = asking(path)
        answer()
        assert heard(client) == LINE


@pytest.mark.parametrize("asking_already", [0, 100])
def test_the_socket_of_another_agent_is_left_to_it(
    path: Path, caplog: pytest.LogCaptureFixture, asking_already: int
) -> None:
    """Several agents on one machine have a state directory each, but perhaps one path for this."""
    with answering(path, lambda: LINE) as first, ExitStack() as crowd:
        for _ in range(asking_already):
            client = crowd.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(str(path))
        with answering(path, lambda: b"second\n") as second:
            second()
        assert "another agent's" in caplog.text
        for _ in range(1 + asking_already // 16):
            first()
        client = asking(path)
        first()
        assert heard(client) == LINE


def test_a_file_that_is_no_socket_is_left_alone_and_only_warned_of(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text("somebody's")
    with answering(path, lambda: LINE) as answer:
        answer()
    assert path.read_text() == "somebody's"
    assert "is no socket; move it away" in caplog.text


def test_a_socket_that_cannot_be_had_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(tmp_path / ("x" * 120), lambda: LINE) as answer:
        answer()
    assert "no status for applications" in caplog.text


def test_no_socket_is_made_when_none_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    with answering(None, lambda: LINE) as answer:
        answer()
    assert caplog.text == ""


def test_a_command_reads_what_the_daemon_says(path: Path) -> None:
    with answering(path, lambda: LINE) as answer, ThreadPoolExecutor(1) as command:
        said = command.submit(read_status, path, WITHIN)
        while not said.done():  # bounded: it waits for no longer than that
            signal.sigtimedwait({signal.SIGIO}, 0.05)
            answer()
    assert said.result() == LINE


def test_nobody_answers_without_a_daemon(path: Path) -> None:
    assert read_status(path) is None


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"version":', id="a part of it"),
        pytest.param(b"x" * (2 * LIMIT), id="too much"),
    ],
)
def test_what_is_no_whole_document_is_no_answer(path: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(WITHIN)
        with ThreadPoolExecutor(1) as command:
            said = command.submit(read_status, path, WITHIN)
            connection, _ = listener.accept()
            with connection, suppress(BrokenPipeError):  # it may have heard enough
                connection.settimeout(WITHIN)
                connection.sendall(line)
        assert said.result() is None


def test_a_daemon_that_says_nothing_is_not_waited_for_for_ever(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert read_status(path, 0.05) is None
