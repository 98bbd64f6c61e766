"""The SQL store and the one in memory stay the same through any sequence of calls."""

import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.adapters.sql_store import SqlStore
from reconciler.domain.devices import Candidate
from reconciler.domain.ingest import Submission
from reconciler.http.ports import Ruling
from schemas.wire.report import EnrolState, Outcome
from tests.support.gateway_device import NEW_SET, OLD_SET, SigningDevice, event, heartbeat
from tests.support.gateway_world import (
    FLEET,
    ROLLOUT,
    Watch,
    entry,
    everybody,
    fresh_nonce,
    manifest,
    stage,
)
from tests.support.memory_store import MemoryStore

DEVICES = [SigningDevice(f"kiosk-{number}") for number in (1, 2, 3)]
DEVICES.append(SigningDevice("kiosk-1"))  # another key with the first one's name
TIMEOUTS = {ROLLOUT: (timedelta(hours=1), timedelta(minutes=30))}
NUMBERS = st.integers(0, len(DEVICES) - 1)


class TwoStores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Watch()
        sql = SqlStore.open(f"sqlite:///{Path(self.folder.name) / 'a.db'}", self.clock)
        self.sql = sql
        self.stores = (MemoryStore(self.clock), sql)
        self.sequence = 0

    def teardown(self) -> None:
        self.sql.close()
        self.folder.cleanup()

    @rule(entries=st.sets(NUMBERS), listed=st.sets(NUMBERS), admit=st.integers(0, 3))
    def learn(self, entries: set[int], listed: set[int], admit: int) -> None:
        rules = ((), (stage("canary", DEVICES[0]),), (everybody("all"),))
        published = {FLEET: manifest(*rules[admit])} if admit < len(rules) else {}
        for store in self.stores:
            store.learn(
                entries={DEVICES[n].key: entry(DEVICES[n]) for n in entries},
                listed={DEVICES[n].key: DEVICES[n].name for n in listed},
                manifests=published,
            )

    @rule(number=NUMBERS)
    def enrol(self, number: int) -> None:
        device, nonce = DEVICES[number], fresh_nonce(self.clock.now)
        candidate = Candidate(device.key, device.name, device.public_key)
        assert_same(
            [store.enrol(candidate, nonce, self.clock.now, max_pending=2) for store in self.stores]
        )

    @rule(number=NUMBERS, state=st.sampled_from([EnrolState.ACCEPTED, EnrolState.REJECTED]))
    def decide(self, number: int, state: EnrolState) -> None:
        ruling = Ruling(DEVICES[number].key, state, "ann", "because", {"site": "paris"})
        assert_same([store.rule(ruling, self.clock.now) for store in self.stores])

    @rule(
        number=NUMBERS,
        outcome=st.sampled_from([None, *Outcome]),
        running=st.sampled_from([None, OLD_SET, NEW_SET]),
        fresh=st.booleans(),
        repeated=st.booleans(),
        state=st.sampled_from(["download", "reboot"]),
    )
    def report(
        self,
        number: int,
        outcome: Outcome | None,
        running: str | None,
        fresh: bool,
        repeated: bool,
        state: str,
    ) -> None:
        told = event(ROLLOUT, outcome=outcome, state=state)
        self.sequence += 1
        sent = DEVICES[number].report(told, heartbeat=heartbeat(running), seq=self.sequence)
        submission = Submission(sent, fresh_nonce(self.clock.now) if fresh else None)
        batch = [submission] * (1 + repeated)
        assert_same([store.ingest(batch, self.clock.now) for store in self.stores])

    @rule(minutes=st.integers(1, 50))
    def wait(self, minutes: int) -> None:
        self.clock.forward(timedelta(minutes=minutes))

    @rule()
    def restore(self) -> None:
        published = {device.key: entry(device) for device in DEVICES[:2]}
        assert_same([store.restore(published) for store in self.stores])

    @invariant()
    def they_observe_the_same(self) -> None:
        assert_same([store.observed(self.clock.now, TIMEOUTS) for store in self.stores])
        assert_same([+Counter(store.devices_by_state()) for store in self.stores])
        for device in DEVICES:
            assert_same([store.device(device.key) for store in self.stores])


def assert_same(results: list[object]) -> None:
    first, second = results
    assert first == second


TestTwoStores = TwoStores.TestCase
TestTwoStores.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
