"""The device rule, whole (DESIGN section 4): one row a sentence."""

from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.order import LAST, order
from schemas.resolve import Action, DeviceView, Running, resolve
from schemas.wire.manifest import AdmitRule, Groups, Manifest, Next, Stop
from schemas.wire.shard import Hold, ShardEntry
from schemas.wire.types import ComponentRef, ComponentSet
from tests.support.documents import MANIFEST, NEW, NOW, OLD, ROLLOUT

ENTRY = ShardEntry("kiosk-0007", "kiosks-prod-eu", {"ring": "canary", "site": "paris-01"})
PLACE = order(ROLLOUT, ENTRY.name)
OTHER = ComponentSet({"os": ComponentRef("kiosk-os@1.4.9", "sha256:" + "b2" * 32)})
ON_OLD = DeviceView(Running(OLD.id, OLD))
ON_NEW = DeviceView(Running(NEW.id, NEW))
ON_OTHER = DeviceView(Running(OTHER.id, OTHER))


def manifest(*rules: AdmitRule, **changes: object) -> Manifest:
    assert MANIFEST.next is not None
    following = replace(MANIFEST.next, admit=rules, groups=None)
    return replace(MANIFEST, **{"next": following, "keep": (), **changes})  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("rule", "admitted"),
    [
        pytest.param(AdmitRule(selector="ring=canary"), True, id="its labels match"),
        pytest.param(AdmitRule(selector="ring=early"), False, id="its labels do not match"),
        pytest.param(AdmitRule(only=(PLACE,)), True, id="it is listed"),
        pytest.param(AdmitRule(only=("0" * 16,)), False, id="others are listed"),
        pytest.param(AdmitRule(through=PLACE), True, id="it is the cut-off"),
        pytest.param(AdmitRule(through=f"{int(PLACE, 16) - 1:016x}"), False, id="just above it"),
        pytest.param(AdmitRule(through=LAST), True, id="everybody"),
        pytest.param(AdmitRule(running=OLD.id), True, id="it runs the named set"),
        pytest.param(AdmitRule(running=OTHER.id), False, id="it runs another set"),
    ],
)
def test_a_device_is_admitted_when(rule: AdmitRule, admitted: bool) -> None:
    target = resolve(manifest(rule), ENTRY, ON_OLD, NOW)
    assert target.action is (Action.CONVERGE if admitted else Action.STAY)
    assert target.set == (NEW.id if admitted else OLD.id)


def test_the_first_rule_that_admits_names_the_stage() -> None:
    rules = (AdmitRule(only=("0" * 16,), stage="one"), AdmitRule(through=LAST, stage="two"))
    target = resolve(manifest(*rules), ENTRY, ON_OLD, NOW)
    assert (target.stage, target.rollout, target.attempt) == ("two", ROLLOUT, 1)


def test_who_was_not_admitted_goes_to_stable() -> None:
    target = resolve(manifest(), ENTRY, ON_OTHER, NOW)
    assert (target.action, target.set, target.rollout) == (Action.CONVERGE, OLD.id, None)


def test_a_kept_set_may_stay() -> None:
    target = resolve(manifest(keep=(OTHER.id,)), ENTRY, ON_OTHER, NOW)
    assert (target.action, target.set) == (Action.STAY, OTHER.id)


def test_without_a_stable_set_who_was_not_admitted_stays() -> None:
    assert resolve(manifest(stable=None), ENTRY, ON_OTHER, NOW).action is Action.STAY


def test_a_new_device_gets_stable_at_once() -> None:
    target = resolve(manifest(), ENTRY, DeviceView(None), NOW)
    assert (target.action, target.content) == (Action.CONVERGE, OLD)


ALL = AdmitRule(through=LAST)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        pytest.param(None, "unassigned", id="no entry"),
        pytest.param(replace(ENTRY, fleet=None), "unassigned", id="no fleet"),
        pytest.param(replace(ENTRY, fleet="gates"), "this device is in gates", id="another fleet"),
        pytest.param(replace(ENTRY, hold=Hold("ticket 812")), "held: ticket 812", id="held"),
        pytest.param(
            replace(ENTRY, hold=Hold("rma", NOW + timedelta(1))), "held: rma", id="held until later"
        ),
    ],
)
def test_a_device_stays_with(entry: ShardEntry | None, reason: str) -> None:
    target = resolve(manifest(ALL), entry, ON_OLD, NOW)
    assert target.action is Action.STAY
    assert reason in target.reason


