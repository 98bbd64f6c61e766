"""grub.cfg, run by GRUB itself (grub-emu) on a disk image, and the same told in Python."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.boot.grub_block import SIZE, encode, unseal
from tests.support.grub_device import BOTH, NAMES, SCRIPT, Emulated, boot, settled

TRIAL = settled("a", sequence=7, trial="b", left=2)
COUNTED = settled("a", sequence=7, trial="b", left=1)
HOLE = bytes(3 * SIZE)  # mke2fs leaves blocks of zeros out, and save_env refuses such files


def torn(new: bytes, old: bytes) -> bytes:
    """Return a block of which only the beginning reached the disk."""
    return new[:48] + old[48:]


TORN = torn(settled(sequence=8), TRIAL)


@dataclass(frozen=True, slots=True)
class Case:
    """The copies as GRUB finds them (None: no file), what it starts, and the copies afterwards."""

    copies: tuple[bytes | None, bytes | None]
    slot: str | None
    after: tuple[bytes | None, bytes | None]
    loadable: frozenset[str] = BOTH


def untouched(*copies: bytes | None, slot: str | None, loadable: frozenset[str] = BOTH) -> Case:
    first, second = copies
    return Case((first, second), slot, (first, second), loadable)


CASES = {
    "the primary a": untouched(settled("a"), settled("a"), slot="a"),
    "the primary b": untouched(settled("b"), settled("b"), slot="b"),
    "a trial is counted in the copy that counts": Case((TRIAL, TRIAL), "b", (COUNTED, TRIAL)),
    "a trial of a": Case(
        (settled("b", trial="a", left=1),) * 2,
        "a",
        (settled("b", trial="a", left=0), settled("b", trial="a", left=1)),
    ),
    "nine tries": Case(
        (settled(trial="b", left=9),) * 2,
        "b",
        (settled(trial="b", left=8), settled(trial="b", left=9)),
    ),
    "no try is left": untouched(*[settled(trial="b", left=0)] * 2, slot="a"),
    "a number of tries that it cannot count": untouched(
        *[settled(trial="b", left=10)] * 2, slot="a"
    ),
    "a trial of the primary is none": untouched(*[settled("b", trial="b", left=2)] * 2, slot="b"),
    "a trial of an unknown slot is none": untouched(*[settled(trial="c", left=2)] * 2, slot="a"),
    "the second copy is newer": Case(
        (settled("b", sequence=6), TRIAL), "b", (settled("b", sequence=6), COUNTED)
    ),
    "the first copy is newer": Case(
        (TRIAL, settled("b", sequence=6)), "b", (COUNTED, settled("b", sequence=6))
    ),
    "numbers, not texts": untouched(settled("a", sequence=9), settled("b", sequence=10), slot="b"),
    "one try is counted already": Case(
        (COUNTED, TRIAL), "b", (settled("a", sequence=7, trial="b", left=0), TRIAL)
    ),
    "the first copy is torn": Case((TORN, TRIAL), "b", (TORN, COUNTED)),
    "the second copy is torn": Case((TRIAL, TORN), "b", (COUNTED, TORN)),
    "the first copy is destroyed": Case((bytes(SIZE), TRIAL), "b", (bytes(SIZE), COUNTED)),
    "the first copy is missing": Case((None, TRIAL), "b", (None, COUNTED)),
    "the second copy is missing": Case((TRIAL, None), "b", (COUNTED, None)),
    "both copies are destroyed": untouched(bytes(SIZE), bytes(SIZE), slot="a"),
    "both copies are missing": untouched(None, None, slot="a"),
    "both copies are torn": Case((TORN, TORN), "a", (settled("a"), settled("a"))),
    "both copies are new": Case((encode({}), encode({})), "a", (settled("a"), settled("a"))),
    "both copies are torn and a cannot be loaded": Case(
        (TORN, TORN), "b", (settled("b"), settled("b")), frozenset({"b"})
    ),
    "the try cannot be saved": untouched(TRIAL + HOLE, TRIAL, slot="a"),
    "the trial cannot be loaded": Case((TRIAL, TRIAL), "a", (COUNTED, TRIAL), frozenset({"a"})),
    "the primary cannot be loaded": untouched(
        settled(), settled(), slot="b", loadable=frozenset({"b"})
    ),
    "neither can be loaded": untouched(settled(), settled(), slot=None, loadable=frozenset()),
}


@pytest.fixture(scope="module")
def grub(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    return Emulated(tmp_path_factory.mktemp("grub"))


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / NAMES[0], tmp_path / NAMES[1]


def lay(blocks: tuple[bytes | None, bytes | None], copies: tuple[Path, Path]) -> None:
    for path, block in zip(copies, blocks, strict=True):
        if block is not None:
            path.write_bytes(block)


def found(copies: tuple[Path, Path]) -> list[object]:
    """Return what the copies hold: the order of variables is GRUB's affair."""
    blocks = [path.read_bytes() if path.exists() else None for path in copies]
    return [block and (unseal(block) or block) for block in blocks]


