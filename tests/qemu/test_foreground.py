"""A program that a board is there for keeps answering while an image comes into the other slot.

Prints how soon it answers, and for how long nobody does: the figures of docs/performance.md.
"""

import hashlib
import os
import random
import socket
import statistics
import time
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TextIO

import pytest

from reconciler.demo.stack import LOOPBACK, free_port
from tests.qemu.host import Host
from tests.qemu.machine import Board, Wiring
from tests.qemu.partitions import MIB
from tests.qemu.rootfs import GUEST
from tests.qemu.stories import PATIENCE, Tale
from tests.qemu.uboot import UBootKind

pytestmark = pytest.mark.qemu_all

PORT = 7000  # in the board
FILE = "app/db/records"
SERVICE = {
    "/etc/answer.py": (GUEST / "answer.py").read_text(encoding="utf-8"),
    "/etc/story": f"python3 /etc/answer.py /data/{FILE} {PORT} &\n",
}
PIECE = 4096  # bytes
EVERY = 0.02  # seconds from one question to the next
BATCH = 25  # questions between two looks at the board
SETTLING = 12.0  # seconds until the agent has done what there is to do
REST = 30.0  # seconds of questions to a board at rest
TOO_LATE = 20.0  # seconds; what takes this long is no answer, however busy this machine is
MOST_DOWN = 180.0  # seconds without an answer over the restart, with other boards on this machine
KNOCK = 1.0  # seconds for the first answer, which a board that is not up does not give
START = 64 * 1024  # bytes of an image; they are not all zeros
MOST_DIRTY = 8 * MIB  # bytes; the image has twelve times as many


@dataclass(frozen=True, slots=True)
class System:
    """Bytes that wait to be written, processes in the background, and for how many nanoseconds the
    program could have run since its start, and another did."""

    dirty: int
    light: int
    waited: int


@dataclass(frozen=True, slots=True)
class Answers:
    """Seconds that each answer took, and how the board was after each batch of them."""

    took: tuple[float, ...]
    board: tuple[System, ...]

    @property
    def dirty(self) -> int:
        return max(system.dirty for system in self.board)

    @property
    def light(self) -> int:
        return max(system.light for system in self.board)

    def __str__(self) -> str:
        percent = statistics.quantiles(self.took, n=100)
        half, most, worst = (1000 * value for value in (percent[49], percent[98], max(self.took)))
        waited = (self.board[-1].waited - self.board[0].waited) / 1e6 / len(self.took)
        return (
            f"{len(self.took)} answers, p50 {half:.1f} ms, p99 {most:.1f} ms, longest"
            f" {worst:.1f} ms; on average {waited:.1f} ms spent on waiting for the CPU;"
            f" at most {self.dirty / MIB:.1f} MiB dirty"
        )


class Customer:
    """Asks the program behind `port` for pieces of its file, which is `content`."""

    def __init__(self, port: int, content: bytes) -> None:
        self._port, self._content = port, content
        self._chance = random.Random(1)
        self._socket = socket.socket()
        self._answers: TextIO = StringIO()
        self._took: list[float] = []
        self._board: list[System] = []
        self.answered = 0.0  # when the last answer came (time.monotonic)

    def reaches_it(self) -> bool:
        """Connect anew, and return whether there is an answer."""
        self.leave()
        try:
            self._socket = socket.create_connection((LOOPBACK, self._port), KNOCK)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._answers = self._socket.makefile("r", encoding="ascii")
            self._read()
        except OSError:
            return False
        self._socket.settimeout(TOO_LATE)
        return True

    def asks(self) -> bool:
        """Ask a batch of questions; return False once the board is gone. Raises TimeoutError."""
        try:
            for _ in range(BATCH):
                begun = time.monotonic()
                self._read()
                self._took.append(self.answered - begun)
                time.sleep(max(0.0, begun + EVERY - time.monotonic()))
            self._board.append(System(*map(int, self._ask("system").split())))
        except ConnectionError:
            return False
        return True

    def answers(self) -> Answers:
        """Return those since the last time."""
        found = Answers(tuple(self._took), tuple(self._board))
        self._took, self._board = [], []
        return found

    def leave(self) -> None:
        self._answers.close()
        self._socket.close()

    def _read(self) -> None:
        offset = PIECE * self._chance.randrange(len(self._content) // PIECE)
        found = self._ask(f"read {offset}")
        assert found == hashlib.sha256(self._content[offset : offset + PIECE]).hexdigest()

    def _ask(self, question: str) -> str:
        self._socket.sendall(f"{question}\n".encode())
        answer = self._answers.readline()
        if not answer.endswith("\n"):
            raise ConnectionResetError("the board went down")
        self.answered = time.monotonic()
        return answer.rstrip("\n")


def is_begun(board: Board) -> bool:
    return any(board.disk.read("root-b", START))


def is_committed(board: Board) -> bool:
    wanted = {"fleetcd_primary": "b", "fleetcd_trial": "none"}.items()
    return all(copy and wanted <= copy.items() for copy in board.disk.variables())


def asked_during_the_update(board: Board, customer: Customer) -> Answers:
    """Return the answers from the first byte in the slot on until the board restarts."""
    begun = "the image is being written"
    board.wait_until(lambda: customer.asks() and is_begun(board), PATIENCE, begun)
    customer.answers()
    while customer.asks():
        board.look()
    return customer.answers()


def asked_for(seconds: float, board: Board, customer: Customer) -> Answers:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert customer.asks(), "the board went down"
        board.look()
    return customer.answers()


def asked_at_rest(host: Host, board: Board, customer: Customer) -> Answers:
    """The agent polls, and a poll that found something takes a board with so slow a processor
    seconds: nothing more is published once it has found all."""
    asked_for(SETTLING, board, customer)
    host.stop_reconciler()
    asked_for(SETTLING, board, customer)
    return asked_for(REST, board, customer)


def test_a_program_answers_until_the_restart_and_soon_after_it(tmp_path: Path) -> None:
    port = free_port()
    wiring = Wiring(forward=(port, PORT))
    with Host(tmp_path, UBootKind()) as host:
        host.prepare()
        host.image("1", SERVICE)
        host.release_image("2", host.image("2", SERVICE))
        host.start_reconciler()
        customer = Customer(port, (host.boards[0].data / FILE).read_bytes())
        with Board(host.disk("1"), tmp_path / "console.log", wiring=wiring) as board:
            board.power_on()
            board.wait_until(customer.reaches_it, PATIENCE, "the program answers")
            updating = asked_during_the_update(board, customer)
            image, down = host.image("2").read_bytes(), customer.answered
            assert board.disk.read("root-b", len(image)) == image
            board.wait_until(customer.reaches_it, PATIENCE, "the program answers again")
            up = customer.answered
            board.wait_until(lambda: is_committed(board), PATIENCE, "the image is committed")
            committed = time.monotonic()
            Tale(host, board).updates("2")
            assert customer.reaches_it()
            resting = asked_at_rest(host, board, customer)
            customer.leave()
    print(f"\nduring the update: {updating}\nat rest: {resting}")
    print(f"{up - down:.1f} s without an answer, {committed - down:.1f} s until it is committed")
    print(f"load average {os.getloadavg()[0]:.1f}")
    assert up - down < MOST_DOWN
    assert max(resting.dirty, updating.dirty) < MOST_DIRTY
    assert (resting.light, updating.light > 0) == (0, True)
