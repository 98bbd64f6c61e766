"""A rollout over three boards, of which the first one to get it breaks."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas.wire.status import Phase
from tests.qemu.host import Host
from tests.qemu.machine import Board
from tests.qemu.stories import PATIENCE
from tests.qemu.uboot import UBootKind

pytestmark = pytest.mark.qemu_all

UNTOUCHED = bytes(1024 * 1024)  # the start of a slot that was never written to


def test_a_broken_canary_keeps_the_release_from_the_other_boards(tmp_path: Path) -> None:
    with Host(tmp_path, UBootKind(), boards=3) as host, ExitStack() as powered:
        host.prepare()
        host.release_image("2", host.image("2", {"/etc/sick": ""}))
        host.start_reconciler()
        boards = {
            one.name: powered.enter_context(
                Board(host.disk("1", one), tmp_path / f"{one.name}.console")
            )
            for one in host.boards
        }
        for board in boards.values():
            board.power_on()

        def everybody_settled() -> bool:
            for board in boards.values():
                board.look()
            status = host.status()
            return bool(status and status.rollout and status.rollout.phase is Phase.ROLLED_BACK)

        first = next(iter(boards.values()))
        first.wait_until(everybody_settled, 3 * PATIENCE, "the rollout is rolled back")
        assert host.refusals()[-1].startswith("1 of 1 failed: 1 healthcheck")
        for board in boards.values():
            board.power_off()
        tried = [
            name
            for name, board in boards.items()
            if board.disk.read("root-b", len(UNTOUCHED)) != UNTOUCHED
        ]
        assert len(tried) == 1, f"image 2 came to {tried}"
        image = host.image("1").read_bytes()
        for board in boards.values():
            assert board.disk.read("root-a", len(image)) == image
            board.power_on()
            board.wait_for(r"init: image 1, .*fleetcd\.slot=a", PATIENCE)
            board.power_off()