def expected(case: Case) -> list[object]:
    return [block and (unseal(block) or block) for block in case.after]


def test_grub_finds_no_fault_in_the_script() -> None:
    done = subprocess.run(["grub-script-check", str(SCRIPT)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", CASES)
def test_grub_starts_what_the_copies_say(
    name: str, copies: tuple[Path, Path], grub: Emulated
) -> None:
    case = CASES[name]
    lay(case.copies, copies)
    assert grub.start(copies, case.loadable).slot == case.slot
    assert found(copies) == expected(case)


@pytest.mark.parametrize("name", CASES)
def test_the_rig_starts_what_grub_starts(name: str, copies: tuple[Path, Path]) -> None:
    case = CASES[name]
    lay(case.copies, copies)
    assert boot(copies, case.loadable) == case.slot
    assert found(copies) == expected(case)


@pytest.mark.parametrize("cut", [27, 45, 63, 88])
@pytest.mark.parametrize("whole", ["first", "second", "neither"])
def test_the_rig_leaves_torn_copies_as_grub_does_to_the_byte(
    whole: str, cut: int, copies: tuple[Path, Path], grub: Emulated
) -> None:
    half = TRIAL[:cut] + settled(sequence=6)[cut:]
    blocks = {"first": (TRIAL, half), "second": (half, TRIAL), "neither": (half, half)}[whole]
    lay(blocks, copies)
    in_rig = boot(copies), [path.read_bytes() for path in copies]
    lay(blocks, copies)
    assert (grub.start(copies).slot, [path.read_bytes() for path in copies]) == in_rig


def test_the_kernel_is_told_its_root_its_slot_and_to_restart_after_a_panic(
    copies: tuple[Path, Path], grub: Emulated
) -> None:
    lay(CASES["the primary b"].copies, copies)
    arguments = grub.start(copies).arguments
    assert arguments[:4] == (
        "(hd0,gpt4)/boot/vmlinuz",
        "root=/dev/nvme0n1p4",
        "fleetcd.slot=b",
        "panic=10",
    )


@pytest.mark.parametrize("slot", ["a", "b"])
def test_the_kernel_is_told_which_slot_became_the_primary_for_want_of_an_intact_copy(
    slot: str, copies: tuple[Path, Path], grub: Emulated
) -> None:
    lay(CASES["both copies are destroyed"].copies, copies)
    assert f"fleetcd.anew={slot}" in grub.start(copies, frozenset({slot})).arguments


def test_the_kernel_is_told_of_no_new_primary_with_a_copy_intact(
    copies: tuple[Path, Path], grub: Emulated
) -> None:
    lay(CASES["the first copy is destroyed"].copies, copies)
    arguments = grub.start(copies).arguments
    assert not [word for word in arguments if "anew" in word or not word]


def test_a_lost_environment_is_said_on_the_console(
    copies: tuple[Path, Path], grub: Emulated
) -> None:
    printed = grub.start(copies).printed
    assert "no copy of the environment is intact; starting slot a" in printed


def test_a_try_that_cannot_be_counted_is_said_on_the_console(
    copies: tuple[Path, Path], grub: Emulated
) -> None:
    lay(CASES["the try cannot be saved"].copies, copies)
    printed = grub.start(copies).printed
    assert "sparse file not allowed" in printed
    assert "the try cannot be counted; no trial of slot b" in printed
