"""boot.cmd in a real U-Boot decides what the contract suite's rig decides, and stores the same."""

from pathlib import Path

import pytest

from tests.support.boot_qemu import QemuBoard
from tests.support.boot_uboot import PLACES, TwoCopies, Words, exported, imported

pytestmark = pytest.mark.ci


def words(primary: str, trial: str, left: str, seq: str) -> Words:
    given = {"primary": primary, "trial": trial, "left": left, "seq": seq}
    return {f"fleetcd_{name}": value for name, value in given.items() if value}


SETTLED, TRIAL = words("a", "none", "0", "9"), words("a", "b", "2", "9")
LATER = words("b", "none", "0", "a")

CASES = [
    pytest.param([SETTLED, SETTLED], set(), id="settled"),
    pytest.param([TRIAL, TRIAL], set(), id="a trial costs a try"),
    pytest.param([words("b", "a", "1", "f")] * 2, set(), id="the last try, sequence f"),
    pytest.param([words("a", "b", "0", "9")] * 2, set(), id="no try left"),
    pytest.param([words("a", "b", "x", "9")] * 2, set(), id="tries that are no number"),
    pytest.param([words("a", "b", "12", "9")] * 2, set(), id="tries of two digits"),
    pytest.param([words("a", "b", "", "9")] * 2, set(), id="no tries"),
    pytest.param([words("a", "a", "2", "9")] * 2, set(), id="the primary on trial"),
    pytest.param([None, TRIAL], set(), id="copy 0 corrupt"),
    pytest.param([TRIAL, None], set(), id="copy 1 corrupt"),
    pytest.param([None, None], set(), id="both corrupt"),
    pytest.param([None, None], {"a"}, id="both corrupt and a does not load"),
    pytest.param([TRIAL, LATER], set(), id="copy 1 newer, in hexadecimal"),
    pytest.param([LATER, TRIAL], set(), id="copy 0 newer, in hexadecimal"),
    pytest.param([TRIAL, words("a", "none", "0", "")], set(), id="no sequence is the oldest"),
    pytest.param([TRIAL, TRIAL], {"b"}, id="the trial does not load"),
    pytest.param([SETTLED, SETTLED], {"a"}, id="the primary does not load"),
]


class Told(TwoCopies):
    """The rig, with the copies that a case gives."""

    def prepare(self, copies: list[Words | None], unloadable: set[str]) -> None:
        self.unloadable = unloadable
        content = bytearray(self.disk.read_bytes())
        for place, given in zip(PLACES, copies, strict=True):
            data = bytes([255] * 4096) if given is None else exported(given)
            content[place : place + len(data)] = data
        self.disk.write_bytes(content)

    def copies(self) -> list[Words | None]:
        return [imported(self.disk.read_bytes()[place:]) for place in PLACES]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> QemuBoard:
    return QemuBoard(tmp_path_factory.mktemp("board"))


@pytest.mark.parametrize(("copies", "unloadable"), CASES)
def test_u_boot_starts_and_stores_what_the_rig_does(
    board: QemuBoard, tmp_path: Path, copies: list[Words | None], unloadable: set[str]
) -> None:
    told = Told(tmp_path)
    for device in (told, board):
        device.prepare(copies, unloadable)
    assert board.boot() == told.boot()
    assert board.copies() == told.copies()


def test_no_trial_starts_when_its_try_cannot_be_saved(board: QemuBoard) -> None:
    board.prepare([TRIAL, TRIAL], set())
    assert board.boot(",readonly=on") == "a"
    assert board.copies() == [TRIAL, TRIAL]


def test_when_neither_slot_loads_the_script_comes_to_its_end(board: QemuBoard) -> None:
    board.prepare([SETTLED, SETTLED], {"a", "b"})
    assert board.boot() is None
    assert board.copies() == [SETTLED, SETTLED]