def test_a_hold_ends_at_its_time() -> None:
    entry = replace(ENTRY, hold=Hold("rma", NOW))
    assert resolve(manifest(ALL), entry, ON_OLD, NOW).action is Action.CONVERGE


def test_nothing_starts_while_the_fleet_is_stopped() -> None:
    stopped = manifest(ALL, stop=Stop("flood", "ann", NOW))
    target = resolve(stopped, ENTRY, ON_OLD, NOW)
    assert (target.action, target.reason) == (Action.STAY, "stopped by ann: flood")


def test_a_set_that_failed_here_is_not_tried_again() -> None:
    device = replace(ON_OLD, failed={NEW.id: 1})
    target = resolve(manifest(ALL), ENTRY, device, NOW)
    assert target.action is Action.STAY
    assert "failed here at attempt 1" in target.reason
    assert target.reason.endswith("when Git asks for it anew: revert, then ask again")


def test_a_stable_set_that_failed_here_cannot_be_reverted_to_be_asked_for_again() -> None:
    device = replace(ON_OTHER, failed={OLD.id: 1})
    target = resolve(manifest(), ENTRY, device, NOW)
    assert target.action is Action.STAY
    assert target.reason.endswith("only after another set has become stable")


def test_it_is_tried_again_when_the_attempt_rises() -> None:
    device = replace(ON_OLD, failed={NEW.id: 1})
    target = resolve(manifest(ALL, attempt=2), ENTRY, device, NOW)
    assert (target.action, target.attempt) == (Action.CONVERGE, 2)


def test_the_stable_set_has_an_attempt_of_its_own() -> None:
    device = replace(ON_OTHER, failed={OLD.id: 1})
    stable = replace(MANIFEST.stable, attempt=2)  # type: ignore[type-var]  # the example has one
    target = resolve(manifest(attempt=1, stable=stable), ENTRY, device, NOW)
    assert (target.action, target.set, target.attempt) == (Action.CONVERGE, OLD.id, 2)


def test_a_higher_attempt_of_the_next_set_does_not_retry_the_stable_one() -> None:
    device = replace(ON_OTHER, failed={OLD.id: 1})
    assert resolve(manifest(attempt=3), ENTRY, device, NOW).action is Action.STAY


def test_a_device_that_runs_the_target_stays() -> None:
    assert resolve(manifest(ALL), ENTRY, ON_NEW, NOW).action is Action.STAY


PIN = {"os": OTHER.components["os"]}


def test_a_pin_replaces_its_component_and_counts_in_no_gate() -> None:
    target = resolve(manifest(ALL), replace(ENTRY, pin=PIN), ON_OLD, NOW)
    assert target.content is not None
    assert target.content.components == PIN
    assert (target.set, target.rollout) == (NEW.id, None)


def test_a_pinned_device_that_runs_its_pin_stays() -> None:
    pinned = DeviceView(Running(NEW.id, replace(NEW, components=PIN)))
    assert resolve(manifest(ALL), replace(ENTRY, pin=PIN), pinned, NOW).action is Action.STAY


def test_a_pin_takes_effect_on_a_kept_set_too() -> None:
    target = resolve(manifest(keep=(OLD.id,)), replace(ENTRY, pin=PIN), ON_OLD, NOW)
    assert target.content is not None
    assert target.content.components == PIN


def test_a_pin_of_a_component_that_the_set_lacks_changes_nothing() -> None:
    entry = replace(ENTRY, pin={"radio": PIN["os"]})
    assert resolve(manifest(ALL), entry, ON_OLD, NOW).content == NEW


@pytest.mark.parametrize(
    ("groups", "admitted"),
    [
        pytest.param(Groups("site", {"paris-01": (PLACE,)}), True, id="listed in its group"),
        pytest.param(Groups("site", {"paris-01": ()}), False, id="its group lists others"),
        pytest.param(Groups("site", {}), False, id="its group is not listed"),
        pytest.param(Groups("site", {}, ("paris-01",)), True, id="its group is unlimited"),
    ],
)
def test_a_budget_admits(groups: Groups, admitted: bool) -> None:
    base = manifest(ALL)
    assert isinstance(base.next, Next)
    limited = replace(base, next=replace(base.next, groups=groups))
    assert (resolve(limited, ENTRY, ON_OLD, NOW).set == NEW.id) is admitted
