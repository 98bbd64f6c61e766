"""The file bootloader: two copies that cover for each other, tries counted before their use."""

from pathlib import Path

import pytest

from device_agent import durable
from device_agent.boot import environment
from device_agent.boot.environment import COPIES, Environment, load, save
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot, next_boot
from device_agent.boot.none import NoBootloader
from device_agent.errors import InstallFailed
from device_agent.ports import BootFacts

ID = "0" * 32


def variables(primary: str = "a", trial: str | None = None, tries: int = 0) -> Environment:
    return Environment(primary, trial, tries, primary, ID, 1)


class FullDisk:
    """Lets `writes` writes through and fails from then on, as a disk that fills up does."""

    def __init__(self, writes: int) -> None:
        self._left = writes

    def write(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        if self._left == 0:
            raise OSError(28, "No space left on device")
        self._left -= 1
        durable.write(path, data, mode)


def on_full_disk(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    monkeypatch.setattr(environment, "durable", FullDisk(after))


def test_a_new_device_starts_the_default_slot_and_makes_it_the_primary(tmp_path: Path) -> None:
    assert boot(tmp_path, default="b").slot == "b"
    assert FileBootloader(tmp_path).facts().primary == "b"


def test_a_try_is_counted_before_the_slot_is_started(tmp_path: Path) -> None:
    save(tmp_path, variables(trial="b", tries=2))
    assert boot(tmp_path).slot == "b"
    after = load(tmp_path)
    assert after is not None
    assert (after.running, after.tries, after.boots) == ("b", 1, 2)


def test_no_trial_starts_when_the_counter_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, variables(trial="b", tries=1))
    on_full_disk(monkeypatch, after=0)
    with pytest.raises(OSError, match="No space"):
        boot(tmp_path)
    assert load(tmp_path) == variables(trial="b", tries=1)


def test_a_spent_trial_is_given_up_and_forgotten() -> None:
    after = next_boot(variables(trial="b", tries=0), "1" * 32, default="a")
    assert (after.running, after.trial, after.tries) == ("a", None, 0)


@pytest.mark.parametrize("lost", COPIES)
@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\x00", None])
def test_one_damaged_copy_costs_nothing(tmp_path: Path, lost: str, damage: bytes | None) -> None:
    save(tmp_path, variables())
    save(tmp_path, variables(primary="b"))
    damaged(tmp_path / lost, damage)
    assert load(tmp_path) == variables(primary="b")


def damaged(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def test_every_flipped_bit_of_a_copy_is_noticed(tmp_path: Path) -> None:
    save(tmp_path, variables(trial="b", tries=2))
    good = (tmp_path / COPIES[0]).read_bytes()
    (tmp_path / COPIES[1]).unlink()
    for index in range(len(good.rstrip())):
        for bit in range(8):
            flipped = bytearray(good)
            flipped[index] ^= 1 << bit
            (tmp_path / COPIES[0]).write_bytes(flipped)
            assert load(tmp_path) in (None, variables(trial="b", tries=2))


def test_a_save_cut_between_the_copies_keeps_the_new_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, variables())
    on_full_disk(monkeypatch, after=1)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, variables(primary="b"))
    monkeypatch.undo()
    assert load(tmp_path) == variables(primary="b")
    save(tmp_path, variables(primary="a"))
    assert load(tmp_path) == variables(primary="a")


def test_the_copy_that_survives_a_cut_save_is_never_the_one_written_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, variables())
    on_full_disk(monkeypatch, after=1)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, variables(primary="b"))
    on_full_disk(monkeypatch, after=1)
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, variables(primary="b", trial="a", tries=1))
    copies = [environment._read(tmp_path / name) for name in COPIES]
    assert [copy.variables.primary for copy in copies if copy] == ["b", "b"]


def test_without_an_intact_copy_the_agent_touches_nothing(tmp_path: Path) -> None:
    bootloader = FileBootloader(tmp_path)
    for act in (bootloader.facts, bootloader.commit, bootloader.cancel):
        with pytest.raises(InstallFailed, match="restart the device"):
            act()
    assert list(tmp_path.iterdir()) == []


def test_both_copies_lost_still_boots_the_default(tmp_path: Path) -> None:
    save(tmp_path, variables(primary="b"))
    for name in COPIES:
        (tmp_path / name).write_bytes(b"\0" * 100)
    assert boot(tmp_path, default="a").slot == "a"


def test_a_full_disk_is_a_failed_install_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot(tmp_path)
    on_full_disk(monkeypatch, after=0)
    with pytest.raises(InstallFailed, match="No space left on device"):
        FileBootloader(tmp_path).activate("b", tries=1)


def test_a_trial_needs_at_least_one_try(tmp_path: Path) -> None:
    boot(tmp_path)
    with pytest.raises(InstallFailed, match="0 tries"):
        FileBootloader(tmp_path).activate("b", tries=0)


def test_a_device_without_slots_has_facts_and_refuses_trials() -> None:
    bootloader = NoBootloader()
    facts = bootloader.facts()
    assert facts == BootFacts(boot_id=facts.boot_id, running="", primary="", trial=None)
    assert len(facts.boot_id) == 32
    bootloader.commit()
    bootloader.cancel()
    with pytest.raises(InstallFailed, match="no slots"):
        bootloader.activate("b", tries=1)
