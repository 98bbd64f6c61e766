"""A commit's documents become what they ask for: references followed, defaults filled in."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from reconciler.domain.build import Broken, build
from reconciler.domain.desired import DEFAULT_POLICY, Gate, Guards, OnFailure, Stage
from schemas.wire.shard import Hold
from tests.support import fleet_yaml as write

KEY = f"sha256:{'0' * 64}"


def test_eight_lines_of_fleet_and_a_release_are_enough() -> None:
    desired = write.desired(write.fleet(), write.release())
    fleet = desired.fleets["kiosks"]
    assert fleet.content.components["os"].release == "demo-os@1"
    assert fleet.content.components["os"].descriptor == desired.descriptors["demo-os@1"].digest
    assert fleet.policy == DEFAULT_POLICY
    assert (fleet.priority, fleet.suspended) == (0, None)
    assert (desired.commit, desired.project, desired.guards) == (write.COMMIT, "default", Guards())


def test_an_empty_repository_asks_for_nothing() -> None:
    desired = write.desired()
    assert (desired.fleets, desired.devices, desired.descriptors) == ({}, {}, {})


def test_the_time_of_the_commit_is_kept() -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    result = build(write.load({}), commit=write.COMMIT, committed_at=at)
    assert not isinstance(result, Broken)
    assert result.committed_at == at


def test_a_fleet_says_what_else_it_wants() -> None:
    more = 'priority: 5, vars: {b: 80, d: true, c: "x"}, suspend: {reason: RMA}, prune: hold'
    fleet = write.desired(write.fleet(more=more), write.release()).fleets["kiosks"]
    assert (fleet.priority, fleet.suspended) == (5, "RMA")
    assert fleet.content.vars == {"b": 80, "d": True, "c": "x"}


def test_variables_are_part_of_the_set() -> None:
    def set_of(more: str) -> str:
        return write.desired(write.fleet(more=more), write.release()).fleets["kiosks"].content.id

    assert set_of("vars: {a: 1}") != set_of("vars: {a: 2}")
    assert set_of("vars: {a: 1, b: 2}") == set_of("vars: {b: 2, a: 1}")


def test_the_project_names_guards_and_the_default_policy() -> None:
    spec = "{guards: {maxDevicesPerCommit: 5, maxDevicesLeavingFleet: 0}, defaults: {policy: fast}}"
    desired = write.desired(
        write.document("Project", "acme", spec),
        write.policy("fast", "{name: all, percent: 100}"),
        write.fleet(),
        write.release(),
    )
    assert desired.project == "acme"
    assert desired.guards == Guards(5, 0)
    assert desired.fleets["kiosks"].policy.name == "fast"


def test_a_fleets_own_policy_goes_before_the_projects() -> None:
    desired = write.desired(
        write.document("Project", "acme", "{defaults: {policy: fast}}"),
        write.policy("fast", "{name: all, percent: 100}"),
        write.policy("slow", "{name: all, percent: 100}"),
        write.fleet(more="policy: slow"),
        write.release(),
    )
    assert desired.fleets["kiosks"].policy.name == "slow"


def test_a_policy_called_default_replaces_the_built_in_one() -> None:
    desired = write.desired(
        write.policy("default", "{name: everybody, percent: 100}"), write.fleet(), write.release()
    )
    assert [stage.name for stage in desired.fleets["kiosks"].policy.stages] == ["everybody"]


def stages_of(stages: str, more: str = "") -> tuple[Stage, ...]:
    desired = write.desired(
        write.policy("p", stages, more), write.fleet(more="policy: p"), write.release()
    )
    return desired.fleets["kiosks"].policy.stages


def test_a_last_stage_for_everybody_is_added_when_it_is_missing() -> None:
    first, last = stages_of(
        "{name: canary, selector: ring=canary, soak: 24h}", "gate: {success: 98}"
    )
    assert (first.selector, first.soak) == ("ring=canary", timedelta(hours=24))
    assert (last.name, last.percent) == ("all", Fraction(100))
    assert last.gate.success == Fraction(98, 100)


def test_the_added_stage_never_takes_a_name_that_is_taken() -> None:
    assert [s.name for s in stages_of("{name: all, percent: 50}, {name: all-2, percent: 60}")] == [
        "all",
        "all-2",
        "all-3",
    ]


def test_a_stage_overrides_single_fields_of_the_policys_gate() -> None:
    first, second = stages_of(
        '{name: a, count: 1, gate: {success: "99.5", minFinished: 3}}, {name: b, percent: 100}',
        "gate: {success: 98, minCoverage: 80, attemptTimeout: 2h, reportLost: 45m}",
    )
    everywhere = Gate(
        success=Fraction(98, 100),
        min_coverage=Fraction(80, 100),
        attempt_timeout=timedelta(hours=2),
        report_lost=timedelta(minutes=45),
    )
    assert second.gate == everywhere
    assert first.gate.success == Fraction(199, 200)
    assert first.gate.min_finished == 3
    assert first.gate.min_coverage == everywhere.min_coverage


def test_a_policy_says_what_happens_on_failure_and_how_long_it_may_take() -> None:
    desired = write.desired(
        write.policy("p", "{name: a, count: 1}", "onFailure: rollback, deadline: 14d"),
        write.fleet(more="policy: p"),
        write.release(),
    )
    policy = desired.fleets["kiosks"].policy
    assert (policy.on_failure, policy.deadline) == (OnFailure.ROLLBACK, timedelta(days=14))


def test_a_listed_device_overrides_the_lists_defaults() -> None:
    spec = (
        "{defaults: {labels: {product: kiosk, ring: late}, vars: {brightness: 80}}, devices: ["
        f'{{name: kiosk-1, key: "{KEY}", labels: {{ring: canary}}, vars: {{brightness: 40}}}},'
        "{name: kiosk-2}]}"
    )
    devices = write.desired(write.document("DeviceList", "paris", spec)).devices
    first, second = devices["kiosk-1"], devices["kiosk-2"]
    assert (first.key, second.key) == (KEY, None)
    assert first.labels == {"product": "kiosk", "ring": "canary"}
    assert second.labels == {"product": "kiosk", "ring": "late"}
    assert (first.vars, second.vars) == ({"brightness": 40}, {"brightness": 80})


def test_a_device_may_be_pinned_and_held() -> None:
    hold = '{reason: "RMA 812", until: "2026-12-01T00:00:00Z"}'
    desired = write.desired(
        write.device("kiosk-1", spec=f"{{pin: {{os: demo-os@2}}, hold: {hold}}}"),
        write.fleet(),
        write.release(),
        write.release("2"),
    )
    device = desired.devices["kiosk-1"]
    assert device.pin["os"].descriptor == desired.descriptors["demo-os@2"].digest
    assert device.hold == Hold("RMA 812", datetime(2026, 12, 1, tzinfo=UTC))


def test_a_withdrawn_release_that_nobody_names_is_only_known_as_such() -> None:
    desired = write.desired(write.release(more="withdrawn: CVE-2026-1"))
    assert desired.withdrawn == {"demo-os@1": "CVE-2026-1"}
    assert "demo-os@1" in desired.descriptors


def test_fleets_that_overlap_with_different_priorities_are_fine() -> None:
    desired = write.desired(
        write.fleet(),
        write.fleet("special", more="priority: 1"),
        write.release(),
        write.device("k"),
    )
    assert len(desired.fleets) == 2
