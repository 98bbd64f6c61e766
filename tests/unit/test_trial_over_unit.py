"""The shell of docs/integration/watchdog.md that asks whether the slot that runs is on trial."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.qemu.uboot import ENVIRONMENT, environment
from tests.support.integration_pages import INTEGRATION

ARGUMENTS = "root=/dev/sda4 ro fleetcd.slot={slot} panic=5\n"
COMMITTED = {"fleetcd_primary": "b", "fleetcd_trial": "none"}
ON_TRIAL = {"fleetcd_primary": "a", "fleetcd_trial": "b"}
WITHOUT = {"fleetcd_primary": "b"}


class UBoot:
    """Two copies of U-Boot's environment, and what the page asks of them."""

    question = r"^ExecCondition=/bin/sh -c '(.*)'$"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def store(self, copy: int, variables: dict[str, str]) -> None:
        stored = self._directory / f"copy.{copy}"
        stored.write_bytes(environment(variables, ENVIRONMENT))
        config = self._directory / f"fw_env.{copy}.config"
        config.write_text(f"{stored} 0x0 {ENVIRONMENT:#x}\n")


class Grub:
    """As UBoot, with files of GRUB."""

    question = r"^(for copy in 0 1; do .*grub-editenv.*)$"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def store(self, copy: int, variables: dict[str, str]) -> None:
        file = self._directory / f"fleetcd.env.{copy}"
        pairs = [f"{name}={value}" for name, value in variables.items()]
        for words in (["create"], ["set", *pairs]):
            subprocess.run(["grub-editenv", file, *words], check=True, timeout=10)


Rig = UBoot | Grub


@pytest.fixture(params=[UBoot, Grub])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    made: Rig = request.param(tmp_path)
    return made


def on_trial(rig: Rig, directory: Path, *copies: dict[str, str], slot: str = "b") -> bool:
    """Ask as a device would whose slot `slot` runs."""
    for copy, variables in enumerate(copies):
        rig.store(copy, variables)
    (directory / "cmdline").write_text(ARGUMENTS.format(slot=slot))
    page = (INTEGRATION / "watchdog.md").read_text()
    (script,) = re.findall(rig.question, page, re.MULTILINE)
    script = re.sub(r"/etc/(?=fw_env)|/boot/fleetcd/|/proc/(?=cmdline)", f"{directory}/", script)
    return subprocess.run(["/bin/sh", "-c", script], timeout=10, check=False).returncode == 0


def test_a_slot_that_runs_on_trial_is_one(rig: Rig, tmp_path: Path) -> None:
    assert on_trial(rig, tmp_path, ON_TRIAL, ON_TRIAL)


def test_a_committed_slot_is_not_on_trial(rig: Rig, tmp_path: Path) -> None:
    assert not on_trial(rig, tmp_path, COMMITTED, COMMITTED)


def test_the_old_slot_is_not_on_trial_before_the_restart(rig: Rig, tmp_path: Path) -> None:
    assert not on_trial(rig, tmp_path, ON_TRIAL, ON_TRIAL, slot="a")


@pytest.mark.parametrize("copies", [(ON_TRIAL, COMMITTED), (COMMITTED, ON_TRIAL)])
def test_a_commit_that_was_cut_short_is_not_on_trial(
    rig: Rig, tmp_path: Path, copies: tuple[dict[str, str], dict[str, str]]
) -> None:
    assert not on_trial(rig, tmp_path, *copies)


def test_a_board_without_the_variable_is_not_on_trial(rig: Rig, tmp_path: Path) -> None:
    assert not on_trial(rig, tmp_path, WITHOUT, WITHOUT)


def test_a_board_whose_copies_are_lost_is_not_on_trial(rig: Rig, tmp_path: Path) -> None:
    assert not on_trial(rig, tmp_path)
