"""Idle and Sync scripts: Mender's order around a poll, and that their failures lose nothing."""
# ruff: noqa: ARG002 - ports' shapes

from collections.abc import Sequence
from pathlib import Path

import pytest

from device_agent.boot.firmware import boot
from device_agent.core.scripts import Action, OnFailure, ScriptState
from device_agent.core.states import State
from device_agent.driver import Decision, Result
from device_agent.errors import UpdateRejected
from device_agent.step import Stepped
from schemas.refusal import Code
from schemas.wire.report import FailureClass, Outcome
from tests.support.agent_fakes import FakeScripts, a_trusted
from tests.support.polling_device import APP1, NETWORK, Device

SYNC = ["Sync_Enter", "Sync_Leave"]
FAILED_SYNC = ["Sync_Enter", "Sync_Error"]
AT_REST = "Idle_Enter"


class Killed(Exception):
    """Something that the agent does not know of."""


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A device of which nothing is wanted yet."""
    device = Device(tmp_path, APP1)
    device.trust.answers = [a_trusted(None)]
    return device


def ran(device: Device) -> list[str]:
    """Return the scripts that the next poll runs, without those of a deployment's own states."""
    device.scripts.calls.clear()
    device.poll()
    return [call for call in device.scripts.calls if call.startswith(("Idle", "Sync"))]


def test_the_first_poll_comes_to_rest_and_leaves_it_again(device: Device) -> None:
    assert ran(device) == ["Idle_Enter", "Idle_Leave", *SYNC, AT_REST]


def test_later_polls_begin_where_the_last_one_came_to_rest(device: Device) -> None:
    device.poll()
    for _ in range(3):
        assert ran(device) == ["Idle_Leave", *SYNC, AT_REST]


def test_after_a_restart_a_device_comes_to_rest_anew(device: Device) -> None:
    """What Idle_Enter did to the running system is gone."""
    device.poll()
    boot(device.root)
    assert ran(device) == ["Idle_Enter", "Idle_Leave", *SYNC, AT_REST]


def test_a_poll_that_was_cut_off_is_followed_by_one_that_comes_to_rest_first(
    device: Device,
) -> None:
    device.poll()
    device.trust.answers = [Killed()]
    with pytest.raises(Killed):
        device.poll()
    device.trust.answers = [a_trusted(None)]
    assert ran(device) == ["Idle_Enter", "Idle_Leave", *SYNC, AT_REST]


def test_a_deployment_begins_after_sync_and_the_device_rests_when_it_is_over(
    device: Device,
) -> None:
    device.poll()
    device.scripts.calls.clear()
    device.wants(APP1)
    device.poll()
    calls = device.scripts.calls
    assert calls[:4] == ["Idle_Leave", *SYNC, "Download_Enter kiosk-app"]
    assert calls[-1] == AT_REST
    assert calls.count(AT_REST) == 1


def test_while_a_deployment_waits_there_is_neither_rest_nor_sync(device: Device) -> None:
    device.wants(APP1)
    device.installer.errors = {"download": NETWORK}
    assert ran(device) == ["Idle_Enter", "Idle_Leave", *SYNC]
    assert ran(device) == []
    device.installer.errors = {}
    assert ran(device) == [AT_REST]


@pytest.mark.parametrize("decision", Decision)
def test_a_device_rests_when_a_persons_decision_ends_the_deployment(
    device: Device, decision: Decision
) -> None:
    device.wants(APP1)
    device.agent.poll(stop_before=State.COMMIT)
    assert AT_REST not in device.scripts.calls[1:]
    device.agent.decide(decision)
    assert device.scripts.calls[-1] == AT_REST
    assert ran(device) == ["Idle_Leave", *SYNC, AT_REST]


@pytest.mark.parametrize("broken", ["Idle_Enter", "Idle_Leave"])
def test_a_script_around_the_rest_that_fails_keeps_nothing_away(
    device: Device, broken: str
) -> None:
    device.scripts.failing = (broken,)
    device.wants(APP1)
    assert device.poll() == Stepped(Result.IDLE, worked=True)
    assert device.last_word.outcome is Outcome.OK


def test_without_sync_enter_the_tree_is_not_asked(device: Device) -> None:
    device.scripts.failing = ("Sync_Enter",)
    device.wants(APP1)
    assert ran(device) == ["Idle_Enter", "Idle_Leave", *FAILED_SYNC, AT_REST]
    assert device.trust.asked == 0
    assert device.journal.recall("stale")


def test_without_sync_leave_nothing_is_begun(device: Device) -> None:
    device.scripts.failing = ("Sync_Leave",)
    device.wants(APP1)
    assert ran(device) == ["Idle_Enter", "Idle_Leave", *SYNC, "Sync_Error", AT_REST]
    assert device.journal.record() is None
    assert not device.journal.recall("stale"), "the tree was asked, and answered"


@pytest.mark.parametrize("broken", ["Sync_Enter", "Sync_Leave"])
def test_a_sync_script_that_fails_is_trouble_until_it_does_not_and_loses_nothing(
    device: Device, broken: str
) -> None:
    device.scripts.failing = (broken,)
    device.wants(APP1)
    for _ in range(3):
        done = device.poll()
        assert (done.worked, done.trouble) == (False, f"{broken}: it broke")
    device.scripts.failing = ()
    assert device.poll() == Stepped(Result.IDLE, worked=True)
    assert device.last_word.outcome is Outcome.OK
    assert device.journal.failed() == {}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(NETWORK, id="no network"),
        pytest.param(
            UpdateRejected(Code.ROLLBACK, "old", FailureClass.SIGNATURE), id="a refused tree"
        ),
    ],
)
def test_a_tree_that_cannot_be_used_is_an_error_of_sync(device: Device, answer: Exception) -> None:
    device.trust.answers = [answer]
    assert ran(device) == ["Idle_Enter", "Idle_Leave", *FAILED_SYNC, AT_REST]


def test_sync_error_may_fail_too(device: Device) -> None:
    device.scripts.failing = ("Sync_Error",)
    device.trust.answers = [NETWORK]
    assert device.poll().trouble == str(NETWORK)


@pytest.mark.parametrize(
    ("work", "beats"),
    [
        pytest.param(False, 1, id="none: Sync_Leave may end the connection"),
        pytest.param(True, 0, id="some: it begins first, and that is reported"),
    ],
)
def test_the_report_of_a_device_goes_out_before_sync_leave_if_it_has_no_work(
    device: Device, work: bool, beats: int
) -> None:
    reported: list[int] = []

    class Watching(FakeScripts):
        def run(
            self,
            state: ScriptState,
            action: Action,
            components: Sequence[str],
            on_failure: OnFailure = OnFailure.STOP,
        ) -> None:
            if (state, action) == (ScriptState.SYNC, Action.LEAVE):
                reported.append(len(device.reporter.beats))

    device.scripts = Watching()
    if work:
        device.wants(APP1)
    device.poll()
    assert reported == [beats]
    assert work or len(device.reporter.beats) == 1, "and not twice"


def test_a_device_rests_after_it_has_reported_how_a_deployment_ended(device: Device) -> None:
    device.poll()
    device.wants(APP1)
    heard: list[int] = []

    class Watching(FakeScripts):
        def run(
            self,
            state: ScriptState,
            action: Action,
            components: Sequence[str],
            on_failure: OnFailure = OnFailure.STOP,
        ) -> None:
            if (state, action) == (ScriptState.IDLE, Action.ENTER):
                heard.append(sum(e.outcome is not None for e in device.reporter.heard))

    device.scripts = Watching()
    device.poll()
    assert heard == [1]
