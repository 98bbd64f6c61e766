"""What a refresh promises when nothing is wrong with the tree."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from device_agent.errors import TransientError
from schemas.wire.types import ComponentRef
from tests.support.documents import DESCRIPTOR, ENTRY, KEY, MANIFEST
from tests.support.trust_device import RELEASED, TrustDevice, republish, trust_device


@pytest.fixture
def device(tmp_path: Path) -> Iterator[TrustDevice]:
    with trust_device(tmp_path) as device:
        yield device


def test_a_device_gets_its_entry_its_manifest_and_the_descriptor(device: TrustDevice) -> None:
    trust = device.trust()
    trusted = trust.refresh()
    assert trusted.entry == ENTRY
    assert trusted.manifest == MANIFEST
    assert trusted.timestamp_version == 1
    assert trusted.issued == device.tree.now
    assert trusted.clock_trusted
    assert trust.descriptor(RELEASED) == DESCRIPTOR


def test_an_unchanged_poll_asks_for_the_next_root_and_an_unchanged_timestamp_only(
    device: TrustDevice,
) -> None:
    device.trust().refresh()
    device.server.asked.clear()
    device.server.sent = device.server.connections = 0
    assert device.trust().refresh().manifest == MANIFEST
    assert device.server.paths() == ["/metadata/2.root.json", "/metadata/timestamp.json"]
    assert device.server.sent == 0
    assert device.server.connections == 1


def test_a_timestamp_signed_again_costs_no_further_request(device: TrustDevice) -> None:
    device.trust().refresh()
    device.tree.refresh_timestamp()
    device.server.asked.clear()
    assert device.trust().refresh().timestamp_version == 2
    assert len(device.server.asked) == 2


def test_a_new_manifest_replaces_the_old_one(device: TrustDevice) -> None:
    device.trust().refresh()
    republish(device, generation=8)
    manifest = device.trust().refresh().manifest
    assert manifest is not None
    assert manifest.generation == 8


def test_a_key_without_an_entry_is_unassigned_and_no_error(device: TrustDevice) -> None:
    stranger = replace(ENTRY, name="somebody-else")
    device.tree.put_entries({"sha256:d43" + "0" * 61: stranger})
    device.tree.publish()
    trusted = device.trust().refresh()
    assert trusted.entry is None
    assert trusted.manifest is None


def test_a_device_whose_shard_does_not_exist_yet_is_unassigned(device: TrustDevice) -> None:
    for role in device.tree.bins.get_roles():
        device.tree.targets[role].targets.clear()
        device.tree.changed.add(role)
    device.tree.publish()
    assert device.trust().refresh().entry is None


def test_an_entry_may_come_before_its_fleets_manifest(device: TrustDevice) -> None:
    device.tree.put_entries({KEY: replace(ENTRY, fleet="founded-tomorrow")})
    device.tree.publish()
    trusted = device.trust().refresh()
    assert trusted.entry is not None
    assert trusted.manifest is None


def test_the_age_of_a_cached_timestamp_counts_against_its_freshness(device: TrustDevice) -> None:
    device.server.on("timestamp", lambda _, r: replace(r, headers={**r.headers, "Age": "45"}))
    before = device.clock.monotonic()
    fetched = device.trust().refresh().fetched
    assert before - 45 <= fetched <= device.clock.monotonic() - 45
    later = device.clock.monotonic()
    again = device.trust().refresh().fetched  # answered by 304
    assert device.server.asked[-1].headers["if-none-match"]
    assert later - 45 <= again <= device.clock.monotonic() - 45


def test_a_nonsensical_age_is_taken_for_none(device: TrustDevice) -> None:
    device.server.on("timestamp", lambda _, r: replace(r, headers={**r.headers, "Age": "-3600"}))
    before = device.clock.monotonic()
    assert before <= device.trust().refresh().fetched <= device.clock.monotonic()


def test_a_rotated_root_is_followed(device: TrustDevice) -> None:
    device.trust().refresh()
    device.tree.rotate("timestamp")
    device.tree.refresh_timestamp()
    assert device.trust().refresh().timestamp_version == 2


def test_a_server_that_is_away_is_a_matter_of_time(device: TrustDevice) -> None:
    device.trust().refresh()
    floor = device.floor()
    device.server.__exit__(None, None, None)
    with pytest.raises(TransientError, match="E_NETWORK"):
        device.trust().refresh()
    assert device.floor() == floor


def test_a_descriptor_is_asked_for_after_a_refresh_only(device: TrustDevice) -> None:
    with pytest.raises(RuntimeError, match="refresh"):
        device.trust().descriptor(RELEASED)


def test_descriptors_of_the_past_do_not_fill_the_disk(device: TrustDevice) -> None:
    for version in range(70):
        device.tree.put_release(replace(DESCRIPTOR, version=f"2.0.{version}"))
    device.tree.publish()
    trust = device.trust()
    trust.refresh()
    for version in range(70):
        descriptor = replace(DESCRIPTOR, version=f"2.0.{version}")
        trust.descriptor(ComponentRef(descriptor.release, descriptor.digest))
    assert len(list((device.state / "documents").iterdir())) <= 64


def test_a_clock_that_is_years_ahead_is_replaced_by_the_signed_time(device: TrustDevice) -> None:
    device.trust().refresh()
    device.clock.ahead = timedelta(days=20_000)
    device.tree.refresh_timestamp()
    assert not device.trust().refresh().clock_trusted
    device.clock.ahead = timedelta()
    assert device.trust().refresh().clock_trusted


def test_a_device_that_was_off_for_longer_than_a_year_believes_its_clock_again(
    device: TrustDevice,
) -> None:
    device.trust().refresh()
    tree, later = device.tree, timedelta(days=500)
    device.clock.ahead = later
    tree.now += later
    tree.root.expires += later
    tree.root.version += 1
    tree.write_root()
    for body in (*tree.targets.values(), tree.snapshot, tree.timestamp):
        body.expires += later
    tree.changed |= set(tree.targets)
    tree.publish()
    assert device.trust().refresh().clock_trusted
