"""A script is bounded in time and output, and may ask to be run again later."""

import logging
import time
from pathlib import Path

import pytest

from device_agent.core.scripts import Action, ScriptState
from device_agent.errors import InstallFailed
from device_agent.scripts.executor import Limits
from schemas.wire.report import FailureClass
from tests.support.state_scripts import TIMEOUT, ScriptDevice, answering

DOWNLOAD, ENTER, ERROR = ScriptState.DOWNLOAD, Action.ENTER, Action.ERROR
FIVE_TIMES = (21,) * 5


@pytest.fixture
def device(tmp_path: Path) -> ScriptDevice:
    return ScriptDevice(tmp_path)


def alive(pid: int) -> bool:
    """Say whether `pid` runs: a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_death(pid: int) -> None:
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} lives on"
        time.sleep(0.01)


def test_the_defaults_are_menders() -> None:
    assert Limits() == Limits(timeout=3600, retry_interval=60, retry_timeout=1800, termination=10)


def test_a_script_is_run_again_until_it_is_content(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01", body=answering(*FIVE_TIMES, 0))
    device.give_image("Download_Enter_02")
    device.scripts().run(DOWNLOAD, ENTER, [])
    assert device.calls == ["Download_Enter_01"] * 6 + ["Download_Enter_02"]
    assert device.waits == [60.0] * 5


def test_a_script_may_fail_when_it_is_run_again(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01", body=answering(*FIVE_TIMES, 1))
    with pytest.raises(InstallFailed, match="Download_Enter_01 exited with status 1"):
        device.scripts().run(DOWNLOAD, ENTER, [])
    assert device.runs("Download_Enter_01") == 6


def test_a_later_script_fails_by_its_own_status(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01")
    device.give_image("Download_Enter_02", body=answering(21, 0))
    device.give_image("Download_Enter_03", body="exit 42")
    with pytest.raises(InstallFailed, match="Download_Enter_03 exited with status 42"):
        device.scripts().run(DOWNLOAD, ENTER, [])
    assert [name[-2:] for name in device.calls] == ["01", "02", "02", "03"]


def test_a_script_that_asks_for_ever_is_given_up(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01", body="exit 21")
    with pytest.raises(InstallFailed, match=r"Download_Enter_01 .*gave up after 1800 s") as caught:
        device.scripts().run(DOWNLOAD, ENTER, [])
    assert caught.value.failure is FailureClass.SCRIPT
    assert device.runs("Download_Enter_01") == 30
    assert sum(device.waits) < 1800


def test_a_wait_that_would_end_too_late_is_not_begun(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01", body="exit 21")
    with pytest.raises(InstallFailed, match="gave up after 60 s"):
        device.scripts(retry_interval=60, retry_timeout=60).run(DOWNLOAD, ENTER, [])
    assert device.runs("Download_Enter_01") == 1
    assert device.waits == []


def test_time_that_runs_take_counts_as_time_for_retries(device: ScriptDevice) -> None:
    device.run_lasts = 50
    device.give_image("Download_Enter_01", body="exit 21")
    with pytest.raises(InstallFailed, match="gave up after 130 s"):
        device.scripts(retry_interval=60, retry_timeout=130).run(DOWNLOAD, ENTER, [])
    assert device.waits == [60]


def test_a_wait_that_ended_too_late_starts_nothing(
    device: ScriptDevice, caplog: pytest.LogCaptureFixture
) -> None:
    device.oversleep = 10
    device.give_image("Download_Enter_01", body="exit 21")
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(InstallFailed, match="gave up after 65 s"),
    ):
        device.scripts(retry_interval=60, retry_timeout=65).run(DOWNLOAD, ENTER, [])
    ends = [vars(record)["status"] for record in caplog.records if "status" in vars(record)]
    assert ends == [21]


def test_a_script_that_runs_when_its_time_is_over_is_killed(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01", body=answering(21) + "\nsleep 60")
    before = time.monotonic()
    with pytest.raises(InstallFailed, match="gave up after 62 s"):
        device.scripts(retry_interval=60, retry_timeout=62).run(DOWNLOAD, ENTER, [])
    assert device.runs("Download_Enter_01") == 2
    assert time.monotonic() - before < TIMEOUT / 2


def test_the_time_for_retries_does_not_shorten_the_first_run(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01", body="sleep 0.3")
    device.scripts(retry_interval=0.01, retry_timeout=0.02).run(DOWNLOAD, ENTER, [])


def test_each_script_has_its_own_time_for_retries(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01", "Download_Enter_02", body=answering(21, 21, 0))
    device.scripts(retry_interval=60, retry_timeout=130).run(DOWNLOAD, ENTER, [])
    assert sum(device.waits) == 240


def test_error_scripts_go_on_after_one_that_was_given_up(device: ScriptDevice) -> None:
    device.give_image("Download_Error_01", body="exit 21")
    device.give_image("Download_Error_02")
    with pytest.raises(InstallFailed, match="gave up"):
        device.scripts(retry_timeout=90).run(DOWNLOAD, ERROR, [])
    assert device.runs("Download_Error_02") == 1


def test_a_script_that_takes_too_long_is_a_failure(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01", body="sleep 60")
    device.give_image("Download_Enter_02")
    with pytest.raises(InstallFailed, match="did not end in time and was killed") as caught:
        device.scripts(timeout=0.3).run(DOWNLOAD, ENTER, [])
    assert caught.value.failure is FailureClass.SCRIPT
    assert device.runs("Download_Enter_02") == 0


def test_a_script_that_asks_for_a_retry_when_terminated_took_too_long_all_the_same(
    device: ScriptDevice,
) -> None:
    device.give_image("Download_Enter_01", body="trap 'exit 21' TERM\nsleep 60 & wait")
    with pytest.raises(InstallFailed, match="did not end in time"):
        device.scripts(timeout=0.3, termination=5).run(DOWNLOAD, ENTER, [])
    assert device.waits == []


def test_a_script_that_ignores_termination_is_killed_with_its_children(
    device: ScriptDevice,
) -> None:
    body = "trap '' TERM\nsleep 60 &\necho $! >\"$RECORD/child\"\nwait\nsleep 60"
    device.give_image("Download_Enter_01", body=body)
    before = time.monotonic()
    with pytest.raises(InstallFailed, match="killed"):
        device.scripts(timeout=1.0, termination=0.2).run(DOWNLOAD, ENTER, [])
    assert time.monotonic() - before < Limits().termination
    wait_for_death(int((device.record / "child").read_text()))


def test_what_a_script_says_is_logged_from_both_streams_up_to_a_limit(
    device: ScriptDevice, caplog: pytest.LogCaptureFixture
) -> None:
    device.give_image(
        "Download_Enter_01", body="head -c 20000000 /dev/zero | tr '\\0' x; echo e >&2"
    )
    with caplog.at_level(logging.INFO):
        device.scripts().run(DOWNLOAD, ENTER, [])
    record = next(each for each in caplog.records if "Download_Enter_01" in each.getMessage())
    fields = vars(record)
    assert len(fields["output"]) == 10_000
    assert fields["errors"] == "e\\n"
    assert (fields["status"], fields["timed_out"]) == (0, False)
