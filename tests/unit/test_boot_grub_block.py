"""GRUB's environment block: the same for us and for the real grub-editenv, and torn ones told."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.boot.grub_block import SIZE, Copy, encode, newest, parse, seal, unseal

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
NAMES = st.sampled_from(["saved_entry", "next_entry", "a", "fleetcd_seq_of_another", "x.y"])
OTHERS = st.dictionaries(NAMES, PRINTABLE)
SLOTS = st.sampled_from(["a", "b", "none"])
SEQUENCES = st.integers(1, 999_999_998)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, str]:
    ours = {"fleetcd_primary": draw(SLOTS), "fleetcd_trial": draw(SLOTS)}
    return ours | {"fleetcd_left": str(draw(st.integers(0, 9)))} | draw(OTHERS)


def editenv(path: Path, *words: str) -> str:
    done = subprocess.run(["grub-editenv", path, *words], capture_output=True, check=True)
    return done.stdout.decode()


def test_grub_editenv_lists_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "fleetcd.env.0"
    path.write_bytes(seal(Copy(12, {"note": r"back\slash # and = too", "fleetcd_primary": "a"})))
    assert editenv(path, "list").splitlines() == [
        "fleetcd_seq=12",
        r"note=back\slash # and = too",
        "fleetcd_primary=a",
        "fleetcd_check=12:a::",
    ]


def test_what_grub_editenv_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    editenv(path, "create")
    editenv(path, "set", r"saved_entry=back\slash", "two=lines\nof it", "gone=1", "last=2")
    editenv(path, "unset", "gone")
    expected = {"saved_entry": r"back\slash", "two": "lines\nof it", "last": "2"}
    assert parse(path.read_bytes()) == expected


def test_a_block_is_as_large_as_those_of_grub_editenv(tmp_path: Path) -> None:
    editenv(tmp_path / "grubenv", "create")
    assert len(seal(Copy(1, {}))) == (tmp_path / "grubenv").stat().st_size == SIZE


def test_a_copy_made_by_hand_counts(tmp_path: Path) -> None:
    """These are the commands of docs/integration/grub/README.md."""
    path = tmp_path / "fleetcd.env.0"
    editenv(path, "create")
    words = ("fleetcd_seq=1", "fleetcd_primary=a", "fleetcd_trial=none", "fleetcd_left=0")
    editenv(path, "set", *words, "fleetcd_check=1:a:none:0")
    variables = {"fleetcd_primary": "a", "fleetcd_trial": "none", "fleetcd_left": "0"}
    assert unseal(path.read_bytes()) == Copy(1, variables)


def test_a_value_changed_by_hand_alone_makes_the_copy_count_no_more(tmp_path: Path) -> None:
    path = tmp_path / "fleetcd.env.0"
    path.write_bytes(seal(Copy(1, {"fleetcd_primary": "a"})))
    editenv(path, "set", "fleetcd_primary=b")
    assert unseal(path.read_bytes()) is None


@given(SEQUENCES, contents())
def test_what_was_sealed_is_unsealed(sequence: int, variables: dict[str, str]) -> None:
    copy = Copy(sequence, variables)
    assert unseal(seal(copy)) == copy


@given(SEQUENCES, contents(), contents(), st.integers(0, SIZE))
def test_a_block_torn_anywhere_is_the_old_one_or_the_new_one_or_not_intact(
    sequence: int, before: dict[str, str], after: dict[str, str], cut: int
) -> None:
    old, new = seal(Copy(sequence, before)), seal(Copy(sequence + 1, after))
    for torn in (new[:cut] + old[cut:], old[:cut] + new[cut:]):
        assert unseal(torn) in (None, Copy(sequence, before), Copy(sequence + 1, after))


@given(st.binary(max_size=2 * SIZE))
def test_no_bytes_at_all_are_taken_for_a_copy_or_crash_it(data: bytes) -> None:
    assert unseal(data) is None
    assert unseal(b"# GRUB Environment Block\n" + data) is None


@pytest.mark.parametrize("sequence", ["", "0", "-1", "07", "0x7", "1000000000", "seven"])
def test_a_sequence_that_grub_would_read_otherwise_is_not_intact(sequence: str) -> None:
    assert unseal(encode({"fleetcd_seq": sequence, "fleetcd_check": f"{sequence}:::"})) is None


@pytest.mark.parametrize("name", ["", "#note", "a=b", "two\nlines"])
def test_a_name_that_grub_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a variable"):
        encode({name: "1"})


def test_more_than_a_block_holds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"need 1\d\d\d of 1024 bytes; remove some"):
        encode({"long": "x" * SIZE})


@pytest.mark.parametrize(
    ("sequences", "place"),
    [((1, 2), 1), ((2, 1), 0), ((2, 2), 0), ((None, 1), 1), ((1, None), 0), ((None, None), None)],
)
def test_the_newest_intact_copy_counts(
    sequences: tuple[int | None, int | None], place: int | None
) -> None:
    copies = [Copy(sequence, {}) if sequence else None for sequence in sequences]
    assert newest(copies) == place
