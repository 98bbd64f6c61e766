"""Health and metrics: what a probe and a scraper see."""

from collections.abc import Collection, Mapping
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.errors import Unavailable
from reconciler.http.app import create_app
from reconciler.http.metrics import Health
from reconciler.http.ports import Identity
from schemas.wire.report import EnrolState
from tests.support import documents
from tests.support.gateway_app import Gateway
from tests.support.gateway_asgi import Caller
from tests.support.gateway_device import NOW, SigningDevice
from tests.support.gateway_world import StillView, Watch
from tests.support.memory_store import MemoryStore


class AwayStore(MemoryStore):
    """A database that cannot be reached any more."""

    def ping(self) -> None:
        raise Unavailable("database: disk I/O error")

    def devices_by_state(self) -> dict[EnrolState, int]:
        raise Unavailable("database: disk I/O error")

    def identities(self, keys: Collection[str]) -> Mapping[str, Identity]:
        raise Unavailable(f"database: disk I/O error while {len(keys)} keys were looked up")


def samples(call: Caller) -> dict[tuple[str, str], float]:
    """Return the values by name and the values of their labels."""
    text = call("GET", "/metrics").body.decode()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_what_became_of_them() -> None:
    gateway = Gateway()
    device = gateway.joined()
    gateway.report(device, seq=1)
    found = samples(gateway.call)
    assert found["fleetcd_device_requests_total", "report,accepted"] == 1
    assert found["fleetcd_device_requests_total", "report,journal"] == 1
    assert found["fleetcd_device_requests_total", "report,repeated"] == 1
    assert found["fleetcd_device_requests_total", "enrol,accepted"] == 1


def test_devices_and_rollouts_are_counted() -> None:
    gateway = Gateway(view=StillView({"a": documents.STATUS}))
    gateway.joined()
    gateway.enrol(SigningDevice("kiosk-0002"))
    found = samples(gateway.call)
    assert found["fleetcd_devices", "accepted"] == 1
    assert found["fleetcd_devices", "pending"] == 1
    assert documents.STATUS.rollout is not None
    assert found["fleetcd_rollouts", str(documents.STATUS.rollout.phase)] == 1
    assert found["fleetcd_database_up", ""] == 1


def test_ages_and_conditions_are_what_the_reconciler_said() -> None:
    gateway = Gateway(view=StillView(told=documents.STATUS.conditions))
    for happened in (
        gateway.health.published,
        gateway.health.commit_seen,
        gateway.health.commit_good,
    ):
        happened(NOW)
    gateway.watch.forward(timedelta(seconds=90))
    found = samples(gateway.call)
    for name in ("publish", "commit_seen", "commit_good"):
        assert found[f"fleetcd_{name}_age_seconds", ""] == 90
    for condition in documents.STATUS.conditions:
        assert found["fleetcd_condition", condition.type] == float(condition.status)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_gateway_that_is_well_says_so(path: str) -> None:
    assert Gateway().call("GET", path).status == 200


def test_a_database_that_is_away_is_told_and_survived() -> None:
    clock = Watch()
    app = create_app(store=AwayStore(clock), view=StillView(), health=Health(), clock=clock)
    call = Caller(app)
    assert call("GET", "/healthz").status == 200
    ready = call("GET", "/readyz")
    assert (ready.status, ready.headers["retry-after"]) == (503, "10")
    assert samples(call)["fleetcd_database_up", ""] == 0
    device = SigningDevice()
    body = device.sign(b"{}")
    answer = call("POST", "/v1/report", body, {"Content-Type": "application/jose"})
    assert answer.status == 503
    assert samples(call)["fleetcd_device_requests_total", "report,unavailable"] == 1


def test_two_gateways_do_not_share_their_counts() -> None:
    first, second = Gateway(), Gateway()
    first.joined()
    assert ("fleetcd_device_requests_total", "report,accepted") not in samples(second.call)
