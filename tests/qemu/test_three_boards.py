"""A rollout over three boards, of which the first one to get it breaks."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from schemas.wire.status import Phase
from tests.qemu.host import OWN_FILES, Host
from tests.qemu.machine import Board
from tests.qemu.partitions import tree
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

        def is_halted() -> bool:
            for board in boards.values():
                board.look()
            status = host.status()
            return bool(status and status.rollout and status.rollout.phase is Phase.HALTED)

        first = next(iter(boards.values()))
        first.wait_until(is_halted, 3 * PATIENCE, "the rollout is halted")
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
        for identity, board in zip(host.boards, boards.values(), strict=True):
            assert board.disk.read("root-a", len(image)) == image
            for copy in board.disk.variables():
                assert copy is not None
                assert (copy["fleetcd_primary"], copy["fleetcd_trial"]) == ("a", "none")
            found, made = tree(board.disk.data(tmp_path / identity.key[-8:])), tree(identity.data)
            assert [found[path] for path in OWN_FILES] == [made[path] for path in OWN_FILES]
            board.power_on()
            board.wait_for(r"init: image 1, .*fleetcd\.slot=a", PATIENCE)
            board.power_off()
