"""`make qemu-demo`: watch an update, and one that falls back, on a board's serial console."""

import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.qemu.host import Host
from tests.qemu.machine import Board

PATIENCE = 600.0  # seconds for a step
NOISE = 8 * 1024 * 1024  # bytes


def main() -> int:
    with TemporaryDirectory(prefix="fleetcd-qemu-") as directory, Host(Path(directory)) as host:
        say("Making images (the first time: with packages of Debian for arm64)")
        host.prepare()
        host.release_image("2", host.image("2"))
        host.start_reconciler()
        with Board(host.disk("1"), host.directory / "console.log", sys.stdout.write) as board:
            play(host, board)
    return 0


def play(host: Host, board: Board) -> None:
    say("Git asks for image 2; the board leaves the factory with image 1 in slot a")
    board.power_on()
    board.wait_for("init: image 2,", PATIENCE)
    board.wait_until(lambda: host.runs() == "demo-os@2", PATIENCE, "the board reports image 2")
    say("Image 2 is committed. Now Git asks for image 3, which is 8 MiB of noise")
    noise = host.directory / "noise.img"
    noise.write_bytes(random.Random(3).randbytes(NOISE))
    host.release_image("3", noise)
    board.wait_for("init: image 2,", PATIENCE)
    board.wait_until(lambda: bool(host.refusals()), PATIENCE, "the failure is reported")
    say(f"The board runs image 2 as before. Refused for the fleet: {host.refusals()[-1]}")


def say(text: str) -> None:
    sys.stdout.write(f"\n=== {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
