"""Canaries for what the session reaches for inside python-tuf: a move of it fails here."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.ngclient.updater import Updater

from device_agent.errors import UpdateRejected
from device_agent.trust.fetcher import TreeFetcher
from device_agent.trust.session import LIMITS, Session, _trusted_set
from schemas.refusal import Code
from tests.support.documents import MANIFEST
from tests.support.trust_device import FLEET_PATH, FolderTree
from tests.support.trust_tree import TrustTree

FAR = datetime(2099, 1, 1, tzinfo=UTC)


def published(directory: Path) -> TrustTree:
    tree = TrustTree(directory / "tree")
    tree.put_manifest(MANIFEST)
    tree.publish()
    return tree


def session(tree: TrustTree, state: Path, now: datetime) -> Session:
    fetcher = TreeFetcher(FolderTree(tree.directory), state / "tuf", lambda: 0.0)
    return Session(state, tree.root_bytes(), fetcher, now)


def test_expiry_is_judged_by_the_time_that_is_given(tmp_path: Path) -> None:
    tree = published(tmp_path)
    session(tree, tmp_path / "state", tree.now).refresh()
    with pytest.raises(UpdateRejected) as caught:
        session(tree, tmp_path / "state", FAR).refresh()
    assert caught.value.code is Code.EXPIRED


def test_expiry_of_bins_is_judged_by_the_time_that_is_given_later(tmp_path: Path) -> None:
    tree = published(tmp_path)
    run = session(tree, tmp_path / "state", tree.now)
    run.refresh()
    run.judge_by(FAR)
    with pytest.raises(UpdateRejected) as caught:
        run.find(FLEET_PATH)
    assert caught.value.code is Code.EXPIRED


def test_every_verified_role_is_seen(tmp_path: Path) -> None:
    tree = published(tmp_path)
    run = session(tree, tmp_path / "state", tree.now)
    run.refresh()
    top_level = {"root", "timestamp", "snapshot", "targets"}
    assert set(run.marks()) == top_level
    run.find(FLEET_PATH)
    bin_ = tree.role_of(FLEET_PATH)
    assert set(run.marks()) == top_level | {"assignments", bin_}
    assert run.signer_of(FLEET_PATH) == run.marks()[bin_].keys


def test_another_key_or_threshold_is_another_key_set(tmp_path: Path) -> None:
    tree = published(tmp_path)
    run = session(tree, tmp_path / "state", tree.now)
    run.refresh()
    before = run.timestamp_keys()
    tree.rotate("timestamp")
    tree.refresh_timestamp()
    again = session(tree, tmp_path / "state", tree.now)
    again.refresh()
    assert again.timestamp_keys() != before
    assert again.marks()["snapshot"] == run.marks()["snapshot"]


def test_what_a_killed_agent_left_half_written_does_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = published(tmp_path)
    with monkeypatch.context() as killed:  # the kill: what is written never gets its name
        killed.setattr("os.replace", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            session(tree, tmp_path / "state", tree.now)
    cache = tmp_path / "state" / "tuf"
    assert [file for file in cache.iterdir() if file.is_file()]
    session(tree, tmp_path / "state", tree.now).refresh()
    assert [file.name for file in cache.iterdir() if file.is_file() and not file.suffix] == []


def test_tuf_still_keeps_what_it_has_verified_where_we_look(tmp_path: Path) -> None:
    tree = published(tmp_path)
    (tmp_path / "md").mkdir()
    fetcher = TreeFetcher(FolderTree(tree.directory), tmp_path / "md", lambda: 0.0)
    updater = Updater(
        str(tmp_path / "md"),
        "metadata/",
        fetcher=fetcher,
        config=LIMITS,
        bootstrap=tree.root_bytes(),
    )
    assert isinstance(_trusted_set(updater).reference_time, datetime)
    assert _trusted_set(updater).root.version == 1
