"""A reconciler with nothing to do looks at nothing but what would give it something to do."""

from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.reconcile import Reconciler
from tests.support.gateway_device import SigningDevice
from tests.support.reconciling import Installation, passes, rolled_out


class CountingStore:
    """The store of an installation; counts how often all devices were looked at."""

    def __init__(self, there: Installation) -> None:
        self._there, self.looks = there, 0

    def __getattr__(self, name: str) -> object:
        self.looks += name == "observed"
        return getattr(self._there.store, name)


def completed(path: Path) -> tuple[Installation, Reconciler, CountingStore]:
    """Return an installation at rest on version 1, and its running reconciler."""
    there = rolled_out(path)
    store = CountingStore(there)
    reconciler = there.start(store=store)  # type: ignore[arg-type]  # it answers as the real one
    for device in there.by_order():
        passes(reconciler, 2)
        there.succeed(device)
    passes(reconciler, 3)
    assert there.status.stable is not None
    store.looks = 0
    return there, reconciler, store


def test_at_rest_no_pass_looks_at_devices_and_time_changes_nothing(tmp_path: Path) -> None:
    there, reconciler, store = completed(tmp_path)
    before = there.status
    for _ in range(5):
        there.watch.forward(timedelta(days=1))
        passes(reconciler, 1)
    assert store.looks == 0
    passes(there.start())  # one that knows of no rest plans anew, days later
    assert there.status == before


def test_a_new_commit_ends_the_rest(tmp_path: Path) -> None:
    there, reconciler, store = completed(tmp_path)
    there.ship("2")
    passes(reconciler, 1)
    assert there.status.desired_text == "os=demo-os@2"
    passes(reconciler, 3)
    assert store.looks == 4, "while a rollout is open, every pass looks"


def test_a_device_that_joins_ends_the_rest(tmp_path: Path) -> None:
    there, reconciler, _ = completed(tmp_path)
    newcomer = SigningDevice("kiosk-0009")
    there.store.learn(entries={}, listed={newcomer.key: newcomer.name}, manifests={})
    there.devices = [newcomer]
    there.join()
    passes(reconciler, 1)
    assert newcomer.key in there.view.entries()


@pytest.mark.parametrize("joined", [True, False], ids=["devices", "no device yet"])
def test_a_lost_database_ends_the_rest(tmp_path: Path, joined: bool) -> None:
    if joined:
        there, reconciler, _ = completed(tmp_path)
    else:
        there = Installation(tmp_path)
        there.ship("1")
        reconciler = there.start()
        passes(reconciler)
    there.lose_database()
    passes(reconciler, 1)
    there.join()  # Git lists them, and the new database has been told so
