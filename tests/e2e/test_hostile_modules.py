"""Whatever an Update Module or a state script does, the failure is reported, the device whole."""

import logging
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from pathlib import Path

import pytest

from schemas.wire.report import FailureClass, Outcome
from tests.support.agent_fakes import FakeClock
from tests.support.hostile_device import (
    NEW,
    OLD,
    HostileDevice,
    Update,
    assert_failed,
    assert_whole,
)

HANG = "sleep 1000"
IGNORE = "trap '' TERM; while :; do sleep 1000; done"
FLOOD = "exec cat /dev/zero"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[HostileDevice]:
    device = HostileDevice(tmp_path)
    yield device
    device.end_what_is_left()


@pytest.mark.parametrize(
    "call",
    ["ProvidePayloadFileSizes", "Download", "ArtifactInstall", "NeedsArtifactReboot"],
)
def test_a_module_that_hangs_is_ended_and_the_update_taken_back(
    device: HostileDevice, call: str
) -> None:
    device.module(**{call: HANG})
    assert_failed(device.deploy(), FailureClass.TIMEOUT, f"{call} did not end in time")
    assert_whole(device)


def test_a_module_that_hangs_in_its_commit_is_taken_back(device: HostileDevice) -> None:
    device.module(ArtifactCommit=HANG)
    assert_failed(device.deploy(), FailureClass.TIMEOUT, "ArtifactCommit")
    assert_whole(device)


@pytest.mark.parametrize("call", ["SupportsRollback", "ArtifactRollback", "ArtifactFailure"])
def test_a_module_that_hangs_on_the_way_back_is_reported_as_inconsistent(
    device: HostileDevice, call: str
) -> None:
    device.module(ArtifactInstall="exit 1", **{call: HANG})
    word = device.deploy()
    assert_failed(word, FailureClass.INSTALL, f"{call} did not end in time")
    assert word.inconsistent == ("app",)
    assert_whole(device, NEW if call == "SupportsRollback" else OLD)


def test_a_module_that_hangs_in_its_cleanup_costs_no_update(device: HostileDevice) -> None:
    device.module(Cleanup=HANG)
    assert device.deploy().outcome is Outcome.OK
    assert_whole(device, NEW)


def test_what_a_failed_call_left_running_is_ended_before_the_update_is_taken_back(
    device: HostileDevice,
) -> None:
    spoil = '(while :; do echo spoiled > "$CONTENT"; sleep 0.01; done) &\nsleep 1000 &\nexit 1'
    device.module(ArtifactInstall=spoil)
    assert_failed(device.deploy(), FailureClass.INSTALL, "exited with status 1")
    assert_whole(device)


