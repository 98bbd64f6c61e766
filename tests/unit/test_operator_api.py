"""The operator API: who may ask, what is shown, what a decision does."""

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import Misconfigured
from reconciler.http.bodies import MAX_BODY
from reconciler.http.tokens import TokenFile
from schemas.wire.status import Decision, FleetStatus
from tests.support import documents
from tests.support.gateway_app import READ_TOKEN, TOKEN, Gateway, token_file
from tests.support.gateway_device import NOW, OLD_SET, SigningDevice, heartbeat
from tests.support.gateway_world import StillView

STATUS = documents.STATUS


def gateway(folder: Path, status: FleetStatus = STATUS) -> Gateway:
    view = StillView({status.fleet: status}, status.conditions)
    return Gateway(view=view, settings={"tokens": token_file(folder)})


@pytest.mark.parametrize(
    "path",
    [
        "/fleets",
        "/rollouts",
        "/releases",
        "/conditions",
        "/devices",
        "/devices/sha256:" + "a" * 64,
    ],
)
def test_without_a_valid_token_nothing_is_shown(tmp_path: Path, path: str) -> None:
    ours = gateway(tmp_path)
    for answer in (
        ours.call("GET", f"/api/v1{path}"),
        ours.operator("GET", path, token="wrong"),
        ours.call("GET", f"/api/v1{path}", headers={"Authorization": f"Basic {TOKEN}"}),
    ):
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"


def test_without_a_token_file_nobody_is_an_operator() -> None:
    assert Gateway().operator("GET", "/fleets").status == 401


def test_a_token_that_is_taken_out_is_refused_at_once(tmp_path: Path) -> None:
    ours = gateway(tmp_path)
    assert ours.operator("GET", "/fleets").status == 200
    (tmp_path / "tokens").write_text("")
    assert ours.operator("GET", "/fleets").status == 401


def test_a_line_that_is_no_token_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("ann secret\n")
    with pytest.raises(Misconfigured, match="tokens:1"):
        TokenFile(tmp_path / "tokens")


def test_a_token_that_may_only_read_decides_nothing(tmp_path: Path) -> None:
    ours, device = gateway(tmp_path), SigningDevice()
    ours.enrol(device)
    path = f"/devices/{device.key}/accept"
    assert ours.operator("POST", path, {"reason": "known"}, READ_TOKEN).status == 403
    assert ours.operator("GET", f"/devices/{device.key}", token=READ_TOKEN).status == 200


def test_fleets_and_their_rollouts_are_shown(tmp_path: Path) -> None:
    ours = gateway(tmp_path)
    (fleet,) = ours.operator("GET", "/fleets").json["items"]
    assert fleet == ours.operator("GET", f"/fleets/{STATUS.fleet}").json
    assert STATUS.rollout is not None
    assert fleet["rollout"]["phase"] == STATUS.rollout.phase
    assert [each["name"] for each in fleet["rollout"]["stages"]] == [
        each.stage for each in STATUS.rollout.exposure
    ]
    (rollout,) = ours.operator("GET", "/rollouts").json["items"]
    assert rollout == fleet["rollout"]
    assert ours.operator("GET", "/fleets/unknown").status == 404


def test_a_rollout_that_has_ended_rolls_nothing_out(tmp_path: Path) -> None:
    assert STATUS.rollout is not None
    over = replace(STATUS, rollout=replace(STATUS.rollout, ended=NOW))
    ours = gateway(tmp_path, over)
    items = ours.operator("GET", "/releases").json["items"]
    assert not [each for each in items if each["rolling_out_in"]]


def test_releases_say_where_they_are_used(tmp_path: Path) -> None:
    items = gateway(tmp_path).operator("GET", "/releases").json["items"]
    assert STATUS.rollout is not None
    rolling = {each["release"] for each in items if each["rolling_out_in"] == [STATUS.fleet]}
    assert rolling == {ref.release for ref in STATUS.rollout.content.components.values()}


