"""Which documents a plan becomes, and what fits into project.json."""

from dataclasses import replace

from reconciler.domain.documents import Attempted, documents, lost, project_status, shards
from reconciler.domain.observed import EnrolledDevice
from reconciler.domain.planner import Plan
from schemas.canonical import shard_of
from schemas.wire.decode import decode, encode
from schemas.wire.project import MAX_PROBLEMS, PROJECT_LIMIT, ProjectStatus
from schemas.wire.shard import ShardEntry
from schemas.wire.status import Condition
from tests.support import fleet_yaml
from tests.support.documents import COMMIT, ENTRY, KEY, NOW
from tests.support.publications import descriptor_of, manifest_of, ref_of, status_of

NOTHING = Plan({}, {})
ATTEMPTED = Attempted(COMMIT, (), NOW)


def test_a_shard_that_lost_its_last_entry_becomes_an_empty_one() -> None:
    found = shards({}, {KEY: ENTRY})
    assert {name: dict(shard.entries) for name, shard in found.items()} == {shard_of(KEY): {}}


def test_a_shard_that_did_not_change_is_left_alone() -> None:
    neighbour = KEY[:-1] + ("0" if KEY[-1] != "0" else "1")
    entries = {KEY: ENTRY, neighbour: ENTRY}
    assert shards(entries, entries) == {}
    (changed,) = shards(entries, {KEY: ENTRY}).values()
    assert changed.entries == entries


def test_a_document_that_did_not_change_is_left_alone() -> None:
    desired = fleet_yaml.desired(fleet_yaml.release())
    plan = Plan({"kiosks": manifest_of("kiosks", 1)}, {"kiosks": status_of("kiosks", 1)})
    assert documents(desired, plan, {KEY: ENTRY}, plan, {KEY: ENTRY}) == {}
    newer = replace(plan, statuses={"kiosks": status_of("kiosks", 2)})
    assert documents(desired, newer, {}, plan, {}).keys() == {"status/kiosks.json"}


def test_only_descriptors_that_somebody_is_sent_to_are_published() -> None:
    wanted, pinned, idle = (descriptor_of(version) for version in ("1", "2", "3"))
    desired = replace(
        fleet_yaml.desired(fleet_yaml.release()),
        descriptors={each.release: each for each in (wanted, pinned, idle)},
    )
    plan = Plan({"kiosks": manifest_of("kiosks", 1, wanted)}, {"kiosks": status_of("kiosks", 1)})
    entry = replace(ENTRY, pin={"os": ref_of(pinned)})
    assert documents(desired, plan, {KEY: entry}, NOTHING, {}).keys() == {
        "fleets/kiosks.json",
        "status/kiosks.json",
        f"devices/{shard_of(KEY)}.json",
        "releases/kiosk-os/1.json",
        "releases/kiosk-os/2.json",
    }


def test_a_descriptor_that_the_commit_changed_is_not_published_for_the_old_reference() -> None:
    old, new = descriptor_of("1"), descriptor_of("1", epoch=1)
    desired = replace(fleet_yaml.desired(fleet_yaml.release()), descriptors={new.release: new})
    plan = Plan({"kiosks": manifest_of("kiosks", 1, old)}, {})
    assert "releases/kiosk-os/1.json" not in documents(desired, plan, {}, NOTHING, {})


def test_project_json_fits_its_limit_whatever_is_wrong() -> None:
    worst = "\N{GRINNING FACE}" * 5000
    conditions = [Condition(f"Type{n}", False, "Reason", worst, NOW) for n in range(6)]
    status = project_status("p", COMMIT, attempted((worst,) * 500), conditions)
    data = encode(status)
    assert len(data) <= PROJECT_LIMIT
    assert decode(ProjectStatus, data, limit=PROJECT_LIMIT) == status


def test_problems_that_are_left_out_are_counted() -> None:
    status = project_status(None, None, attempted(tuple(map(str, range(250)))), ())
    assert len(status.problems) == MAX_PROBLEMS
    assert status.problems[-2:] == ("98", "… and 151 more")


def test_as_many_problems_as_fit_are_all_told() -> None:
    problems = tuple(map(str, range(MAX_PROBLEMS)))
    assert project_status(None, None, attempted(problems), ()).problems == problems


def test_lost_devices_are_those_that_had_joined_and_are_not_known() -> None:
    never_joined = replace(ENTRY, name="kiosk-9", public_key=None)
    joined = replace(ENTRY, public_key="AAAA")
    entries: dict[str, ShardEntry] = {"a": joined, "b": joined, "c": never_joined}
    assert lost(entries, [EnrolledDevice("kiosk", "a", "AAAA", {})]) == {"b": joined}


def attempted(problems: tuple[str, ...]) -> Attempted:
    return replace(ATTEMPTED, problems=problems)
