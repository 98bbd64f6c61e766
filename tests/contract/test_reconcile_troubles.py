"""Whatever fails gives one condition and one line, changes nothing, and recovers by itself."""

from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.conditions import COMMIT, PUBLISHED, SOURCE, STORE, TIMESTAMP
from reconciler.domain.observed import Observed
from reconciler.errors import LeaseHeld, Unavailable
from tests.support.reconciling import (
    FLEET,
    Installation,
    errors,
    log_lines,
    passes,
    rolled_out,
)


def test_an_unreachable_git_host_is_told_once_and_rollouts_go_on(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    away = there.upstream.bare.rename(there.upstream.bare.with_name("away"))
    with log_lines() as lines:
        passes(reconciler, 5)
    assert [line["subject"] for line in errors(lines)] == [SOURCE]
    assert not there.condition(SOURCE).status
    assert [c.status for c in there.project.conditions if c.type == SOURCE] == [False]
    there.succeed(there.by_order()[0])
    passes(reconciler)
    assert there.stages() == ["canary", "all"]
    away.rename(there.upstream.bare)
    with log_lines() as lines:
        passes(reconciler)
    assert [line["event"] for line in lines if line["log_level"] == "info"] == ["recovered"]
    assert there.condition(SOURCE).status


def test_a_full_disk_at_publish_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    before = there.status
    there.disk.full = True
    there.ship("2")
    with log_lines() as lines:
        passes(reconciler, 5)
    assert [line["subject"] for line in errors(lines)] == [PUBLISHED]
    assert "No space left" in there.condition(PUBLISHED).message
    assert there.status == before
    there.disk.full = False
    passes(reconciler)
    assert there.condition(PUBLISHED).status
    assert there.status.desired_text == "os=demo-os@2"


def test_a_timestamp_that_cannot_be_signed_has_a_condition_of_its_own(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    there.disk.full = True
    there.watch.forward(timedelta(hours=7))
    with log_lines() as lines:
        passes(reconciler, 3)
    assert [line["subject"] for line in errors(lines)] == [PUBLISHED, TIMESTAMP]
    there.disk.full = False
    passes(reconciler)
    assert there.condition(TIMESTAMP).status


def test_a_damaged_document_is_named_and_mended_by_restoring_it(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    file = there.signed.document(f"status/{FLEET}.json")
    whole = file.read_bytes()
    there.signed.flip(file)
    with log_lines() as lines:
        reconciler = there.start()
        passes(reconciler)
    assert [line["subject"] for line in errors(lines)] == [PUBLISHED]
    assert file.name in there.condition(PUBLISHED).message
    assert [c.status for c in there.project.conditions if c.type == PUBLISHED] == [False]
    file.write_bytes(whole)
    passes(reconciler)
    assert there.condition(PUBLISHED).status


def test_an_unsigned_release_is_refused_and_the_rollout_before_goes_on(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    good = there.project.commit
    unsigned = there.ship("2", signed=False)
    with log_lines() as lines:
        passes(reconciler, 4)
    assert [line["event"] for line in errors(lines)] == ["NotSigned"]
    assert "fleetcd release add demo-os 2" in there.condition(PUBLISHED).message
    assert (there.project.commit, there.project.attempted) == (good, unsigned)
    there.succeed(there.by_order()[0])
    passes(reconciler)
    assert there.stages() == ["canary", "all"], "the old commit's gates are still looked at"
    there.ship("3")
    passes(reconciler)
    assert there.condition(PUBLISHED).status
    assert there.status.desired_text == "os=demo-os@3"


def test_an_exceeded_guard_is_told_and_the_rollout_before_goes_on(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    project = (
        "apiVersion: fleetcd/v1\nkind: Project\nmetadata: {name: test}\n"
        "spec: {guards: {maxDevicesPerCommit: 1}}\n"
    )
    there.ship("2", more={"fleetcd.yaml": project})
    with log_lines() as lines:
        passes(reconciler, 4)
    assert [line["event"] for line in errors(lines)] == ["Guarded"]
    there.succeed(there.by_order()[0])
    passes(reconciler)
    assert there.stages() == ["canary", "all"]
    assert there.status.desired_text == "os=demo-os@1"
    there.push("fleetcd.yaml", project.replace("maxDevicesPerCommit: 1", ""))
    passes(reconciler)
    assert there.status.desired_text == "os=demo-os@2"


def test_a_bad_commit_is_served_to_nobody_and_every_problem_names_its_file(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    good, before = there.project.commit, there.status
    there.upstream.write("policies.yaml", b"apiVersion: [\n")
    bad = there.push("inventory.yaml", "kind: Nothing\n")
    with log_lines() as lines:
        passes(reconciler, 4)
    assert [line["event"] for line in errors(lines)] == ["Invalid"]
    assert (there.project.commit, there.project.attempted) == (good, bad)
    files = {problem.partition(":")[0] for problem in there.project.problems}
    assert files == {"policies.yaml", "inventory.yaml"}
    assert there.status == before


def test_a_symlink_in_a_commit_is_named_with_its_file(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    (there.upstream.work / "fleets" / "link.yaml").symlink_to("/etc/passwd")
    there.upstream.push({})
    with log_lines() as lines:
        passes(reconciler)
    assert [line["subject"] for line in errors(lines)] == [COMMIT]
    assert [p.partition(":")[0] for p in there.project.problems] == ["fleets/link.yaml"]


class FailingStore:
    """The store of an installation, which does not answer while `trouble` is set."""

    def __init__(self, there: Installation) -> None:
        self._store = there.store
        self.trouble: Exception | None = None

    def __getattr__(self, name: str) -> object:
        if self.trouble is not None:
            raise self.trouble
        return getattr(self._store, name)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Unavailable("database: database is locked"), "Unavailable"),
        (ValueError("a row that nobody foresaw"), "InternalError"),
    ],
    ids=["expected", "unexpected"],
)
def test_without_the_store_nothing_is_decided_but_the_tree_stays_fresh(
    tmp_path: Path, trouble: Exception, reason: str
) -> None:
    there = rolled_out(tmp_path)
    store = FailingStore(there)
    reconciler = there.start(store=store)  # type: ignore[arg-type]  # it answers as the real one
    passes(reconciler)
    before, store.trouble = there.manifest, trouble
    there.ship("2")
    with log_lines() as lines:
        for _ in range(8):
            there.watch.forward(timedelta(hours=6))
            passes(reconciler, 2)
            assert there.timestamp_left > timedelta(days=6)
    assert [line["event"] for line in errors(lines)] == [reason]
    assert (there.condition(STORE).status, there.condition(STORE).reason) == (False, reason)
    assert there.manifest == before
    store.trouble = None
    passes(reconciler)
    assert there.condition(STORE).status
    assert there.status.desired_text == "os=demo-os@2"


def test_another_writer_ends_the_loop(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    there.signed.set("project.json", b"{}")
    there.tree.release_lease()  # as if the lock's file had been deleted
    there.signed.publish(there.watch.now)
    with pytest.raises(LeaseHeld, match="another writer"):
        passes(reconciler)


class WatchedStore:
    """Says what learn() was told before the tree showed it."""

    def __init__(self, there: Installation) -> None:
        self._there, self.learnt_first = there, list[bool]()

    def __getattr__(self, name: str) -> object:
        return getattr(self._there.store, name)

    def observed(self, *arguments: object) -> Observed:
        return self._there.store.observed(*arguments)  # type: ignore[arg-type]  # passed on

    def learn(self, **news: object) -> None:
        manifests = news["manifests"]
        self.learnt_first.append(self._there.view.manifests() != manifests)
        self._there.store.learn(**news)  # type: ignore[arg-type]  # passed on


def test_the_store_learns_a_manifest_before_it_is_public(tmp_path: Path) -> None:
    there = Installation(tmp_path)
    there.ship("1")
    store = WatchedStore(there)
    passes(there.start(store=store), 1)  # type: ignore[arg-type]  # it answers as the real one
    assert store.learnt_first == [True]


def test_a_crash_between_learning_and_publishing_is_harmless(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    there.ship("2")
    there.disk.full = True  # learnt, not published: then the process is gone
    passes(reconciler, 1)
    there.disk.full = False
    again = there.start()
    passes(again)
    assert there.stages() == ["canary"]
    assert there.succeed(there.by_order()[0]).status == 200
    passes(again)
    assert there.stages() == ["canary", "all"]
