"""What a publish makes of a tree, seen by TUF's stock client and by a reconciler that restarts."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.tuf_roles import TIMESTAMP_LASTS, bin_of, signed_bytes
from reconciler.errors import CommitRefused, Misconfigured, NotSigned, Unavailable
from schemas.wire.decode import encode
from schemas.wire.shard import ShardEntry
from schemas.wire.status import STATUS_LIMIT
from schemas.wire.types import ComponentRef
from tests.support.documents import ENTRY, KEY
from tests.support.publications import (
    SHARD_PATH,
    descriptor_of,
    manifest_of,
    ref_of,
    shard_with,
    status_of,
)
from tests.support.signed_tree import NOW, SignedTree, new_keys
from tests.support.tuf_client import StockClient

V1 = descriptor_of("1.0.0")


@pytest.fixture
def tree(tmp_path: Path) -> SignedTree:
    """Return a tree that publishes fleet `shop` on a signed release, with one device."""
    tree = SignedTree(tmp_path / "tree")
    tree.release(V1)
    tree.set("fleets/shop.json", manifest_of("shop", 1, V1))
    tree.set("status/shop.json", status_of("shop", 1))
    tree.set(SHARD_PATH, shard_with(replace(ENTRY, pin={})))
    tree.set("project.json", b"{}")
    tree.publish()
    return tree


def client_of(tree: SignedTree, tmp_path: Path) -> StockClient:
    return StockClient(tree.layout.root, tree.root, tmp_path / "memory")


def test_a_stock_client_finds_every_kind_of_document(tree: SignedTree, tmp_path: Path) -> None:
    paths = sorted(tree.documents)
    found = client_of(tree, tmp_path).read(*paths, now=NOW)
    assert dict(zip(paths, found, strict=True)) == tree.documents


def test_odd_characters_of_versions_reach_the_client(tree: SignedTree, tmp_path: Path) -> None:
    odd = descriptor_of("2.0.0-rc.1+b~7_x")
    tree.release(odd)
    tree.publish()
    path = f"releases/kiosk-os/{odd.version}.json"
    assert client_of(tree, tmp_path).read(path, now=NOW) == [encode(odd)]


def test_publishing_the_same_again_writes_nothing(tree: SignedTree) -> None:
    before = tree.copy_of()
    assert tree.publish() is False
    assert tree.copy_of() == before


def test_a_reconciler_that_restarted_writes_nothing_either(tree: SignedTree) -> None:
    before = tree.copy_of()
    again = SignedTree.reopen(tree)
    assert again.publish() is False
    assert tree.copy_of() == before


def test_one_changed_fleet_costs_one_document_one_bin_a_snapshot_and_a_timestamp(
    tree: SignedTree,
) -> None:
    before = tree.copy_of()
    tree.set("fleets/shop.json", manifest_of("shop", 2, V1))
    assert tree.publish()
    after = tree.copy_of()
    written = {path for path, data in after.items() if before.get(path) != data}
    assert written == {
        tree.document("fleets/shop.json"),
        tree.file(bin_of("fleets/shop.json")),
        tree.file("snapshot"),
        tree.layout.timestamp,
    }


def test_a_document_that_is_left_out_stays_published(tree: SignedTree, tmp_path: Path) -> None:
    kept = tree.documents.pop("fleets/shop.json")
    tree.set("project.json", b'{"changed":1}')
    assert tree.publish()
    assert client_of(tree, tmp_path).read("fleets/shop.json", now=NOW) == [kept]


def test_statuses_manifests_and_entries_come_back_after_a_restart(tree: SignedTree) -> None:
    reader = tree.writer()
    assert reader.statuses() == {"shop": status_of("shop", 1)}
    assert reader.manifests() == {"shop": manifest_of("shop", 1, V1)}
    assert reader.entries() == {KEY: replace(ENTRY, pin={})}


def test_what_is_read_back_follows_the_next_publish(tree: SignedTree) -> None:
    reader = tree.publisher
    reader.manifests()
    tree.set("fleets/shop.json", manifest_of("shop", 2, V1))
    tree.publish()
    assert reader.manifests()["shop"].generation == 2


# What the release keys did not sign


def refused(tree: SignedTree, error: type[Exception], words: str) -> None:
    """Publishing raises `error` that says `words`, and changes no byte."""
    before = tree.copy_of()
    with pytest.raises(error, match=words):
        tree.publish()
    assert tree.copy_of() == before


def test_a_manifest_with_an_unsigned_release_is_not_published(tree: SignedTree) -> None:
    forged = descriptor_of("6.6.6")
    tree.set("releases/kiosk-os/6.6.6.json", forged)
    tree.set("fleets/shop.json", manifest_of("shop", 2, forged))
    refused(tree, NotSigned, r"kiosk-os@6\.6\.6.*fleets/shop\.json.*fleetcd release add")


def test_a_pin_to_an_unsigned_release_is_not_published(tree: SignedTree) -> None:
    pinned = replace(ENTRY, pin={"os": ref_of(descriptor_of("6.6.6"))})
    tree.set(SHARD_PATH, shard_with(pinned))
    refused(tree, NotSigned, r"kiosk-os@6\.6\.6.*devices/")


def test_a_descriptor_that_was_edited_after_signing_is_not_published(tree: SignedTree) -> None:
    edited = descriptor_of("1.0.0", epoch=9)
    tree.set("releases/kiosk-os/1.0.0.json", edited)
    tree.set("fleets/shop.json", manifest_of("shop", 2, edited))
    refused(tree, NotSigned, "not what was signed")


def test_a_signed_release_without_its_descriptor_is_not_published(tree: SignedTree) -> None:
    signed = descriptor_of("1.1.0")
    tree.release(signed)
    del tree.documents["releases/kiosk-os/1.1.0.json"]
    tree.set("fleets/shop.json", manifest_of("shop", 2, signed))
    refused(tree, NotSigned, "neither published nor in Git")


def test_an_unsigned_descriptor_that_nobody_runs_is_left_out(
    tree: SignedTree, tmp_path: Path
) -> None:
    tree.set("releases/kiosk-os/2.0.0.json", descriptor_of("2.0.0"))
    assert tree.publish() is False


def test_release_metadata_of_another_key_is_not_published(tree: SignedTree, tmp_path: Path) -> None:
    stranger = SignedTree(tmp_path / "stranger")
    stranger.release(descriptor_of("1.1.0"))
    tree.releases = stranger.releases
    refused(tree, NotSigned, "releases/.signed/releases.json")


def test_one_signature_of_two_is_not_enough(tmp_path: Path) -> None:
    keys = new_keys()
    both = replace(keys, release=(*keys.release, *new_keys().release))
    tree = SignedTree(tmp_path / "tree", keys=both)
    tree.release(V1, signers=both.release[:1])
    refused(tree, NotSigned, "1/2 keys")
    tree.releases.clear()
    tree.release(V1)
    assert tree.publish()


def test_a_revert_that_takes_a_release_out_of_git_leaves_it_published(
    tree: SignedTree, tmp_path: Path
) -> None:
    before = dict(tree.releases)
    newer = descriptor_of("1.1.0")
    tree.release(newer)
    tree.publish()
    tree.releases = before
    tree.set("fleets/shop.json", manifest_of("shop", 2, V1))
    assert tree.publish()
    path = "releases/kiosk-os/1.1.0.json"
    assert client_of(tree, tmp_path).read(path, now=NOW) == [encode(newer)]


def test_a_version_that_was_signed_twice_with_other_content_is_refused(tree: SignedTree) -> None:
    branch = dict(tree.releases)
    tree.release(descriptor_of("1.1.0"))
    tree.publish()
    tree.releases = branch
    tree.release(descriptor_of("1.2.0"), seen={})
    refused(tree, NotSigned, "published already, with other content.*--tree")


def test_after_a_revert_the_next_release_goes_on_from_the_published_version(
    tree: SignedTree,
) -> None:
    branch = dict(tree.releases)
    tree.release(descriptor_of("1.1.0"))
    tree.publish()
    tree.releases = branch
    tree.release(descriptor_of("1.2.0"))
    assert tree.publish()


def test_a_release_on_a_branch_unites_what_the_branch_and_the_tree_list(tree: SignedTree) -> None:
    branch = dict(tree.releases)
    tree.release(descriptor_of("1.1.0"))
    tree.publish()
    tree.releases = branch
    for version in ("1.2.0", "1.3.0"):  # the branch overtakes the published version
        tree.release(descriptor_of(version), seen={})
    tree.release(descriptor_of("1.4.0"))
    tree.publish()
    listed = {path.split("/")[2] for path in tree.signed("releases-kiosk-os").targets}
    assert listed == {f"1.{minor}.0.json" for minor in range(5)}


def test_expired_release_metadata_is_not_taken_in(tree: SignedTree) -> None:
    tree.release(descriptor_of("1.1.0"))
    tree.now = NOW + timedelta(days=181)
    refused(tree, NotSigned, "expired.*fleetcd release renew")


def test_a_releases_role_that_drops_a_published_name_is_refused(tree: SignedTree) -> None:
    dropped = tree.signed("releases")
    dropped.version += 1
    dropped.delegations.roles.clear()
    tree.releases = {"releases.json": signed_bytes(dropped, tree.keys.release)}
    refused(tree, NotSigned, "releases-kiosk-os")


def test_a_file_that_is_no_release_metadata_is_refused(tree: SignedTree) -> None:
    tree.releases["bin-00.json"] = tree.file("bin-00").read_bytes()
    refused(tree, NotSigned, "no release metadata")


# Time


def test_metadata_that_nears_its_expiry_is_signed_anew(tree: SignedTree, tmp_path: Path) -> None:
    later = NOW + timedelta(days=70)
    assert tree.publish(later)
    assert tree.publish(later) is False
    month_later = later + timedelta(days=80)
    tree.refresh_timestamp(month_later)
    assert client_of(tree, tmp_path).read("project.json", now=month_later) == [b"{}"]


def test_a_publish_without_news_signs_a_timestamp_of_six_hours_anew(tree: SignedTree) -> None:
    assert tree.publish(NOW + timedelta(hours=5, minutes=59)) is False
    assert tree.publish(NOW + timedelta(hours=6))
    stamp = tree.signed("timestamp")
    assert (stamp.version, stamp.snapshot_meta.version) == (3, 2)


def test_a_refreshed_timestamp_names_the_same_snapshot_later(tree: SignedTree) -> None:
    before = tree.signed("timestamp")
    tree.refresh_timestamp(NOW + timedelta(hours=6))
    after = tree.signed("timestamp")
    assert (after.version, after.snapshot_meta) == (before.version + 1, before.snapshot_meta)
    assert after.expires == NOW + timedelta(hours=6) + TIMESTAMP_LASTS
    assert after.unrecognized_fields["issued"] == "2026-11-24T13:00:00Z"


def test_the_issued_time_never_goes_back(tree: SignedTree) -> None:
    tree.refresh_timestamp(NOW - timedelta(days=400))
    assert tree.signed("timestamp").unrecognized_fields["issued"] == "2026-11-24T07:00:00Z"


def test_the_first_timestamp_lives_as_long_as_every_other(tmp_path: Path) -> None:
    tree = SignedTree(tmp_path / "tree")
    assert tree.signed("timestamp").expires == NOW + TIMESTAMP_LASTS


# A tree that somebody else wrote to, or that is damaged


def test_a_bin_that_another_key_signed_is_never_signed_again(tree: SignedTree) -> None:
    role = bin_of("fleets/shop.json")
    tree.edit(role, lambda bin: bin.targets.clear(), signers=(tree.keys.timestamp,))
    tree = SignedTree.reopen(tree)
    tree.set("fleets/shop.json", manifest_of("shop", 2, V1))
    refused(tree, Unavailable, "not signed by this reconciler's key")


def test_a_damaged_document_is_not_read_back(tree: SignedTree) -> None:
    tree.flip(tree.document("status/shop.json"))
    with pytest.raises(Unavailable, match=r"shop\.json is damaged"):
        tree.writer().statuses()


def test_a_snapshot_of_another_time_is_not_read_back(tree: SignedTree) -> None:
    tree.edit("snapshot", lambda snapshot: setattr(snapshot, "version", 99))
    with pytest.raises(Unavailable, match=r"not the one that timestamp\.json names"):
        tree.writer().manifests()


def test_a_directory_without_a_tree_says_how_to_make_one(tmp_path: Path) -> None:
    tree = SignedTree(tmp_path / "tree")
    tree.layout.timestamp.unlink()
    with pytest.raises(Misconfigured, match="fleetcd init"):
        tree.publish()


# Documents that devices would refuse


@pytest.mark.parametrize(
    "path",
    [
        "fleets/../root.json",
        "fleets//x.json",
        "fleets/x%2e.json",
        "fleets/a\\b.json",
        "fleets/a\0.json",
        "fleets/a/b.json",
        "other/x.json",
        "fleets/x.txt",
        "releases/kiosk-os/a/b.json",
    ],
)
def test_a_document_with_a_strange_path_is_refused(tree: SignedTree, path: str) -> None:
    tree.set(path, b"{}")
    refused(tree, ValueError, "no place for a document")


def test_a_manifest_that_devices_could_not_read_is_refused(tree: SignedTree) -> None:
    tree.set("fleets/shop.json", b" " * 300_000)
    refused(tree, CommitRefused, "E_LENGTH")


def test_a_status_that_could_not_be_read_back_is_refused(tree: SignedTree) -> None:
    tree.set("status/shop.json", b" " * (STATUS_LIMIT + 1))
    refused(tree, CommitRefused, "are read back")


def test_a_pin_to_a_signed_release_is_published(tree: SignedTree) -> None:
    entry: ShardEntry = replace(ENTRY, pin={"os": ComponentRef(V1.release, V1.digest)})
    tree.set(SHARD_PATH, shard_with(entry))
    assert tree.publish()
    assert tree.writer().entries() == {KEY: entry}