def test_a_rollout_that_is_over_is_known_by_its_decisions(tmp_path: Path) -> None:
    ours = gateway(tmp_path)
    ours.store.record("kiosks", [Decision(NOW, "halt", "1 of 2 failed", "r-00000001", "canary")])
    answer = ours.operator("GET", "/rollouts/r-00000001").json
    assert answer["rollout"] is None
    assert [each["reason"] for each in answer["decisions"]] == ["1 of 2 failed"]
    assert ours.operator("GET", "/rollouts/r-00000002").status == 404
    (decision,) = ours.operator("GET", "/fleets/kiosks/history").json["items"]
    assert decision == answer["decisions"][0]


def test_a_person_accepts_and_rejects_and_the_reason_is_kept(tmp_path: Path) -> None:
    ours, device = gateway(tmp_path), SigningDevice()
    ours.enrol(device)
    path = f"/devices/{device.key}"
    body = {"reason": "on my desk", "labels": {"site": "paris"}}
    accepted = ours.operator("POST", f"{path}/accept", body).json
    assert (accepted["state"], accepted["labels"]) == ("accepted", {"site": "paris"})
    assert ours.operator("POST", f"{path}/reject", {"reason": "stolen"}).json["state"] == "rejected"
    audit = [(each.actor, str(each.state), each.reason) for _, each in ours.store.audit]
    assert audit == [("ann", "accepted", "on my desk"), ("ann", "rejected", "stolen")]


def test_a_name_that_is_held_cannot_be_given_away(tmp_path: Path) -> None:
    ours = gateway(tmp_path)
    old = ours.joined()
    new = SigningDevice(old.name)
    ours.enrol(new)
    answer = ours.operator("POST", f"/devices/{new.key}/accept", {"reason": "new board"})
    assert answer.status == 409
    assert old.key in answer.json["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": 1},
        {"reason": "x", "more": 1},
        {"reason": "x", "labels": {"a": 1}},
        {"reason": "x", "labels": {"a": "x" * 64}},
        {"reason": "x", "labels": {"facts.hardware": "x86"}},
    ],
)
def test_a_decision_that_is_not_well_formed_is_refused(tmp_path: Path, body: object) -> None:
    answer = gateway(tmp_path).operator("POST", f"/devices/sha256:{'a' * 64}/accept", body)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_decision_about_nobody_is_not_found(tmp_path: Path) -> None:
    path = f"/devices/sha256:{'a' * 64}/reject"
    assert gateway(tmp_path).operator("POST", path, {"reason": "x"}).status == 404


def test_devices_come_in_pages(tmp_path: Path) -> None:
    ours = gateway(tmp_path)
    for number in range(5):
        ours.enrol(SigningDevice(f"kiosk-{number}"))
    found, after = [], ""
    for _ in range(3):
        page = ours.operator("GET", f"/devices?limit=2&after={after}").json
        found += [each["key"] for each in page["items"]]
        after = page["next"]
    assert after is None
    assert len(found) == 5
    assert found == sorted(found)


def test_a_selector_that_cannot_be_parsed_is_explained(tmp_path: Path) -> None:
    answer = gateway(tmp_path).operator("GET", "/devices?selector=site%20in%20(")
    assert answer.status == 422
    assert "column" in answer.json["detail"]


def test_what_a_device_says_is_shown(tmp_path: Path) -> None:
    ours = gateway(tmp_path)
    device = ours.joined()
    ours.report(device, heartbeat=heartbeat(OLD_SET, state="idle", facts={"hardware": "rpi4"}))
    shown = ours.operator("GET", f"/devices/{device.key}").json
    assert (shown["running"], shown["doing"], shown["facts"]) == (
        OLD_SET,
        "idle",
        {"hardware": "rpi4"},
    )


def test_the_interface_describes_itself_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    ours = gateway(tmp_path)
    assert "/api/v1/fleets" in ours.call("GET", "/api/v1/openapi.json").json["paths"]
    for path in ("/docs", "/redoc"):
        assert ours.call("GET", path).status == 404


def test_a_body_without_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """FastAPI reads the body before it looks at the token."""
    ours = gateway(tmp_path)
    path = f"/api/v1/devices/sha256:{'a' * 64}/accept"
    headers = {"Content-Type": "application/json"}
    answer = ours.call("POST", path, b" " * (MAX_BODY + 1), headers)
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/problem+json"
