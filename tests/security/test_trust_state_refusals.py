"""Cut caches, full disks, newer and older manifests: the floor holds, the state stays loadable.

The numbers are those of tests/security/cases.toml.
"""

import json
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.refusal import Code
from schemas.wire.decode import encode
from tests.support.documents import DESCRIPTOR, MANIFEST
from tests.support.trust_device import (
    FLEET_PATH,
    RELEASED,
    FolderTree,
    TrustDevice,
    republish,
    trusting_device,
)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[TrustDevice]:
    with trusting_device(tmp_path) as device:
        yield device


def cache_files(device: TrustDevice) -> list[Path]:
    files = [*device.state.glob("tuf/**/*"), *device.state.glob("documents/*")]
    return [file for file in files if file.is_file() and not file.is_symlink()]


def recovers(device: TrustDevice) -> None:
    floor, trust = device.floor(), device.trust(FolderTree(device.tree.directory))
    assert trust.refresh().manifest == MANIFEST
    assert trust.descriptor(RELEASED) == DESCRIPTOR
    assert device.floor() == floor


def test_38_a_cache_file_cut_anywhere_is_fetched_again_and_the_floor_holds(
    device: TrustDevice,
) -> None:
    for file in cache_files(device):
        data = file.read_bytes()
        for length in {0, 1, len(data) - 1, *range(0, len(data), max(1, len(data) // 12))}:
            file.write_bytes(data[:length])
            recovers(device)


@pytest.mark.ci
@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "assignments.json"])
def test_38_a_cache_file_cut_at_every_byte_is_fetched_again_and_the_floor_holds(
    device: TrustDevice, name: str
) -> None:
    file = device.cached(name)
    data = file.read_bytes()
    for length in range(len(data)):
        file.write_bytes(data[:length])
        recovers(device)


def test_38_any_cache_file_may_be_lost(device: TrustDevice) -> None:
    for file in cache_files(device):
        file.unlink()
        recovers(device)


def test_38_a_timestamp_cut_while_its_etag_is_whole_is_not_asked_for_by_it(
    device: TrustDevice,
) -> None:
    data = device.cached("timestamp.json").read_bytes()
    for length in range(0, len(data), 40):
        device.cached("timestamp.json").write_bytes(data[:length])
        assert device.trust().refresh().manifest == MANIFEST


@pytest.mark.parametrize("room", [0, 20, 200, 450])
def test_39_a_full_disk_refuses_and_keeps_the_state_that_was(
    device: TrustDevice, room: int
) -> None:
    republish(device, generation=8)
    floor = device.floor()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with device.refused(Code.STATE):
            device.trust().refresh()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert device.floor() == floor
    manifest = device.trust().refresh().manifest
    assert manifest is not None
    assert manifest.generation == 8


def test_39_a_floor_that_cannot_be_written_refuses(device: TrustDevice) -> None:
    republish(device, generation=8)
    (device.state / ".floor.json.new").symlink_to(device.state / "elsewhere")
    with device.refused(Code.STATE):
        device.trust().refresh()
    assert not (device.state / "elsewhere").exists()


@pytest.mark.parametrize("content", [b"", b"{", b'{"roles":{},"generations":{},"schema":2}', b"[]"])
def test_39_a_floor_that_cannot_be_read_is_not_taken_for_none(
    device: TrustDevice, content: bytes
) -> None:
    (device.state / "floor.json").write_bytes(content)
    with device.refused(Code.STATE):
        device.trust().refresh()


def test_41_a_manifest_newer_than_the_agent_is_refused(device: TrustDevice) -> None:
    newer = json.loads(encode(replace(MANIFEST, generation=8)))
    newer["schema"] = 2
    device.tree.put(FLEET_PATH, json.dumps(newer).encode())
    device.tree.publish()
    with device.refused(Code.SCHEMA):
        device.trust().refresh()


def test_41_a_manifest_with_an_unknown_critical_field_is_refused(device: TrustDevice) -> None:
    newer = json.loads(encode(replace(MANIFEST, generation=8)))
    newer |= {"quarantine": {}, "critical": ["quarantine"]}
    device.tree.put(FLEET_PATH, json.dumps(newer).encode())
    device.tree.publish()
    with device.refused(Code.SCHEMA):
        device.trust().refresh()


def test_42_a_manifest_of_a_lower_generation_is_refused(device: TrustDevice) -> None:
    republish(device, generation=6)
    with device.refused(Code.ROLLBACK):
        device.trust().refresh()


def test_42_a_lower_generation_is_refused_when_the_cache_is_gone(device: TrustDevice) -> None:
    republish(device, generation=6)
    device.lose_cache()
    with device.refused(Code.ROLLBACK):
        device.trust().refresh()
