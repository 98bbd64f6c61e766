"""One writer: a second reconciler on the same tree is refused, refreshing beside it is not."""

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.dir_layout import Layout
from reconciler.adapters.lease import Lease, short_lock
from reconciler.adapters.tuf_timestamp import refresh_timestamp
from reconciler.errors import LeaseHeld, Unavailable
from reconciler.ports import Publication
from tests.support.publications import manifest_of
from tests.support.signed_tree import NOW, QuickDisk, SignedTree

FIRST = Publication({"project.json": b"{}"})
SECOND = Publication({"project.json": b'{"second":1}'})


def test_a_second_reconciler_on_the_same_tree_is_refused(tmp_path: Path) -> None:
    tree = SignedTree(tmp_path / "tree")
    first, second = tree.writer(), tree.writer()
    first.take_lease()
    first.take_lease()
    with pytest.raises(LeaseHeld, match=r"fleetcd \(process \d+\) writes this tree"):
        second.publish(FIRST, NOW)
    assert first.publish(FIRST, NOW)


def test_a_lease_that_was_given_back_can_be_taken(tmp_path: Path) -> None:
    first, second = (Lease(tmp_path / "lease", name) for name in ("first", "second"))
    first.take()
    first.release()
    first.release()
    second.take()


def test_the_lease_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    script = (
        "import sys, pathlib; from reconciler.adapters.lease import Lease;"
        "Lease(pathlib.Path(sys.argv[1]), 'child').take(); print('held', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(LeaseHeld, match="child"):
            Lease(path, "parent").take()
        child.kill()
    Lease(path, "parent").take()


def test_a_tree_that_another_writer_moved_is_left_alone_until_a_restart(tmp_path: Path) -> None:
    tree = SignedTree(tmp_path / "tree")
    first, second = tree.writer(), tree.writer()
    first.publish(FIRST, NOW)
    tree.layout.lease.unlink()  # a file system without locks, or a second mount
    second.publish(SECOND, NOW)
    moved = tree.copy_of()
    for _ in range(2):
        with pytest.raises(LeaseHeld, match="another writer moved the tree"):
            first.publish(Publication({"project.json": b"[]"}), NOW)
    assert tree.copy_of() == moved


def test_a_tree_moved_in_the_last_moment_is_not_overwritten(tmp_path: Path) -> None:
    tree = SignedTree(tmp_path / "tree")
    other = tree.writer()

    def move(step: str) -> None:
        if step == "snapshot":
            tree.layout.lease.unlink()
            other.publish(SECOND, NOW)

    with pytest.raises(LeaseHeld):
        tree.writer(step=move).publish(FIRST, NOW)
    stamp = tree.signed("timestamp")
    assert (stamp.version, stamp.snapshot_meta.version) == (2, 2)


def test_the_timestamp_is_refreshed_beside_a_running_reconciler(tmp_path: Path) -> None:
    tree = SignedTree(tmp_path / "tree")
    reconciler = tree.writer()
    reconciler.publish(FIRST, NOW)
    later = NOW + timedelta(hours=6)
    layout = Layout(tree.layout.root)
    assert refresh_timestamp(layout, tree.keys.timestamp, later, disk=QuickDisk()) == 3
    assert reconciler.publish(FIRST, later) is False
    assert reconciler.publish(SECOND, later)
    assert tree.signed("timestamp").version == 4


def test_a_refresh_between_a_publish_and_its_last_step_is_not_lost(tmp_path: Path) -> None:
    tree = SignedTree(tmp_path / "tree")

    def refresh(step: str) -> None:
        if step == "snapshot":
            refresh_timestamp(tree.layout, tree.keys.timestamp, NOW, disk=QuickDisk())

    tree.set("fleets/shop.json", manifest_of("shop", 1))
    assert tree.writer(step=refresh).publish(Publication(tree.documents), NOW)
    stamp = tree.signed("timestamp")
    assert (stamp.version, stamp.snapshot_meta.version) == (3, 2)


def test_a_short_lock_that_is_not_given_back_is_not_waited_for_forever(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        short_lock(tmp_path / "swap"),
        pytest.raises(Unavailable, match="still locked"),
        short_lock(tmp_path / "swap", timeout=0.1),
    ):
        pass
    assert time.monotonic() - began < 5
    with short_lock(tmp_path / "swap", timeout=0):
        pass


def test_an_old_timestamp_played_back_under_a_running_reconciler_is_refused(
    tmp_path: Path,
) -> None:
    tree = SignedTree(tmp_path / "tree")
    reconciler = tree.writer()
    reconciler.publish(FIRST, NOW)
    old = tree.layout.timestamp.read_bytes()
    reconciler.refresh_timestamp(NOW)
    reconciler.publish(FIRST, NOW)
    tree.layout.timestamp.write_bytes(old)
    with pytest.raises(LeaseHeld):
        reconciler.publish(SECOND, NOW)
