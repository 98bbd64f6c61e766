"""What every bootloader adapter promises. A rig is the adapter and its device's power switch."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from device_agent import durable
from device_agent.boot import environment
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.errors import InstallFailed
from device_agent.ports import BootFacts, Bootloader
from tests.support.boot_board import Disk, put_back, take
from tests.support.boot_uboot import Mender, Pair, TwoCopies
from tests.support.grub_rig import Grub
from tests.support.hostile_mounts import in_private_mounts, make_read_only, mount_partition


class Rig(Protocol):
    """A device with slots `a` (runs, primary) and `b`, and two copies of its boot variables."""

    @property
    def bootloader(self) -> Bootloader:
        """An adapter as a freshly started agent builds it: it remembers nothing."""
        ...

    def power_cycle(self) -> str:
        """Start the device again; return the slot that the bootloader chose."""
        ...

    def cuts(self, act: Callable[[Bootloader], object]) -> Iterator[None]:
        """Do `act`, then go through all that a power cut in the middle of it can leave behind.

        At each step the device is as it was, but for the boot variables.
        """
        ...

    def damage(self, copy: int) -> None:
        """Spoil copy 0 or 1 of the boot variables."""
        ...


class RecordingDurable:
    """durable, which keeps what is in the directory before each write."""

    def __init__(self, states: list[Disk]) -> None:
        self._states = states

    def write(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        self._states.append(take(path.parent))
        durable.write(path, data, mode)


class FileRig:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        boot(directory)

    @property
    def bootloader(self) -> Bootloader:
        return FileBootloader(self._directory)

    def power_cycle(self) -> str:
        return boot(self._directory).slot

    def cuts(self, act: Callable[[Bootloader], object]) -> Iterator[None]:
        states: list[Disk] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(environment, "durable", RecordingDurable(states))
            act(self.bootloader)
        for state in [*states, take(self._directory)]:
            put_back(self._directory, state)
            yield

    def damage(self, copy: int) -> None:
        (self._directory / environment.COPIES[copy]).write_bytes(b"{}")


RIGS: dict[str, Callable[[Path], Rig]] = {
    "file": FileRig,
    "grub": Grub,
    "uboot-two-copies": TwoCopies,
    "uboot-redundant-pair": Pair,
    "uboot-mender": Mender,
}


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    return RIGS[request.param](tmp_path)


def slots(facts: BootFacts) -> tuple[str, str, str | None]:
    return facts.running, facts.primary, facts.trial


def test_a_settled_device_runs_its_primary_without_a_trial(rig: Rig) -> None:
    assert slots(rig.bootloader.facts()) == ("a", "a", None)
    assert rig.power_cycle() == "a"


def test_every_boot_has_an_id_of_its_own_which_lasts_as_long_as_the_boot(rig: Rig) -> None:
    first = rig.bootloader.facts().boot_id
    assert rig.bootloader.facts().boot_id == first
    rig.power_cycle()
    assert rig.bootloader.facts().boot_id != first


def test_activating_changes_nothing_before_the_next_boot(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=2)
    assert slots(rig.bootloader.facts()) == ("a", "a", "b")


def test_an_activated_slot_starts_on_trial_and_the_primary_stays(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=2)
    assert rig.power_cycle() == "b"
    assert slots(rig.bootloader.facts()) == ("b", "a", "b")


def test_activating_twice_is_activating_once(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=1)
    rig.bootloader.activate("b", tries=1)
    assert rig.power_cycle() == "b"
    assert rig.power_cycle() == "a"


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_trial_that_is_never_committed_ends_after_its_tries(rig: Rig, tries: int) -> None:
    rig.bootloader.activate("b", tries=tries)
    assert [rig.power_cycle() for _ in range(tries + 2)] == ["b"] * tries + ["a", "a"]
    assert slots(rig.bootloader.facts()) == ("a", "a", None)


def test_a_committed_trial_is_the_primary_for_good(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=1)
    rig.power_cycle()
    rig.bootloader.commit()
    assert slots(rig.bootloader.facts()) == ("b", "b", None)
    assert [rig.power_cycle() for _ in range(3)] == ["b", "b", "b"]


def test_committing_again_has_no_effect(rig: Rig) -> None:
    rig.bootloader.commit()
    assert slots(rig.bootloader.facts()) == ("a", "a", None)
    rig.bootloader.activate("b", tries=1)
    rig.power_cycle()
    rig.bootloader.commit()
    rig.bootloader.commit()
    assert slots(rig.bootloader.facts()) == ("b", "b", None)


def test_a_trial_cancelled_before_its_boot_never_starts(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=2)
    rig.bootloader.cancel()
    assert slots(rig.bootloader.facts()) == ("a", "a", None)
    assert rig.power_cycle() == "a"


def test_a_trial_cancelled_while_it_runs_makes_way_at_the_next_boot(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=3)
    rig.power_cycle()
    rig.bootloader.cancel()
    rig.bootloader.cancel()
    assert slots(rig.bootloader.facts()) == ("b", "a", None)
    assert rig.power_cycle() == "a"


def test_a_cancelled_trial_cannot_be_committed(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=3)
    rig.power_cycle()
    rig.bootloader.cancel()
    with pytest.raises(InstallFailed):
        rig.bootloader.commit()
    assert rig.power_cycle() == "a"


def off_the_primary(rig: Rig) -> None:
    """Let slot b run while slot a is the primary, and nothing is on trial."""
    rig.bootloader.activate("b", tries=3)
    rig.power_cycle()
    rig.bootloader.cancel()


def test_a_slot_that_runs_in_the_primarys_place_can_be_adopted_for_good(rig: Rig) -> None:
    off_the_primary(rig)
    rig.bootloader.adopt()
    assert slots(rig.bootloader.facts()) == ("b", "b", None)
    assert [rig.power_cycle() for _ in range(3)] == ["b", "b", "b"]


def test_adopting_again_has_no_effect(rig: Rig) -> None:
    rig.bootloader.adopt()
    assert slots(rig.bootloader.facts()) == ("a", "a", None)
    off_the_primary(rig)
    rig.bootloader.adopt()
    rig.bootloader.adopt()
    assert slots(rig.bootloader.facts()) == ("b", "b", None)
    assert rig.power_cycle() == "b"


def test_from_an_adopted_slot_the_other_one_can_be_tried_and_committed(rig: Rig) -> None:
    off_the_primary(rig)
    rig.bootloader.adopt()
    rig.bootloader.activate("a", tries=2)
    assert rig.power_cycle() == "a"
    rig.bootloader.commit()
    assert slots(rig.bootloader.facts()) == ("a", "a", None)


def test_a_slot_on_trial_cannot_be_adopted(rig: Rig) -> None:
    on_trial(rig)
    with pytest.raises(InstallFailed, match="commit or cancel"):
        rig.bootloader.adopt()
    assert slots(rig.bootloader.facts()) == ("b", "a", "b")


def test_adopting_the_primary_leaves_the_trial_to_start(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=1)
    rig.bootloader.adopt()
    assert slots(rig.bootloader.facts()) == ("a", "a", "b")
    assert [rig.power_cycle() for _ in range(2)] == ["b", "a"]


@pytest.mark.parametrize("kind", [Grub, Pair, TwoCopies])
def test_a_primary_that_does_not_load_is_seen_in_the_facts_and_can_be_left(
    kind: type[Grub] | type[Pair] | type[TwoCopies], tmp_path: Path
) -> None:
    """By the boot scripts that start the other slot in the same boot."""
    board = kind(tmp_path)
    board.unloadable = {"a"}
    for _ in range(2):
        assert board.power_cycle() == "b"
        assert slots(board.bootloader.facts()) == ("b", "a", None)
    board.bootloader.adopt()
    board.unloadable = set()
    assert board.power_cycle() == "b"
    assert slots(board.bootloader.facts()) == ("b", "b", None)


def test_the_running_primary_cannot_be_put_on_trial(rig: Rig) -> None:
    with pytest.raises(InstallFailed):
        rig.bootloader.activate("a", tries=1)
    assert slots(rig.bootloader.facts()) == ("a", "a", None)


def test_no_slot_is_activated_from_a_trial_that_is_not_committed(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=2)
    rig.power_cycle()
    with pytest.raises(InstallFailed):
        rig.bootloader.activate("a", tries=2)
    assert slots(rig.bootloader.facts()) == ("b", "a", "b")


def test_a_trial_that_runs_gets_no_new_tries(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=1)
    rig.power_cycle()
    with pytest.raises(InstallFailed):
        rig.bootloader.activate("b", tries=2)
    assert rig.power_cycle() == "a"


def test_committing_before_the_trial_has_started_leaves_it_to_start(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=1)
    rig.bootloader.commit()
    assert slots(rig.bootloader.facts()) == ("a", "a", "b")
    assert [rig.power_cycle() for _ in range(2)] == ["b", "a"]


def test_a_device_can_go_there_and_back_again(rig: Rig) -> None:
    for slot in ("b", "a", "b"):
        rig.bootloader.activate(slot, tries=2)
        assert rig.power_cycle() == slot
        rig.bootloader.commit()
    assert slots(rig.bootloader.facts()) == ("b", "b", None)


def next_start(facts: BootFacts) -> str:
    return facts.trial or facts.primary


def settled(rig: Rig) -> None:
    assert rig.power_cycle() == "a"


def on_trial(rig: Rig) -> None:
    rig.bootloader.activate("b", tries=2)
    rig.power_cycle()


@pytest.mark.parametrize(
    ("prepare", "act", "after"),
    [
        pytest.param(
            settled,
            lambda bootloader: bootloader.activate("b", tries=2),
            ("a", "a", "b"),
            id="activate",
        ),
        pytest.param(
            on_trial, lambda bootloader: bootloader.commit(), ("b", "b", None), id="commit"
        ),
        pytest.param(
            on_trial, lambda bootloader: bootloader.cancel(), ("b", "a", None), id="cancel"
        ),
        pytest.param(
            off_the_primary, lambda bootloader: bootloader.adopt(), ("b", "b", None), id="adopt"
        ),
    ],
)
def test_a_power_cut_at_any_moment_leaves_the_old_facts_or_the_new(
    rig: Rig,
    prepare: Callable[[Rig], None],
    act: Callable[[Bootloader], None],
    after: tuple[str, str, str | None],
) -> None:
    prepare(rig)
    before, seen = slots(rig.bootloader.facts()), []
    for _ in rig.cuts(act):
        facts = rig.bootloader.facts()
        assert slots(facts) in (before, after)
        assert rig.power_cycle() == next_start(facts)
        seen.append(slots(facts))
    assert (seen[0], seen[-1]) == (before, after)
    assert len(seen) >= 3


@pytest.mark.parametrize("copy", [0, 1])
def test_a_power_cut_never_costs_the_only_intact_copy(rig: Rig, copy: int) -> None:
    rig.damage(copy)
    for _ in rig.cuts(lambda bootloader: bootloader.activate("b", tries=2)):
        assert slots(rig.bootloader.facts()) in (("a", "a", None), ("a", "a", "b"))


@pytest.mark.parametrize("copy", [0, 1])
def test_after_a_commit_either_copy_alone_is_enough(rig: Rig, copy: int) -> None:
    on_trial(rig)
    rig.bootloader.commit()
    rig.damage(copy)
    assert slots(rig.bootloader.facts()) == ("b", "b", None)
    assert rig.power_cycle() == "b"


@pytest.mark.parametrize("copy", [0, 1])
def test_after_an_adoption_either_copy_alone_is_enough(rig: Rig, copy: int) -> None:
    off_the_primary(rig)
    rig.bootloader.adopt()
    rig.damage(copy)
    assert slots(rig.bootloader.facts()) == ("b", "b", None)
    assert rig.power_cycle() == "b"


@pytest.mark.parametrize("copy", [0, 1])
def test_a_damaged_copy_is_made_whole_by_the_next_operation(rig: Rig, copy: int) -> None:
    rig.bootloader.activate("b", tries=2)
    rig.damage(copy)
    rig.bootloader.activate("b", tries=2)
    rig.damage(1 - copy)
    assert slots(rig.bootloader.facts()) == ("a", "a", "b")
    assert rig.power_cycle() == "b"


def test_without_any_intact_copy_nothing_is_made_up(rig: Rig) -> None:
    for copy in (0, 1):
        rig.damage(copy)
    loader = rig.bootloader
    for act in (loader.facts, loader.commit, loader.cancel, loader.adopt):
        with pytest.raises(InstallFailed, match="restart the device"):
            act()
    assert rig.power_cycle() == "a"
    assert slots(rig.bootloader.facts()) == ("a", "a", None)


@pytest.mark.parametrize("name", sorted(RIGS))
def test_variables_that_cannot_be_written_are_a_failed_install_and_stay(
    name: str, tmp_path: Path
) -> None:
    def read_only() -> None:
        mount_partition(tmp_path, 4)
        rig = RIGS[name](tmp_path)
        make_read_only(tmp_path)
        with pytest.raises(InstallFailed):
            rig.bootloader.activate("b", tries=2)
        assert slots(rig.bootloader.facts()) == ("a", "a", None)

    in_private_mounts(read_only)
