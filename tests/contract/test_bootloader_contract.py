"""What every bootloader adapter promises. A rig is the adapter and its device's power switch."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.errors import InstallFailed
from device_agent.ports import BootFacts, Bootloader


class Rig(Protocol):
    """A device with slots `a` (runs, primary) and `b`."""

    @property
    def bootloader(self) -> Bootloader:
        """An adapter as a freshly started agent builds it: it remembers nothing."""
        ...

    def power_cycle(self) -> str:
        """Start the device again; return the slot that the bootloader chose."""
        ...


class FileRig:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        boot(directory)

    @property
    def bootloader(self) -> Bootloader:
        return FileBootloader(self._directory)

    def power_cycle(self) -> str:
        return boot(self._directory).slot


RIGS: dict[str, Callable[[Path], Rig]] = {"file": FileRig}


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


def test_a_device_can_go_there_and_back_again(rig: Rig) -> None:
    for slot in ("b", "a", "b"):
        rig.bootloader.activate(slot, tries=2)
        assert rig.power_cycle() == slot
        rig.bootloader.commit()
    assert slots(rig.bootloader.facts()) == ("b", "b", None)
