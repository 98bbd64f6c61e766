"""`make qemu-demo`: watch an update, and one that falls back, on a board's serial console."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.qemu.grub import GrubKind
from tests.qemu.host import Host
from tests.qemu.kind import Kind
from tests.qemu.machine import Board
from tests.qemu.uboot import UBootKind

UBOOT, GRUB = UBootKind(), GrubKind()
KINDS: dict[str, Kind] = {UBOOT.name: UBOOT, GRUB.name: GRUB}
PATIENCE = 600.0  # seconds for a step
NOISE = 8 * 1024 * 1024  # bytes


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.qemu", description=__doc__)
    parser.add_argument("board", nargs="?", choices=KINDS, default=UBOOT.name)
    kind = KINDS[parser.parse_args().board]
    with (
        TemporaryDirectory(prefix="fleetcd-qemu-") as directory,
        Host(Path(directory), kind) as host,
    ):
        say(f"Making images (the first time: with packages of Debian for {kind.architecture})")
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
    host.release_image("3", host.noise("3", NOISE))
    board.wait_for("init: image 2,", PATIENCE)
    board.wait_until(lambda: bool(host.refusals()), PATIENCE, "the failure is reported")
    say(f"The board runs image 2 as before. Refused for the fleet: {host.refusals()[-1]}")


def say(text: str) -> None:
    sys.stdout.write(f"\n=== {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
