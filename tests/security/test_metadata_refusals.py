"""Metadata that must not be used, each with its code, a reason, and a floor that did not move.

The numbers are those of tests/security/cases.toml.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, MetaFile, TargetFile

from schemas.refusal import Code
from schemas.wire.decode import encode
from schemas.wire.types import ComponentRef
from tests.support.documents import DESCRIPTOR, MANIFEST
from tests.support.trust_device import (
    FLEET_PATH,
    RELEASE_PATH,
    RELEASED,
    TrustDevice,
    republish,
    trusting_device,
)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[TrustDevice]:
    with trusting_device(tmp_path) as device:
        yield device


def running_is_untouched(device: TrustDevice) -> bool:
    """Return whether the device still accepts the honest tree, with what it had before."""
    device.tree.timestamp.version += 10
    device.tree.write_timestamp()
    return device.trust().refresh().manifest == MANIFEST


def test_9_an_older_timestamp_is_refused(device: TrustDevice) -> None:
    device.tree.timestamp.version = 2
    device.tree.write_timestamp()
    with device.refused(Code.ROLLBACK):
        device.trust().refresh()
    assert running_is_untouched(device)


def test_10_an_older_timestamp_is_refused_when_the_cache_is_gone(device: TrustDevice) -> None:
    device.tree.timestamp.version = 2
    device.tree.write_timestamp()
    device.lose_cache()
    with device.refused(Code.ROLLBACK):
        device.trust().refresh()
    with device.refused(Code.ROLLBACK):  # what tuf has cached of it meanwhile does not matter
        device.trust().refresh()
    assert running_is_untouched(device)


def test_10_an_older_snapshot_is_refused_when_the_cache_is_gone(device: TrustDevice) -> None:
    republish(device, generation=8)
    device.trust().refresh()
    device.tree.snapshot.version = 1
    device.tree.write_snapshot()
    device.tree.timestamp.version = 20
    device.tree.write_timestamp()
    device.lose_cache()
    with device.refused(Code.ROLLBACK):
        device.trust().refresh()


def test_11_a_timestamp_of_equal_version_and_other_bytes_is_discarded(device: TrustDevice) -> None:
    old = device.cached("timestamp.json").read_bytes()
    device.tree.timestamp.expires += timedelta(days=300)
    device.tree.write_timestamp()
    device.trust().refresh()
    assert device.cached("timestamp.json").read_bytes() == old
    device.trust().refresh()  # asked with the discarded one's etag
    assert device.cached("timestamp.json").read_bytes() == old


def test_12_an_expired_timestamp_is_refused(device: TrustDevice) -> None:
    device.clock.ahead = timedelta(days=8)
    with device.refused(Code.EXPIRED):
        device.trust().refresh()
    device.tree.timestamp.expires += timedelta(days=9)
    assert running_is_untouched(device)


def test_13_a_clock_of_1970_does_not_revive_an_expired_timestamp(device: TrustDevice) -> None:
    device.tree.timestamp.expires = device.tree.now - timedelta(hours=1)
    device.tree.refresh_timestamp(issued=device.tree.now - timedelta(days=7))
    device.clock.fixed = datetime(1970, 1, 1, tzinfo=UTC)
    with device.refused(Code.EXPIRED):
        device.trust().refresh()


def test_13_a_year_old_tree_is_not_revived_by_a_long_silence(device: TrustDevice) -> None:
    tree = device.tree
    device.clock.ahead = timedelta(days=500)
    tree.root.version += 1
    for body in (tree.root, tree.snapshot, *tree.targets.values()):
        body.expires += timedelta(days=1000)
    tree.write_root()
    tree.changed |= set(tree.targets)
    tree.publish(issued=tree.now + timedelta(days=200))
    with device.refused(Code.EXPIRED):
        device.trust().refresh()


def test_14_a_clock_of_2099_is_reported_and_recovers(device: TrustDevice) -> None:
    device.clock.fixed = datetime(2099, 1, 1, tzinfo=UTC)
    trusted = device.trust().refresh()
    assert not trusted.clock_trusted
    assert trusted.manifest == MANIFEST
    device.clock.fixed = None
    assert device.trust().refresh().clock_trusted


def test_a_time_far_ahead_falls_with_the_key_that_signed_it(device: TrustDevice) -> None:
    device.tree.timestamp.expires = datetime(2099, 1, 1, tzinfo=UTC)
    device.tree.refresh_timestamp(issued=datetime(2098, 1, 1, tzinfo=UTC))
    with device.refused(Code.EXPIRED):
        device.trust().refresh()
    # Even a device that has believed it (its root and all roles outlived the lie) recovers.
    poisoned = json.loads(device.floor())
    poisoned["issued"] = "2098-01-01T00:00:00Z"
    (device.state / "floor.json").write_text(json.dumps(poisoned))
    device.tree.rotate("timestamp")
    device.tree.timestamp.expires = device.tree.now + timedelta(days=7)
    device.tree.refresh_timestamp()
    trusted = device.trust().refresh()
    assert trusted.manifest == MANIFEST
    assert b"2098" not in device.floor()


def test_a_fast_forwarded_version_falls_with_the_key_that_signed_it(device: TrustDevice) -> None:
    device.tree.timestamp.version = 2**31
    device.tree.write_timestamp()
    device.trust().refresh()
    device.tree.rotate("timestamp")
    device.tree.timestamp.version = 4
    device.tree.write_timestamp()
    assert device.trust().refresh().timestamp_version == 4


def test_15_a_snapshot_that_is_not_the_timestamps_is_refused(device: TrustDevice) -> None:
    device.tree.snapshot.version += 1
    device.tree.write_snapshot()
    device.tree.refresh_timestamp()
    name = f"{device.tree.snapshot.version}.snapshot.json"
    device.tree.write(name, device.tree.read(name).replace(b'"2026', b'"2027'))
    altered = device.tree.read(name)
    digest = "0" * 64
    device.tree.timestamp.snapshot_meta = MetaFile(
        device.tree.snapshot.version, len(altered), {"sha256": digest}
    )
    device.tree.refresh_timestamp()
    with device.refused(Code.HASH):
        device.trust().refresh()


def test_16_a_snapshot_that_drops_a_role_is_refused(device: TrustDevice) -> None:
    device.tree.snapshot.version += 1
    del device.tree.snapshot.meta["releases.json"]
    device.tree.write_snapshot()
    device.tree.refresh_timestamp()
    with device.refused(Code.ROLLBACK):
        device.trust().refresh()


def test_17_a_snapshot_that_lowers_a_version_is_refused(device: TrustDevice) -> None:
    republish(device, generation=8)
    device.trust().refresh()
    role = device.tree.role_of(FLEET_PATH)
    device.tree.snapshot.meta[f"{role}.json"] = MetaFile(1)
    device.tree.snapshot.version += 1
    device.tree.write_snapshot()
    device.tree.refresh_timestamp()
    with device.refused(Code.ROLLBACK):
        device.trust().refresh()
    device.lose_cache()
    with device.refused(Code.ROLLBACK):  # by our floor
        device.trust().refresh()


def test_18_a_bin_of_another_version_than_the_snapshots_is_refused(device: TrustDevice) -> None:
    role = device.tree.role_of(FLEET_PATH)
    device.tree.put_manifest(replace(MANIFEST, generation=8))
    device.tree.publish()
    device.tree.write(f"2.{role}.json", device.tree.read(f"1.{role}.json"))
    with device.refused(Code.VERSION):
        device.trust().refresh()


def test_19_a_manifest_in_a_bin_that_is_not_responsible_is_not_found(device: TrustDevice) -> None:
    right = device.tree.role_of(FLEET_PATH)
    wrong = next(role for role in device.tree.bins.get_roles() if role != right)
    del device.tree.targets[right].targets[FLEET_PATH]
    device.tree.changed.add(right)
    device.tree.put(FLEET_PATH, encode(replace(MANIFEST, generation=9)), role=wrong)
    device.tree.publish()
    assert device.trust().refresh().manifest is None


def test_19_a_release_in_a_bin_of_the_online_key_is_not_found(device: TrustDevice) -> None:
    evil = replace(DESCRIPTOR, version="6.6.6")
    path = f"releases/{evil.name}/{evil.version}.json"
    for role in (*device.tree.bins.get_roles(), "assignments"):
        device.tree.put(path, encode(evil), role=role)
    device.tree.publish()
    trust = device.trust()
    trust.refresh()
    with device.refused(Code.NOT_RELEASED):
        trust.descriptor(ComponentRef(evil.release, evil.digest))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data.replace(b"kiosks-prod-eu", b"kiosks-prod-us"), Code.HASH),
        (lambda data: data[:-1], Code.HASH),
        (lambda data: data + b" ", Code.LENGTH),
    ],
)
def test_20_manifest_bytes_that_were_not_signed_are_refused(
    device: TrustDevice, change: Callable[[bytes], bytes], code: Code
) -> None:
    republish(device, generation=8)
    device.server.on("fleets/", lambda _, reply: replace(reply, body=change(reply.body)))
    with device.refused(code):
        device.trust().refresh()


def test_20_a_manifest_that_is_signed_to_be_huge_is_refused_before_it_is_fetched(
    device: TrustDevice,
) -> None:
    role = device.tree.role_of(FLEET_PATH)
    huge = TargetFile(300 * 1024, {"sha256": "0" * 64}, FLEET_PATH)
    device.tree.targets[role].targets[FLEET_PATH] = huge
    device.tree.changed.add(role)
    device.tree.publish()
    with device.refused(Code.LENGTH):
        device.trust().refresh()
    assert "fleets" not in device.server.paths()[-1]


def test_21_a_manifest_of_another_fleet_is_refused(device: TrustDevice) -> None:
    device.tree.put(FLEET_PATH, encode(replace(MANIFEST, fleet="kiosks-prod-us")))
    device.tree.publish()
    with device.refused(Code.FLEET):
        device.trust().refresh()


def test_22_what_release_keys_did_not_sign_is_refused(device: TrustDevice) -> None:
    trust = device.trust()
    trust.refresh()
    with device.refused(Code.NOT_RELEASED):
        trust.descriptor(ComponentRef("kiosk-os@9.9.9", DESCRIPTOR.digest))
    with device.refused(Code.NOT_RELEASED):
        trust.descriptor(ComponentRef("evil-os@1.0.0", DESCRIPTOR.digest))


def test_23_another_digest_than_release_keys_signed_is_refused(device: TrustDevice) -> None:
    trust = device.trust()
    trust.refresh()
    with device.refused(Code.MISMATCH):
        trust.descriptor(ComponentRef(DESCRIPTOR.release, "sha256:" + "0" * 64))


def test_23_a_descriptor_under_another_releases_path_is_refused(device: TrustDevice) -> None:
    device.tree.put("releases/kiosk-os/1.6.0.json", encode(DESCRIPTOR))
    device.tree.publish()
    trust = device.trust()
    trust.refresh()
    with device.refused(Code.MISMATCH):
        trust.descriptor(ComponentRef("kiosk-os@1.6.0", DESCRIPTOR.digest))


def test_26_a_release_role_that_one_of_two_has_signed_is_refused(device: TrustDevice) -> None:
    second = CryptoSigner.generate_ed25519().public_key
    delegations = device.tree.targets["releases"].delegations
    assert delegations is not None
    assert delegations.roles is not None
    role = delegations.roles["releases-kiosk-os"]
    delegations.keys[second.keyid] = second
    role.keyids.append(second.keyid)
    role.threshold = 2
    device.tree.changed |= {"releases", "releases-kiosk-os"}
    device.tree.publish()
    trust = device.trust()
    trust.refresh()
    with device.refused(Code.SIGNATURE):
        trust.descriptor(RELEASED)


@pytest.mark.parametrize(
    "release",
    [
        "../../fleets@x",
        "kiosk-os@../1.5.0",
        "kiosk-os@..",
        "kiosk-os@1..5",
        "kiosk-os@%2e%2e",
        "kiosk-os@1.5\\0",
        "kiosk-os@1.5\0",
        "kiosk-os@a/b/c",
        "kiosk-os@",
        "//@1.5.0",
        "kiosk-os",
    ],
)
def test_27_a_release_that_is_no_plain_name_is_refused(device: TrustDevice, release: str) -> None:
    trust = device.trust()
    trust.refresh()
    asked = len(device.server.asked)
    with device.refused(Code.PATH):
        trust.descriptor(ComponentRef(release, DESCRIPTOR.digest))
    assert len(device.server.asked) == asked


def test_28_a_thousand_delegations_end_after_a_few_requests(device: TrustDevice) -> None:
    delegations = device.tree.targets["releases"].delegations
    assert delegations is not None
    assert delegations.roles is not None
    del delegations.roles["releases-kiosk-os"]
    role = device.tree.targets["releases-kiosk-os"]
    del role.targets[RELEASE_PATH]
    key = device.tree.keys["releases"].public_key.keyid
    for number in range(1000):
        name = f"releases-{number}"
        delegations.roles[name] = DelegatedRole(name, [key], 1, False, paths=["releases/*/*"])
    for number in range(40):
        device.tree.targets[f"releases-{number}"] = role
        device.tree.write_targets(f"releases-{number}")
    device.tree.changed.add("releases")
    device.tree.publish()
    trust = device.trust()
    trust.refresh()
    before = len(device.server.asked)
    with device.refused(Code.NOT_RELEASED):
        trust.descriptor(RELEASED)
    assert len(device.server.asked) - before <= 9


def test_28_roles_that_delegate_to_each_other_end(device: TrustDevice) -> None:
    releases = device.tree.targets["releases"]
    role = device.tree.targets["releases-kiosk-os"]
    del role.targets[RELEASE_PATH]
    key = device.tree.keys["releases"].public_key
    assert releases.delegations is not None
    circle = type(releases.delegations)(
        {key.keyid: key},
        {"releases": DelegatedRole("releases", [key.keyid], 1, False, paths=["releases/*/*"])},
    )
    role.delegations = circle
    device.tree.changed.add("releases-kiosk-os")
    device.tree.publish()
    trust = device.trust()
    trust.refresh()
    with device.refused(Code.NOT_RELEASED):
        trust.descriptor(RELEASED)
