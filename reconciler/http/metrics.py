"""What Prometheus scrapes, and the health that the reconciler keeps up to date."""

import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reconciler.errors import ReconcilerError
from reconciler.http.ports import FleetView, OperatorStore


@dataclass(frozen=True, slots=True)
class Vitals:
    """When things last happened; None: not since the start of this process."""

    published: datetime | None = None
    commit_seen: datetime | None = None
    commit_good: datetime | None = None


class Health:
    """The reconciler tells it what happened; `/readyz` and `/metrics` ask. Thread-safe."""

    def __init__(self) -> None:
        self._lock, self._vitals = threading.Lock(), Vitals()

    def published(self, at: datetime) -> None:
        """The tree was published, or its timestamp was signed again."""
        with self._lock:
            self._vitals = replace(self._vitals, published=at)

    def commit_seen(self, at: datetime) -> None:
        """A commit was fetched."""
        with self._lock:
            self._vitals = replace(self._vitals, commit_seen=at)

    def commit_good(self, at: datetime) -> None:
        """A commit was accepted and planned."""
        with self._lock:
            self._vitals = replace(self._vitals, commit_good=at)

    @property
    def vitals(self) -> Vitals:
        with self._lock:
            return self._vitals


class Metrics:
    """The metrics of one gateway, in a registry of its own."""

    def __init__(
        self,
        store: OperatorStore,
        view: FleetView,
        health: Health,
        clock: Callable[[], datetime],
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fleetcd_device_requests",
            "Reports and enrolments by what became of them.",
            ["call", "result"],
            registry=self._registry,
        )
        self._registry.register(_Live(store, view, health, clock))

    def count(self, call: str, result: str) -> None:
        self._requests.labels(call, result).inc()

    def render(self) -> bytes:
        return generate_latest(self._registry)


class _Live(Collector):
    """Reads store and view when scraped: nothing is counted twice and nothing goes stale."""

    def __init__(
        self,
        store: OperatorStore,
        view: FleetView,
        health: Health,
        clock: Callable[[], datetime],
    ) -> None:
        self._store, self._view, self._health, self._clock = store, view, health, clock

    def collect(self) -> Iterable[Metric]:
        yield from self._ages()
        yield self._conditions()
        try:
            devices = self._store.devices_by_state()
        except ReconcilerError:
            yield _single("fleetcd_database_up", "1 if the database answered this scrape.", 0)
            return
        phases = Tally(
            status.rollout.phase for status in self._view.statuses().values() if status.rollout
        )
        yield _single("fleetcd_database_up", "1 if the database answered this scrape.", 1)
        yield _gauge("fleetcd_devices", "Devices by enrolment state.", "state", devices)
        yield _gauge("fleetcd_rollouts", "The fleets' rollouts by phase.", "phase", phases)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not ask the database."""
        return ()

    def _ages(self) -> Iterable[Metric]:
        vitals, now = self._health.vitals, self._clock()
        for name, words, at in (
            ("publish", "the tree was last published or its timestamp signed", vitals.published),
            ("commit_seen", "a commit was last fetched", vitals.commit_seen),
            ("commit_good", "a commit was last accepted", vitals.commit_good),
        ):
            if at is not None:
                age = (now - at).total_seconds()
                yield _single(f"fleetcd_{name}_age_seconds", f"Since {words}.", age)

    def _conditions(self) -> Metric:
        family = GaugeMetricFamily(
            "fleetcd_condition", "1 if the reconciler's condition is true.", labels=["type"]
        )
        for condition in self._view.conditions():
            family.add_metric([condition.type], float(condition.status))
        return family


def _single(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _gauge(name: str, words: str, label: str, values: Mapping[Any, int]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, number in sorted(values.items()):
        family.add_metric([str(key)], number)
    return family
