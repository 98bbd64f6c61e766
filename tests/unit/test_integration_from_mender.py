"""docs/integration/from-mender.md: its scripts, run with the real fw_printenv and fw_setenv."""

import shutil
import subprocess
from pathlib import Path

import pytest

from device_agent.cli import main as agent
from device_agent.journal import Journal
from tests.support.agent_fakes import MODULE, a_record
from tests.support.boot_uboot import Mender
from tests.support.integration_pages import INTEGRATION, LEAST, blocks

MAY_RUN, TAKE_OVER, BEFORE_COMMIT = "it is the agent's own trial", "Keeps the slot", "exit 21"
CHOOSE_BY_HAND = "the old slot"
NO_DEPLOYMENT, DEPLOYMENT = "null", '{\n    "attempt": 1\n  }'
FOR_TEN_ROUNDS = 60.0  # seconds for a script; the pauses between its rounds take none here


def script(words: str) -> str:
    """Return the script of the page that has `words` in it."""
    page = INTEGRATION / "from-mender.md"
    (found,) = (text for text in blocks(page, "sh") if words in text)
    return found


class Migrating:
    """A board of Mender's, in the image that Mender has just put on trial in slot b."""

    def __init__(self, directory: Path) -> None:
        self.board = Mender(directory)
        self._tools = directory / "tools"
        self._tools.mkdir()
        for tool in ("fw_printenv", "fw_setenv"):
            real = shutil.which(tool)
            assert real, "install libubootenv-tool"
            self._program(tool, f'exec {real} -c "{self.board.configs[0]}" "$@"')
        self._program("sleep", "exit 0")
        self.set("mender_boot_part=3", "mender_boot_part_hex=3", "upgrade_available=1")
        assert self.board.power_cycle() == "b"

    def set(self, *variables: str) -> None:
        """Store variables as Mender's module does."""
        assert self.run(f"printf '%s\\n' {' '.join(variables)} | fw_setenv -s -") == 0

    def agent_says(self, *, check: int, deployment: str) -> None:
        """Let `fleetcd-agent check` exit with that, and `show` print that deployment."""
        shown = f"""'{{\n  "deployment": {deployment},\n  "failed": {{}}\n}}'"""
        says = f"case $1 in check) exit {check} ;; show) echo {shown} ;; esac"
        self._program("fleetcd-agent", says)

    def run(self, script: str) -> int:
        """Run a script of the page, and return its exit status."""
        environment = {"PATH": f"{self._tools}:/usr/sbin:/usr/bin:/sbin:/bin"}
        argv = ["/bin/sh", "-c", script]
        return subprocess.run(argv, env=environment, timeout=FOR_TEN_ROUNDS, check=False).returncode

    def _program(self, name: str, does: str) -> None:
        (self._tools / name).write_text(f"#!/bin/sh\n{does}\n")
        (self._tools / name).chmod(0o755)


@pytest.fixture
def migrating(tmp_path: Path) -> Migrating:
    return Migrating(tmp_path)


def test_a_trial_of_menders_is_one_that_the_agent_would_leave(migrating: Migrating) -> None:
    """What it does about a trial without a deployment shows unit/test_agent_step.py."""
    facts = migrating.board.bootloader.facts()
    assert (facts.running, facts.trial, facts.primary) == ("b", "b", "a")
    migrating.board.bootloader.cancel()
    assert migrating.board.power_cycle() == "a"


def test_the_agent_may_not_run_while_a_trial_of_menders_is_undecided(migrating: Migrating) -> None:
    migrating.agent_says(check=0, deployment=NO_DEPLOYMENT)
    assert migrating.run(script(MAY_RUN)) != 0
    migrating.set("upgrade_available=0")  # Mender's commit
    assert migrating.run(script(MAY_RUN)) == 0
    assert migrating.board.bootloader.facts().primary == "b"


def test_the_agent_may_run_in_a_trial_of_its_own(migrating: Migrating) -> None:
    migrating.agent_says(check=0, deployment=DEPLOYMENT)
    assert migrating.run(script(MAY_RUN)) == 0


def test_mender_repeats_its_commit_until_the_fleet_can_be_asked(migrating: Migrating) -> None:
    migrating.agent_says(check=69, deployment=NO_DEPLOYMENT)
    assert migrating.run(script(BEFORE_COMMIT)) == 21
    migrating.agent_says(check=0, deployment=NO_DEPLOYMENT)
    assert migrating.run(script(BEFORE_COMMIT)) == 0


def test_a_take_over_keeps_the_slot_when_the_fleet_can_be_asked(migrating: Migrating) -> None:
    migrating.agent_says(check=0, deployment=NO_DEPLOYMENT)
    assert migrating.run(script(TAKE_OVER)) == 0
    facts = migrating.board.bootloader.facts()
    assert (facts.primary, facts.trial) == ("b", None)
    assert [migrating.board.power_cycle() for _ in range(3)] == ["b", "b", "b"]


def test_a_take_over_that_cannot_ask_the_fleet_falls_back(migrating: Migrating) -> None:
    migrating.agent_says(check=69, deployment=NO_DEPLOYMENT)
    assert migrating.run(script(TAKE_OVER)) != 0, "the unit restarts the device"
    assert migrating.board.power_cycle() == "a"


def test_a_take_over_commits_no_trial_of_the_fleet(migrating: Migrating) -> None:
    migrating.agent_says(check=0, deployment=DEPLOYMENT)
    assert migrating.run(script(TAKE_OVER)) == 0
    assert migrating.board.bootloader.facts().trial == "b"


def test_the_old_slot_can_be_chosen_by_hand(migrating: Migrating) -> None:
    migrating.set("upgrade_available=0")
    assert migrating.run(script(CHOOSE_BY_HAND)) == 0
    assert migrating.board.power_cycle() == "a"


@pytest.mark.parametrize("at_work", [True, False])
def test_show_says_whether_a_deployment_is_at_work_as_the_scripts_read_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], at_work: bool
) -> None:
    config, state = tmp_path / "agent.toml", tmp_path / "state"
    config.write_text(LEAST.replace("[server]", 'state = "state"\n[server]'))
    state.mkdir()
    if at_work:
        Journal(state / "journal.db", id="0" * 32).enter(a_record(MODULE))
    assert agent(["show", "-o", "json", "--config", str(config)]) == 0
    assert ('"deployment": {' in capsys.readouterr().out) == at_work
