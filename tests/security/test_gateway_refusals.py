"""What the device API refuses: numbers 91 to 111 of the negative tests, as far as they exist."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.wire.decode import encode, to_json
from schemas.wire.report import Outcome
from tests.support.gateway_app import JOSE, Gateway
from tests.support.gateway_device import NOW, SigningDevice, b64, compact, event, heartbeat
from tests.support.gateway_world import ROLLOUT, everybody, manifest, publish, stage

Forge = Callable[[SigningDevice, bytes], bytes]


def unsigned(device: SigningDevice, payload: bytes) -> bytes:
    header = json.dumps({"alg": "none", "kid": device.key, "typ": "fleetcd-report+jws"})
    return b64(header.encode()) + b"." + b64(payload) + b"."


def hmac_with_public_key(device: SigningDevice, payload: bytes) -> bytes:
    header = {"alg": "HS256", "kid": device.key, "typ": "fleetcd-report+jws"}
    return compact(header, payload, device.der, "HS256")


def other_algorithm(device: SigningDevice, payload: bytes) -> bytes:
    other = SigningDevice(algorithm="ES256" if device.algorithm == "EdDSA" else "EdDSA")
    return other.sign(payload, kid=device.key)


def rsa_named(device: SigningDevice, payload: bytes) -> bytes:
    return device.sign(payload, alg="RS256")


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
@pytest.mark.parametrize("forge", [unsigned, hmac_with_public_key, other_algorithm, rsa_named])
def test_091_only_the_registered_keys_algorithm_is_believed(algorithm: str, forge: Forge) -> None:
    gateway = Gateway()
    device = gateway.joined(algorithm=algorithm)
    assert gateway.post(forge(device, encode(device.report()))).status == 401


def test_092_a_signature_by_another_device_is_refused() -> None:
    gateway = Gateway()
    ours, other = gateway.joined("kiosk-0001"), gateway.joined("kiosk-0002")
    assert gateway.post(other.sign(encode(ours.report()), kid=ours.key)).status == 401
    assert gateway.post(other.sign(encode(ours.report()))).status == 401  # iss is not the signer


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "crit"])
def test_093_a_header_cannot_bring_a_key(name: str) -> None:
    gateway = Gateway()
    device = gateway.joined()
    body = device.sign(encode(device.report()), **{name: "https://evil.example/key"})
    assert gateway.post(body).status == 401


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("aud", "fleetcd-enrol"),
        ("aud", None),
        ("exp", None),
        ("iat", None),
        ("exp", int(NOW.timestamp()) + 121),
        ("exp", int(NOW.timestamp())),
    ],
)
def test_094_claims_must_be_for_here_and_short_lived(claim: str, value: object) -> None:
    gateway = Gateway()
    device = gateway.joined()
    claims = {**to_json(device.report()), claim: value}
    payload = json.dumps({name: each for name, each in claims.items() if each is not None})
    assert gateway.post(device.sign(payload.encode())).status == 401


def test_094_the_type_must_be_that_of_a_report() -> None:
    gateway = Gateway()
    device = gateway.joined()
    for typ in ("fleetcd-enrol+jws", "JWT"):
        assert gateway.post(device.sign(encode(device.report()), typ=typ)).status == 401
    header = {"alg": device.algorithm, "kid": device.key}
    body = compact(header, encode(device.report()), device.private, device.algorithm)
    assert gateway.post(body).status == 401


@pytest.mark.parametrize("kid", ["\ud800", "\0", "x" * 900, ""])
def test_a_kid_that_no_database_can_hold_is_refused_before_it_is_asked(kid: str) -> None:
    """Reports share a batch: one that the database chokes on would take the others with it."""
    gateway = Gateway()
    device = gateway.joined()
    assert gateway.post(device.sign(encode(device.report()), kid=kid)).status in (400, 401)


def test_095_a_replayed_report_changes_nothing() -> None:
    gateway = Gateway()
    device = gateway.joined()
    publish(gateway.store, [device], manifest(everybody()))
    body = device.sign(encode(device.report(event(ROLLOUT, outcome=Outcome.OK))))
    assert gateway.post(body).status == 200
    before = gateway.store.observed(NOW, {})
    again = gateway.post(body)
    assert again.status == 409
    assert again.json == {"journal": device.journal, "lastSeq": device.seq}
    assert gateway.store.observed(NOW, {}) == before


def test_096_a_lower_number_is_refused() -> None:
    gateway = Gateway()
    device = gateway.joined()
    assert gateway.report(device, seq=9).status == 200
    assert gateway.report(device, seq=8).status == 409


def test_098_a_clock_that_is_off_needs_a_nonce_which_serves_once() -> None:
    gateway = Gateway()
    device = gateway.joined()
    for wrong in (timedelta(minutes=-10), timedelta(minutes=10)):
        early = device.report(at=NOW + wrong)
        refused = gateway.post(device.sign(encode(early)))
        assert refused.status == 401
        assert refused.json["date"] == int(NOW.timestamp())
        fresh = replace(early, nonce=refused.json["nonce"])
        assert gateway.post(device.sign(encode(fresh))).status == 200
        again = replace(device.report(at=NOW + wrong), nonce=refused.json["nonce"])
        assert gateway.post(device.sign(encode(again))).status == 401


def test_098_a_nonce_expires() -> None:
    gateway = Gateway()
    device = gateway.joined()
    nonce = gateway.post(device.sign(encode(device.report(at=NOW - timedelta(hours=1))))).json
    gateway.watch.forward(timedelta(minutes=5))
    assert gateway.report(device, nonce=nonce["nonce"]).status == 401


def test_099_a_nonce_serves_the_device_that_got_it() -> None:
    gateway = Gateway()
    ours, other = gateway.joined("kiosk-0001"), gateway.joined("kiosk-0002")
    other.journal = secrets.token_hex(16)
    nonce = gateway.report(other).json["nonce"]
    assert gateway.report(ours, nonce=nonce).status == 401
    assert gateway.report(ours, nonce=gateway.nonce()).status == 401
    assert gateway.report(other, nonce=nonce).status == 200


def test_100_who_is_not_accepted_is_not_heard() -> None:
    gateway = Gateway()
    stranger, pending = SigningDevice("kiosk-0001"), SigningDevice("kiosk-0002")
    assert gateway.enrol(pending).status == 202
    answers = [gateway.report(stranger), gateway.report(pending)]
    assert [each.status for each in answers] == [403, 403]
    assert answers[0].body == answers[1].body
    assert gateway.store.observed(NOW, {}).seen == {}


def test_102_a_device_outside_the_stage_is_stored_not_counted() -> None:
    gateway = Gateway()
    device = gateway.joined()
    publish(gateway.store, [device], manifest(stage("canary", SigningDevice("kiosk-0002"))))
    assert gateway.report(device, event(ROLLOUT, outcome=Outcome.OK)).status == 200
    assert gateway.store.observed(NOW, {}).counts == {}


def test_103_a_device_that_reports_both_is_counted_once_as_failed() -> None:
    gateway = Gateway()
    device = gateway.joined()
    publish(gateway.store, [device], manifest(everybody()))
    for outcome in (Outcome.FAILED, Outcome.OK):
        gateway.report(device, event(ROLLOUT, outcome=outcome))
    counts = gateway.store.observed(NOW, {}).counts[ROLLOUT]["all"]
    assert (counts.started, counts.ok, counts.failed) == (1, 0, 1)


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b"x" * 17_000, 413),
        (b"[" * 100 + b"]" * 100, 400),
        (b'{"aud":"fleetcd-report","iat":NaN,"exp":1}', 400),
        (b'{"aud":"fleetcd-report","aud":"fleetcd-report","iat":1,"exp":2}', 400),
        (b'{"aud":"fleetcd-report","iat":1.5,"exp":2}', 400),
        (b'{"aud":"fleetcd-report","iat":1,"exp":2}', 400),
        (b"\x1f\x8b\x08\x00gzip", 400),
        (b"", 400),
    ],
)
def test_104_a_body_that_is_no_report_is_refused(payload: bytes, status: int) -> None:
    gateway = Gateway()
    device = gateway.joined()
    answer = gateway.post(device.sign(payload))
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_104_a_body_is_not_read_beyond_the_limit() -> None:
    gateway = Gateway()
    lying = {**JOSE, "Content-Length": "10"}
    assert gateway.call("POST", "/v1/report", b"x" * 20_000, lying).status == 413
    announced = {**JOSE, "Content-Length": "20000"}
    assert gateway.call("POST", "/v1/report", b"x", announced).status == 413
    assert gateway.call("POST", "/v1/report", b"x", {"Content-Type": "text/plain"}).status == 415


def in_der(raw: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: bytes(32) + raw[32:],
        lambda raw: raw[:32] + bytes(32),
        in_der,
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
    ],
    ids=["r=0", "s=0", "DER", "63 bytes", "65 bytes"],
)
def test_105_an_ecdsa_signature_has_one_form(change: Callable[[bytes], bytes]) -> None:
    gateway = Gateway()
    device = gateway.joined(algorithm="ES256")
    header, payload, signature = device.sign(encode(device.report())).split(b".")
    raw = base64.urlsafe_b64decode(signature + b"==")
    assert gateway.post(b".".join((header, payload, b64(change(raw))))).status == 401
    assert gateway.post(b".".join((header, payload, signature))).status == 200


def test_106_a_new_key_for_a_name_is_a_conflict_and_the_old_key_works() -> None:
    gateway = Gateway()
    old = gateway.joined()
    answer = gateway.enrol(SigningDevice(old.name))
    assert (answer.status, answer.json["state"]) == (409, "conflict")
    assert gateway.report(old).status == 200


def test_108_one_address_can_ask_so_often_only() -> None:
    gateway = Gateway(settings={"enrolments_per_minute": 60, "enrolment_burst": 3})
    statuses = [gateway.enrol(SigningDevice(f"kiosk-{n}")).status for n in range(5)]
    assert statuses == [202, 202, 202, 429, 429]
    gateway.call.peer = "192.0.2.2"
    assert gateway.enrol(SigningDevice("kiosk-9")).status == 202


def test_108_no_more_wait_than_the_cap_however_many_addresses_ask() -> None:
    gateway = Gateway(settings={"max_pending": 2})
    statuses = []
    for number in range(4):
        gateway.call.peer = f"192.0.2.{number}"
        statuses.append(gateway.enrol(SigningDevice(f"kiosk-{number}")).status)
    assert statuses == [202, 202, 429, 429]


def test_109_text_of_a_device_is_stored_bounded_and_escaped() -> None:
    gateway = Gateway()
    device = gateway.joined()
    hostile = "\r\nlevel=info\x1b[2J\u202e<script>"
    told = event(ROLLOUT, outcome=Outcome.FAILED, message=hostile + "A" * 3000)
    beat = heartbeat(facts={"os\n": hostile}, state=hostile, agent=hostile, waiting=hostile)
    payload = json.dumps(to_json(device.report(told, heartbeat=beat))).encode()
    assert gateway.post(device.sign(payload)).status == 200
    stored = gateway.store.events[device.key, told.id]
    seen = gateway.store.device(device.key)
    assert seen is not None
    assert seen.heard is not None
    texts = [str(stored.message), *seen.heard.facts.values(), *seen.heard.facts, seen.heard.state]
    assert all(text.isprintable() and len(text) <= 1000 for text in texts)


def test_109_text_that_has_no_utf8_is_refused() -> None:
    gateway = Gateway()
    device = gateway.joined()
    told = event(ROLLOUT, outcome=Outcome.FAILED, message="\ud800")
    answer = gateway.post(device.sign(json.dumps(to_json(device.report(told))).encode()))
    assert answer.status == 400
    assert "E_ENCODING" in answer.json["detail"]


@pytest.mark.parametrize(
    "path",
    ["/v1/../admin", "/v1/%2e%2e/api/v1/devices", "//v1/report", "/v1/report/", "/admin", "/docs"],
)
def test_110_only_the_paths_that_exist_are_answered(path: str) -> None:
    answer = Gateway().call("GET", path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_110_a_method_is_what_the_request_line_says() -> None:
    gateway = Gateway()
    override = {"X-HTTP-Method-Override": "POST"}
    assert gateway.call("GET", "/v1/report", headers=override).status == 405
    assert gateway.call("DELETE", "/v1/nonce").status == 405


def test_111_headers_of_a_proxy_are_not_believed() -> None:
    gateway = Gateway(settings={"enrolment_burst": 1, "enrolments_per_minute": 1})
    statuses = []
    for number in range(3):
        device = SigningDevice(f"kiosk-{number}")
        body = device.sign(device.enrol_claims(gateway.nonce()), typ="fleetcd-enrol+jws")
        spoofed = {**JOSE, "X-Forwarded-For": f"10.0.0.{number}", "X-SSL-Client-Verify": "SUCCESS"}
        statuses.append(gateway.call("POST", "/v1/enrol", body, spoofed).status)
    assert statuses == [202, 429, 429]


def test_enrolment_proves_possession_of_the_key_it_brings() -> None:
    gateway = Gateway()
    ours, other = SigningDevice("kiosk-0001"), SigningDevice("kiosk-0002")
    assert gateway.enrol(other, publicKey=ours.public_key).status == 401
    gateway.listed(ours)
    assert gateway.enrol(other).json["state"] == "pending"


def test_an_enrolment_nonce_serves_once() -> None:
    gateway, device = Gateway(), SigningDevice("kiosk-0001")
    body = device.sign(device.enrol_claims(gateway.nonce()), typ="fleetcd-enrol+jws")
    statuses = [gateway.call("POST", "/v1/enrol", body, JOSE).status for _ in range(2)]
    assert statuses == [202, 401]


def test_a_key_has_one_spelling() -> None:
    gateway, device = Gateway(), SigningDevice(algorithm="ES256")
    public = device.private.public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    compressed = base64.b64encode(prefix + point).decode()
    assert gateway.enrol(device, publicKey=compressed).status == 400
    assert gateway.enrol(device, publicKey="AAAA").status == 400
