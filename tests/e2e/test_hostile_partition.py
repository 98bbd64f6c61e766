"""A data partition that is full or read-only: nothing is done that could not be remembered, the end
is reported, and the device is whole."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from device_agent.core.states import Gate, State
from device_agent.journal import JournalUnavailable
from schemas.wire.report import FailureClass, Outcome
from tests.support.hostile_device import (
    NEW,
    OLD,
    HostileDevice,
    Update,
    assert_failed,
    assert_whole,
)
from tests.support.hostile_mounts import (
    in_private_mounts,
    make_read_only,
    make_writable,
    mount_partition,
)

MEBIBYTES = 4
FILL = 'cat /dev/zero > "$2/tmp/filling"'


def on_partition(root: Path, work: Callable[[HostileDevice], None]) -> None:
    """Do `work` with a device whose state lies on a small partition of its own."""
    device = HostileDevice(root)

    def there() -> None:
        mount_partition(device.state, MEBIBYTES)
        work(device)

    in_private_mounts(there)


def test_a_payload_that_does_not_fit_is_refused_before_a_byte_of_it_is_stored(
    tmp_path: Path,
) -> None:
    def work(device: HostileDevice) -> None:
        device.module()
        word = device.deploy(Update(content=bytes((MEBIBYTES + 1) << 20)))
        assert_failed(word, FailureClass.SPACE, "has room for")
        assert_whole(device)

    on_partition(tmp_path, work)


@pytest.mark.parametrize(
    ("call", "failure"),
    [
        ("Download", FailureClass.DOWNLOAD),
        ("ArtifactInstall", FailureClass.INSTALL),
        ("ArtifactCommit", FailureClass.COMMIT),
    ],
)
def test_a_module_that_fills_the_partition_is_taken_back_and_reported(
    tmp_path: Path, call: str, failure: FailureClass
) -> None:
    def work(device: HostileDevice) -> None:
        device.module(**{call: f"{FILL}; exit 1"})
        word = device.deploy()
        assert_failed(word, failure, "No space left on device")
        assert word.inconsistent == ()
        assert_whole(device)

    on_partition(tmp_path, work)


def test_a_module_that_fills_the_partition_and_says_nothing_is_taken_back(tmp_path: Path) -> None:
    def work(device: HostileDevice) -> None:
        device.module(ArtifactInstall=f"{FILL} 2>/dev/null; exit 0")
        assert_failed(device.deploy(), FailureClass.SPACE, "No space left on device")
        assert_whole(device)

    on_partition(tmp_path, work)


def test_a_partition_that_is_filled_again_and_again_is_survived_again_and_again(
    tmp_path: Path,
) -> None:
    def work(device: HostileDevice) -> None:
        device.module(ArtifactInstall=f"{FILL}; exit 1")
        for _ in range(3):
            assert_failed(device.deploy(), FailureClass.INSTALL)
        assert_whole(device)

    on_partition(tmp_path, work)


def test_on_a_read_only_partition_nothing_begins_and_later_it_goes_on(tmp_path: Path) -> None:
    def work(device: HostileDevice) -> None:
        device.module()
        poll = device.wanting(Update())
        device.owner.objections = {Gate.INSTALL: "not now"}
        assert device.life(poll) == 0
        before = device.calls
        device.owner.objections = {}
        make_read_only(device.state)
        for _ in range(3):
            with closing(device.journal()) as journal, pytest.raises(JournalUnavailable):
                poll(journal)
        assert device.calls == before, "nothing is done that could not be remembered"
        make_writable(device.state)
        with closing(device.journal()) as journal:
            record = journal.record()
            assert record
            assert record.state is State.INSTALL_WAIT
            poll(journal)
            word = journal.last_outcome()
        assert word
        assert word.outcome is Outcome.OK
        assert_whole(device, NEW)

    on_partition(tmp_path, work)


def test_an_update_whose_partition_became_read_only_in_the_middle_is_taken_back_later(
    tmp_path: Path,
) -> None:
    def work(device: HostileDevice) -> None:
        device.module(ArtifactInstall="kill -9 $PPID")
        poll = device.wanting(Update())
        assert device.life(poll) == -9
        before = device.calls
        make_read_only(device.state)
        for _ in range(3):
            with closing(device.journal()) as journal, pytest.raises(JournalUnavailable):
                poll(journal)
        assert device.calls == before
        assert device.content.read_bytes() == NEW, "half an update, and nobody may touch it"
        make_writable(device.state)
        with closing(device.journal()) as journal:
            poll(journal)
            word = journal.last_outcome()
        assert word
        assert_failed(word, FailureClass.INSTALL, "interrupted (in state install)")
        assert_whole(device)

    on_partition(tmp_path, work)


@pytest.mark.parametrize("call", ["Download", "ArtifactInstall", "Cleanup"])
def test_what_a_module_left_mounted_in_its_tree_is_unmounted_and_not_removed(
    tmp_path: Path, call: str
) -> None:
    def work(device: HostileDevice) -> None:
        outside = device.root / "out side"
        (outside / "inner").mkdir(parents=True)
        (outside / "data").write_text("of the device")
        mount = f'mkdir -p "$2/tmp/a b"; mount --bind "{outside}" "$2/tmp/a b"'
        inner = 'mount -t tmpfs none "$2/tmp/a b/inner"'
        device.module(**{call: f"{mount} && {inner} && exit 1"})
        word = device.deploy()
        assert (word.outcome is Outcome.OK) == (call == "Cleanup")
        assert (outside / "data").read_text() == "of the device"
        assert str(device.tree) not in Path("/proc/self/mountinfo").read_text()
        assert_whole(device, NEW if call == "Cleanup" else OLD)

    on_partition(tmp_path, work)
