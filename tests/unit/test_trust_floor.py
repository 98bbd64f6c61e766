"""The pure rules under the trust: floor, clock, the outline of metadata, paths."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.trust.clock import Reading, judge
from device_agent.trust.floor import Floor, Mark
from device_agent.trust.paths import descriptor_path, device_path, fleet_path
from device_agent.trust.shape import check_metadata
from schemas.refusal import Code, Refusal
from schemas.wire.decode import decode, encode
from schemas.wire.types import ComponentRef

A, B = "a" * 64, "b" * 64
ISSUED = datetime(2026, 11, 24, 7, tzinfo=UTC)


def test_a_version_below_the_floor_is_refused_and_an_equal_or_higher_one_is_not() -> None:
    floor = Floor(roles={"snapshot": Mark(A, 5)})
    floor.check_roles({"snapshot": Mark(A, 5), "a-00": Mark(A, 1)})
    floor.check_roles({"snapshot": Mark(A, 6)})
    with pytest.raises(Refusal, match="E_ROLLBACK"):
        floor.check_roles({"snapshot": Mark(A, 4)})


def test_a_rotated_key_set_starts_again() -> None:
    floor = Floor(roles={"snapshot": Mark(A, 5)})
    floor.check_roles({"snapshot": Mark(B, 1)})
    assert floor.raised({"snapshot": Mark(B, 1)}).roles == {"snapshot": Mark(B, 1)}


def test_a_role_that_is_not_seen_this_time_keeps_its_floor() -> None:
    floor = Floor(roles={"releases-os": Mark(A, 5)}).raised({"a-00": Mark(A, 2)})
    with pytest.raises(Refusal, match="E_ROLLBACK"):
        floor.check_roles({"releases-os": Mark(A, 4)})


def test_generations_of_fleets_do_not_mix() -> None:
    floor = Floor().raised_generation("kiosks", Mark(A, 9))
    floor.check_generation("signs", Mark(A, 1))
    with pytest.raises(Refusal, match="kiosks"):
        floor.check_generation("kiosks", Mark(A, 8))


def test_the_time_floor_holds_under_the_key_set_that_signed_it() -> None:
    floor = Floor(roles={"timestamp": Mark(A, 1)}, issued=ISSUED)
    assert floor.issued_under(A) == ISSUED
    assert floor.issued_under(B) is None


@given(
    st.dictionaries(
        st.text(max_size=20), st.builds(Mark, st.just(A), st.integers(1, 2**53 - 1)), max_size=5
    )
)
def test_a_floor_is_read_as_it_was_written(roles: dict[str, Mark]) -> None:
    floor = replace(Floor(roles=roles, generations=roles), issued=ISSUED)
    assert decode(Floor, encode(floor)) == floor


@pytest.mark.parametrize(
    ("wall", "issued", "reading"),
    [
        (ISSUED, None, Reading(ISSUED, True)),
        (ISSUED + timedelta(days=3), ISSUED, Reading(ISSUED + timedelta(days=3), True)),
        (ISSUED + timedelta(days=365), ISSUED, Reading(ISSUED + timedelta(days=365), True)),
        (ISSUED + timedelta(days=366), ISSUED, Reading(ISSUED, False)),
        (ISSUED - timedelta(minutes=1), ISSUED, Reading(ISSUED, True)),
        (ISSUED - timedelta(hours=1), ISSUED, Reading(ISSUED, False)),
        (datetime(1970, 1, 1, tzinfo=UTC), ISSUED, Reading(ISSUED, False)),
    ],
)
def test_the_time_to_judge_by(wall: datetime, issued: datetime | None, reading: Reading) -> None:
    assert judge(wall, issued) == reading


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("timestamp.json", b'{"signed":{"_type":"snapshot","version":1}}', Code.FORMAT),
        ("3.root.json", b'{"signed":{"_type":"root","version":4}}', Code.VERSION),
        ("3.a-00.json", b'{"signed":{"_type":"root","version":3}}', Code.FORMAT),
        ("timestamp.json", b'{"signed":{"_type":"timestamp","version":true}}', Code.FORMAT),
        ("timestamp.json", b'{"signed":{"_type":"timestamp"}}', Code.FORMAT),
        ("timestamp.json", b'{"signed":[]}', Code.FORMAT),
        ("timestamp.json", b"[" * 99, Code.DEPTH),
        ("timestamp.json", b" " * 101, Code.LENGTH),
        ("timestamp", b"{}", Code.PATH),
    ],
)
def test_metadata_without_its_outline_is_refused(name: str, data: bytes, code: Code) -> None:
    with pytest.raises(Refusal) as caught:
        check_metadata(name, data, limit=100)
    assert caught.value.code is code


@pytest.mark.parametrize("name", ["3.a-00.json", "3.releases-kiosk-os.json", "3.targets.json"])
def test_metadata_with_its_outline_passes(name: str) -> None:
    check_metadata(name, b'{"signed":{"_type":"targets","version":3}}', limit=100)


def test_paths_are_those_of_the_protocol() -> None:
    assert device_path("sha256:d43" + "0" * 61) == "devices/d43.json"
    assert fleet_path("kiosks") == "fleets/kiosks.json"
    ref = ComponentRef("kiosk-os@1.5.0+b1", "sha256:" + "0" * 64)
    assert descriptor_path(ref) == "releases/kiosk-os/1.5.0+b1.json"


@given(st.text(max_size=12))
def test_no_name_leaves_its_folder(name: str) -> None:
    try:
        path = fleet_path(name)
    except Refusal as refusal:
        assert refusal.code is Code.PATH
    else:
        assert path == f"fleets/{name}.json"
        assert path.count("/") == 1
        assert ".." not in path
        assert "%" not in path