def test_what_a_good_call_left_running_holds_nothing_up(device: HostileDevice) -> None:
    device.module(ArtifactInstall="sleep 1000 &", ArtifactCommit="exit 1")
    began = time.monotonic()
    assert_failed(device.deploy(), FailureClass.COMMIT)
    assert time.monotonic() - began < 60
    assert len(device.running()) == 1, "it may be how a module restarts the device"
    assert device.content.read_bytes() == OLD


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_a_module_that_writes_without_end_is_ended_and_fills_neither_memory_nor_log(
    device: HostileDevice, caplog: pytest.LogCaptureFixture, stream: str
) -> None:
    caplog.set_level(logging.INFO)
    device.module(ArtifactInstall=f"{FLOOD} {stream}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    word = device.deploy()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB
    assert_failed(word, FailureClass.TIMEOUT)
    assert len(word.message or "") <= 1000
    said = [getattr(entry, name, "") for entry in caplog.records for name in ("output", "errors")]
    assert 1000 < max(map(len, said)) <= 10_000
    assert_whole(device)


def test_a_query_that_is_answered_without_end_is_an_error(device: HostileDevice) -> None:
    device.module(NeedsArtifactReboot="head -c 100000000 /dev/zero")
    assert_failed(device.deploy(), FailureClass.SCRIPT, "far more than one line")
    assert_whole(device)


def test_a_module_that_ignores_the_wish_to_end_is_killed(device: HostileDevice) -> None:
    device.module(ArtifactInstall=IGNORE)
    assert_failed(device.deploy(), FailureClass.TIMEOUT)
    assert_whole(device)


@pytest.mark.parametrize("call", ["ArtifactInstall", "NeedsArtifactReboot", "ArtifactCommit"])
def test_a_module_that_deletes_its_own_tree_is_reported_as_inconsistent(
    device: HostileDevice, call: str
) -> None:
    device.module(**{call: 'rm -rf "$2"; exit 1'})
    word = device.deploy()
    assert word.outcome is Outcome.FAILED
    assert f"{call} exited with status 1" in (word.message or "")
    assert "is gone" in (word.message or "")
    assert word.inconsistent == ("app",), "what it would have gone back to lay in the tree"
    assert_whole(device, NEW)


@pytest.mark.parametrize("call", ["Download", "ArtifactCommit", "Cleanup"])
def test_a_module_that_deletes_its_tree_when_it_matters_no_more_is_no_trouble(
    device: HostileDevice, call: str
) -> None:
    device.module(**{call: 'rm -rf "$2"'})
    word = device.deploy()
    if call == "Download":
        assert_failed(word, FailureClass.DOWNLOAD, "No such file or directory")
    else:
        assert word.outcome is Outcome.OK
    assert_whole(device, OLD if call == "Download" else NEW)


@pytest.mark.parametrize(
    "call", ["Download", "ArtifactInstall", "ArtifactCommit", "ArtifactFailure", "Cleanup"]
)
@pytest.mark.parametrize("target", ["directory", "nowhere", "file"])
def test_a_module_that_puts_a_link_in_place_of_its_tree_loses_nothing_outside(
    device: HostileDevice, call: str, target: str
) -> None:
    outside = an_outside(device)
    link = f'rm -rf "$2"; ln -s "{outside / target}" "$2"'
    failing = {"ArtifactInstall": "exit 1"} if call == "ArtifactFailure" else {}
    device.module(**failing, **{call: link})
    before = snapshot(outside)
    word = device.deploy()
    assert snapshot(outside) == before
    late = call in ("ArtifactCommit", "Cleanup")
    assert (word.outcome is Outcome.OK) == late
    installed = late or call == "ArtifactInstall"
    assert_whole(device, NEW if installed else OLD)
    assert snapshot(outside) == before


@pytest.mark.parametrize(
    "links",
    [
        'ln -s "{outside}/directory" "$2/files"',
        'rm "$2/stream-next"; ln -s "{outside}/directory/passwd" "$2/stream-next"; sleep 0.5',
        'rm -rf "$2/streams"; ln -s "{outside}/directory" "$2/streams"; cat "$2/stream-next"',
    ],
)
def test_a_module_whose_tree_leads_elsewhere_gets_no_file_written_there(
    device: HostileDevice, links: str
) -> None:
    outside = an_outside(device)
    device.module(Download=links.format(outside=outside))
    before = snapshot(outside)
    assert_failed(device.deploy(), FailureClass.DOWNLOAD)
    assert snapshot(outside) == before
    assert_whole(device)
    assert snapshot(outside) == before


def an_outside(device: HostileDevice) -> Path:
    """Make a directory that is nobody's business, like /etc."""
    outside = device.root / "outside"
    (outside / "directory" / "ssl").mkdir(parents=True)
    for name in ("directory/passwd", "directory/ssl/key", "file"):
        (outside / name).write_text(f"{name} of the device\n")
    return outside


def snapshot(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


def test_a_module_that_removes_itself_is_reported(device: HostileDevice) -> None:
    device.module(ArtifactInstall='rm "$0"; exit 1')
    word = device.deploy()
    assert_failed(word, FailureClass.INSTALL, "no module 'hostile'")
    assert word.inconsistent == ("app",)
    assert_whole_without_cleanup(device)


def assert_whole_without_cleanup(device: HostileDevice) -> None:
    """Whoever is to clean up is gone, so the tree stays until the next update of the component."""
    device.content.write_bytes(OLD)
    word = device.deploy(Update(kind="good"))
    assert word.outcome is Outcome.OK
    assert device.content.read_bytes() == NEW
    assert not device.tree.exists()


@pytest.mark.parametrize("body", [HANG, IGNORE, FLOOD, "sleep 1000 & exit 1"])
@pytest.mark.parametrize("script", ["ArtifactInstall_Enter_00", "ArtifactInstall_Leave_00"])
def test_a_state_script_that_goes_wrong_is_ended_and_the_update_taken_back(
    device: HostileDevice, script: str, body: str
) -> None:
    device.module()
    word = device.deploy(Update(bodies={script: body}))
    assert_failed(word, FailureClass.SCRIPT, f"{script} ")
    assert_whole(device)


def test_a_script_of_the_image_that_hangs_keeps_the_update_away(device: HostileDevice) -> None:
    device.image_script("Download_Enter_00", IGNORE)
    assert_failed(device.deploy(Update(kind="good")), FailureClass.SCRIPT, "Download_Enter_00 did")
    (device.scripts / "Download_Enter_00").unlink()
    assert device.calls == []
    assert_whole(device)


def test_what_a_script_waits_for_may_go_on_while_it_waits(device: HostileDevice) -> None:
    device.module()
    wait = 'test -f "$RECORD/done" && exit 0\n(sleep 0.05; touch "$RECORD/done") & exit 21'
    assert device.deploy(Update(bodies={"ArtifactInstall_Enter_00": wait})).outcome is Outcome.OK


YEARS = 365 * 24 * 3600.0 * 20  # seconds


@pytest.mark.parametrize("jumps", [(YEARS,), (-YEARS,), (YEARS, -2 * YEARS, YEARS)])
def test_a_clock_that_jumps_by_years_between_the_states_changes_nothing(
    device: HostileDevice, jumps: tuple[float, ...]
) -> None:
    device.clock = JumpingClock(jumps=cycle(jumps) if len(jumps) > 1 else iter(jumps))
    device.module(ArtifactCommit="exit 1")
    assert_failed(device.deploy(), FailureClass.COMMIT)
    assert_whole(device)


@dataclass
class JumpingClock(FakeClock):
    """Whenever somebody looks at it, the time of day may have been set; seconds go on."""

    jumps: Iterator[float] = field(default_factory=lambda: iter(()))

    def now(self) -> datetime:
        self.time += timedelta(seconds=next(self.jumps, 0.0))
        return self.time
