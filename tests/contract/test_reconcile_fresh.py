"""What is published does not expire while a reconciler runs, whatever else fails."""

from datetime import timedelta
from pathlib import Path

from reconciler.conditions import SOURCE
from tests.support.reconciling import Installation, passes, rolled_out

STEP = timedelta(hours=5)
FRESH = timedelta(days=7) - timedelta(hours=6) - STEP


def keeps_fresh(there: Installation, lasts: timedelta) -> None:
    """Let a reconciler run for `lasts`; the timestamp never has less than it should."""
    reconciler = there.start()
    for _ in range(int(lasts / STEP)):
        there.watch.forward(STEP)
        passes(reconciler, 1)
        assert there.timestamp_left >= FRESH


def test_three_weeks_without_git_do_not_let_the_timestamp_expire(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    there.upstream.bare.rename(tmp_path / "away")
    keeps_fresh(there, timedelta(weeks=3))
    assert not there.condition(SOURCE).status


def test_neither_do_three_weeks_without_anything_to_serve(tmp_path: Path) -> None:
    there = Installation(tmp_path)
    there.push("fleets/kiosks.yaml", "kind: Nothing\n")
    keeps_fresh(there, timedelta(weeks=3))
    assert (there.project.commit, len(there.project.problems)) == (None, 1)


def test_a_damaged_tree_needs_the_timestamp_key_only(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    there.signed.flip(there.signed.file("assignments"))
    keeps_fresh(there, timedelta(days=2))


def test_metadata_near_its_expiry_is_signed_again_though_nothing_changed(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    for _ in range(10):
        there.watch.forward(timedelta(days=30))
        passes(reconciler, 1)
        for role in ("snapshot", "assignments", "bin-00"):
            left = there.signed.signed(role).expires - there.watch.now
            assert left >= timedelta(days=30), role


def test_it_is_signed_again_also_when_every_commit_is_bad(tmp_path: Path) -> None:
    there = Installation(tmp_path)
    there.push("fleets/kiosks.yaml", "kind: Nothing\n")
    reconciler = there.start()
    there.watch.forward(timedelta(days=80))
    passes(reconciler, 1)
    assert there.signed.signed("snapshot").expires - there.watch.now > timedelta(days=30)


def test_a_pass_with_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    before = there.signed.copy_of()
    passes(reconciler, 5)
    assert there.signed.copy_of() == before
