"""What the device API refuses, where the first round of negative tests had a gap.

The numbers are those of tests/security/cases.toml.
"""

from reconciler.http.ports import Ruling
from schemas.wire.report import EnrolState, Outcome
from tests.support.gateway_app import Gateway
from tests.support.gateway_device import NOW, event
from tests.support.gateway_world import ROLLOUT, everybody, manifest, publish


def test_100_a_device_that_was_thrown_out_is_not_heard() -> None:
    gateway = Gateway()
    device = gateway.joined()
    publish(gateway.store, [device], manifest(everybody()))
    seen = gateway.store.observed(NOW, {}).seen
    gateway.store.rule(Ruling(device.key, EnrolState.REJECTED, "ann", "stolen", {}), NOW)
    assert gateway.report(device, event(ROLLOUT, outcome=Outcome.OK)).status == 403
    assert gateway.enrol(device).status == 403
    observed = gateway.store.observed(NOW, {})
    assert observed.counts == {}
    assert observed.seen.keys() <= seen.keys()


def test_101_a_set_that_was_never_published_is_not_counted() -> None:
    gateway = Gateway()
    device = gateway.joined()
    publish(gateway.store, [device], manifest(everybody()))
    for claim in (
        event(ROLLOUT, outcome=Outcome.OK, set="f" * 16),
        event("r-0000000b", outcome=Outcome.OK),
    ):
        assert gateway.report(device, claim).status == 200  # kept, for people to see
    assert gateway.store.observed(NOW, {}).counts == {}
