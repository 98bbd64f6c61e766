"""A board with Debian's U-Boot, in QEMU: the real agent, the real reconciler, real power cuts.

The stories run in this order on one board; each leaves it with a committed image that runs.
"""

import random
from collections.abc import Iterator

import pytest

from schemas.wire.status import Phase
from tests.qemu.host import Host
from tests.qemu.machine import Board

pytestmark = pytest.mark.qemu

PATIENCE = 240.0  # seconds for one update; three times what it takes on two idle cores
NOISE = 32 * 1024 * 1024  # bytes; the next image has to write over as many
START = 2 * 1024 * 1024  # bytes of an image; once they are written, the rest is not


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(tmp_path_factory.mktemp("board")) as host:
        host.prepare()
        host.release_image("2", host.image("2"))
        host.start_reconciler()
        yield host


@pytest.fixture(scope="module")
def board(host: Host) -> Iterator[Board]:
    with Board(host.disk("1"), host.directory / "console.log") as board:
        yield board


def runs(image: str, slot: str) -> str:
    """Return a pattern of what the board's init says when it runs `image` from `slot`."""
    return rf"init: image {image}, .*fleetcd\.slot={slot}"


def wait_for_outcome(host: Host, board: Board, version: str, phase: Phase) -> None:
    def ended() -> bool:
        status = host.status()
        rollout = status.rollout if status else None
        wanted = f"demo-os@{version}"
        asked = rollout and rollout.content.components["os"].release == wanted
        return bool(asked and rollout and rollout.phase is phase)

    board.wait_until(ended, PATIENCE, f"the rollout of {version} is {phase}")


def assert_settled(host: Host, board: Board, version: str, slot: str) -> None:
    """The slot is whole, and both copies of the boot variables make it the primary."""
    image = host.image(version).read_bytes()
    assert board.disk.read(f"root-{slot}", len(image)) == image
    for copy in board.disk.variables():
        assert copy is not None
        assert (copy["fleetcd_primary"], copy["fleetcd_trial"]) == (slot, "none")


def test_an_update_runs_on_trial_and_is_committed(host: Host, board: Board) -> None:
    board.power_on()
    board.wait_for(runs("1", "a"), PATIENCE)
    board.wait_for(runs("2", "b"), PATIENCE)
    wait_for_outcome(host, board, "2", Phase.COMPLETED)
    board.power_off()
    assert_settled(host, board, "2", "b")


def test_an_image_of_noise_falls_back_and_is_reported(host: Host, board: Board) -> None:
    noise = host.directory / "noise.img"
    noise.write_bytes(random.Random(3).randbytes(NOISE))
    host.release_image("3", noise)
    board.power_on()
    board.wait_for(runs("2", "b"), PATIENCE)
    board.wait_for("fleetcd: slot a does not start", PATIENCE)
    board.wait_for(runs("2", "b"), PATIENCE)
    wait_for_outcome(host, board, "3", Phase.ROLLED_BACK)
    assert host.refusals()[-1].startswith("1 of 1 failed: 1 reboot")
    board.power_off()
    assert_settled(host, board, "2", "b")


def test_a_power_cut_during_the_write_costs_nothing_but_time(host: Host, board: Board) -> None:
    image = host.image("4").read_bytes()
    host.release_image("4", host.image("4"))
    board.power_on()
    board.wait_for(runs("2", "b"), PATIENCE)
    begun = "the image is being written"
    board.wait_until(lambda: board.disk.read("root-a", START) == image[:START], PATIENCE, begun)
    board.power_off()
    assert board.disk.read("root-a", len(image)) != image, "the power went too late"
    assert_settled(host, board, "2", "b")
    board.power_on()
    board.wait_for(runs("2", "b"), PATIENCE)
    board.wait_for(runs("4", "a"), PATIENCE)
    wait_for_outcome(host, board, "4", Phase.COMPLETED)
    board.power_off()
    assert_settled(host, board, "4", "a")
