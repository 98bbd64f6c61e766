"""What holds for every fleet and every history, not only for those we thought of."""

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from reconciler.domain.assignment import assign
from reconciler.domain.desired import OnFailure, Policy, Stage
from reconciler.domain.exposure import admit_rules, as_next
from reconciler.domain.planner import Hints, Plan, plan
from schemas.resolve import Action, Running, admitted
from schemas.wire.shard import Hold
from schemas.wire.status import FINAL, FleetStatus, Phase, Rollout
from tests.support.fleet_simulation import (
    FLEET,
    Ending,
    FleetSimulation,
    SimulatedDevice,
    a_gate,
    a_set,
    everybody,
    stages,
)

gates = st.builds(
    a_gate,
    st.sampled_from([50, 90, 100]),
    min_finished=st.integers(1, 2),
    min_coverage=st.sampled_from([50, 100]),
)
soaks = st.sampled_from([timedelta(0), timedelta(minutes=10)])
counted = st.builds(
    lambda n, g, s: Stage(f"count-{n}", count=n, gate=g, soak=s), st.integers(1, 4), gates, soaks
)
shared = st.builds(
    lambda n, g, s: Stage(f"percent-{n}", percent=Fraction(n), gate=g, soak=s),
    st.integers(1, 90),
    gates,
    soaks,
)
selected = st.builds(
    lambda g, s: Stage("canary", selector="ring=canary", gate=g, soak=s), gates, soaks
)
policies = st.builds(
    lambda first, last, on_failure: stages(*first, everybody(gate=last), on_failure=on_failure),
    st.lists(counted | shared | selected, max_size=3, unique_by=lambda stage: stage.name),
    gates,
    st.sampled_from(OnFailure),
)
NAMES = [f"kiosk-{number}" for number in range(8)]
names = st.sampled_from(NAMES)
endings = st.sampled_from(Ending)


class FleetLife(RuleBasedStateMachine):
    """People commit, devices try, fail, vanish and return, time passes, the reconciler plans."""

    def __init__(self) -> None:
        super().__init__()
        self.simulation = FleetSimulation()
        self.versions = 0

    @initialize(policy=policies, rounds=st.sampled_from([0, 4]))
    def begin(self, policy: Policy, rounds: int) -> None:
        """Begin with a new fleet, or with one whose first set is stable."""
        self.simulation.policy = stages(everybody()) if rounds else policy
        for at, name in enumerate(NAMES):
            self.simulation.add(name, ring="canary" if at < 2 else "rest")
        self.simulation.commit("0")
        self.simulation.settle(rounds)
        self.simulation.intend(policy=policy)
        self.simulation.heartbeats()
        self.replan()

    # People

    @rule()
    def commit_something_new(self) -> None:
        self.versions += 1
        self.simulation.commit(str(self.versions))

    @rule(data=st.data())
    def commit_something_old(self, data: st.DataObject) -> None:
        self.simulation.commit(str(data.draw(st.integers(0, self.versions))))

    @rule(policy=policies)
    def edit_the_policy(self, policy: Policy) -> None:
        self.simulation.intend(policy=policy)

    @rule()
    def suspend_or_resume(self) -> None:
        suspended = self.simulation.intent.suspended
        self.simulation.suspend(None if suspended else "a person said so")

    @rule(name=names)
    def hold(self, name: str) -> None:
        self.simulation.declare(name, hold=Hold("repair"))

    @rule(name=names, ring=st.sampled_from(["canary", "rest"]))
    def relabel_and_release(self, name: str, ring: str) -> None:
        self.simulation.declare(name, ring=ring)

    # Devices

    @rule(name=names, ending=endings)
    def try_what_is_published(self, name: str, ending: Ending) -> None:
        device = self.simulation.devices[name]
        target = self.simulation.target(device)
        if target is None or target.action is Action.STAY or not device.online:
            return
        assert target.set is not None
        self.check_move(device, target.set)
        self.simulation.endings[name, target.set] = ending
        self.simulation.act(device)

    @rule(rounds=st.integers(1, 6), unlucky=st.none() | names, ending=endings)
    def go_on_for_a_while(self, rounds: int, unlucky: str | None, ending: Ending) -> None:
        for _ in range(rounds):
            self.pass_time(1)
            self.replan()
            for name in NAMES:
                self.try_what_is_published(name, ending if name == unlucky else Ending.OK)

    @rule(name=names)
    def go_offline(self, name: str) -> None:
        self.simulation.devices[name].online = False

    @rule(name=names)
    def come_back(self, name: str) -> None:
        self.simulation.devices[name].online = True

    # Time

    @rule(minutes=st.sampled_from([1, 20, 300]))
    def pass_time(self, minutes: int) -> None:
        self.simulation.now += timedelta(minutes=minutes)
        self.simulation.heartbeats()

    @rule()
    def replan(self) -> None:
        simulation = self.simulation
        before = simulation.statuses.get(FLEET)
        planned = simulation.plan()
        assert again(simulation, planned) == planned, "planning from the plan changes something"
        assert again(simulation, None) == planned, "publishing changes what is planned"
        self.check_step(before, simulation.status)

    # Promises

    def check_move(self, device: SimulatedDevice, wanted: str) -> None:
        """A device moves to what rolls out and admits it, or leaves what it may not keep for the
        stable set. Nobody is offered a set that was refused."""
        manifest, status = self.simulation.manifest, self.simulation.status
        refused = {entry.set for entry in status.ledger if entry.closed is None}
        assert wanted not in refused, "a refused set is offered"
        if manifest.next is not None and wanted == manifest.next.set:
            assert status.rollout is not None
            assert status.rollout.phase in {Phase.PROGRESSING, Phase.SOAKING}
            assert wanted == status.desired, "a set that Git does not ask for is offered"
            return
        assert status.stable is not None and wanted == status.stable.set
        assert device.set not in manifest.keep

    def admitted_by(self, rollout: Rollout) -> set[str]:
        offered = as_next(rollout, admit_rules(rollout))
        devices, entries = self.simulation.devices.values(), self.simulation.entries
        return {d.name for d in devices if admitted(offered, entries[d.key], d.set)}

    def check_step(self, before: FleetStatus | None, after: FleetStatus) -> None:
        old, new = before.rollout if before else None, after.rollout
        if before is None or old is None or new is None:
            return
        if old.id == new.id:
            assert self.admitted_by(old) <= self.admitted_by(new), "exposure shrank"
            stages_before = [opened.stage for opened in old.exposure]
            assert [opened.stage for opened in new.exposure][: len(stages_before)] == stages_before
            if old.phase in {Phase.HALTED, Phase.ROLLING_BACK, *FINAL}:
                rules = [opened.rules for opened in old.exposure]
                assert [opened.rules for opened in new.exposure] == rules, "it went further"
            assert old.phase not in FINAL or new.phase == old.phase
        else:
            gone_back = old.phase in {Phase.ROLLING_BACK, *FINAL}
            assert gone_back or old.set in after.keep or after.stable != before.stable
            assert new.attempt > before.attempts.get(new.set, 0), "an old rollout's name came back"
            refused = {entry.set for entry in before.ledger if entry.closed is None}
            assert new.set not in refused, "a refused set was tried again"

    @invariant()
    def the_next_stage_opens_only_behind_a_gate_that_was_passed(self) -> None:
        for status in self.simulation.statuses.values():
            if status.rollout is not None:
                exposure = status.rollout.exposure
                assert all(opened.passed for opened in exposure[:-1])
                assert not exposure or exposure[0].size >= 1, "an empty canary"

    @invariant()
    def who_is_admitted_was_opened(self) -> None:
        for fleet, manifest in self.simulation.manifests.items():
            rollout = self.simulation.statuses[fleet].rollout
            if manifest.next is None or rollout is None:
                continue
            forward = rollout.phase in {Phase.PROGRESSING, Phase.SOAKING}
            assert manifest.next.admit == (admit_rules(rollout) if forward else ())

    @invariant()
    def a_set_is_refused_only_while_git_asks_for_it(self) -> None:
        for status in self.simulation.statuses.values():
            assert sum(entry.closed is None for entry in status.ledger) <= 1


def again(simulation: FleetSimulation, published: Plan | None) -> Plan:
    """Plan from `published`, or from what was published and read back."""
    entries = simulation.assignments.entries
    return plan(
        simulation.desired,
        entries,
        simulation.observed,
        published.statuses if published else simulation.statuses,
        published.manifests if published else simulation.manifests,
        Hints(),
        simulation.now,
    )


FleetLife.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFleetLife = FleetLife.TestCase


def tried(policy: Policy, online: list[bool], verdicts: list[Ending]) -> FleetSimulation:
    """Return a fleet on version 0 that has tried version 1 with these endings."""
    simulation = FleetSimulation(stages(everybody()))
    for at, name in enumerate(NAMES):
        simulation.add(name, ring="canary" if at < 2 else "rest")
    simulation.commit("0")
    simulation.settle(4)
    simulation.intend(policy=policy)
    content = simulation.commit("1")
    for name, is_online, ending in zip(NAMES, online, verdicts, strict=True):
        simulation.devices[name].online = is_online
        simulation.endings[name, content.id] = ending
    simulation.settle(6)
    return simulation


eight_flags = st.lists(st.booleans(), min_size=8, max_size=8)
eight_endings = st.lists(endings, min_size=8, max_size=8)


@settings(deadline=None, max_examples=50)
@given(policies, eight_flags, eight_endings)
def test_a_device_that_was_offline_while_a_rollout_stopped_never_gets_the_bad_set(
    policy: Policy, online: list[bool], verdicts: list[Ending]
) -> None:
    simulation = tried(policy, online, verdicts)
    stopped = {Phase.HALTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK}
    if simulation.rollout.phase not in stopped:
        return
    had_it = set(simulation.on(simulation.intent.content))
    simulation.endings.clear()
    for device in simulation.devices.values():
        device.online = True
    simulation.settle(8)

    assert set(simulation.on(simulation.intent.content)) <= had_it


@settings(deadline=None, max_examples=50)
@given(policies, eight_flags, eight_endings)
def test_superseding_never_downgrades_anybody(
    policy: Policy, online: list[bool], verdicts: list[Ending]
) -> None:
    simulation = tried(policy, online, verdicts)
    if simulation.rollout.phase in {Phase.ROLLING_BACK, Phase.ROLLED_BACK}:
        return
    simulation.intend(policy=replace(policy, on_failure=OnFailure.PAUSE))
    simulation.commit("2")
    order: list[str | None] = [a_set(version).id for version in ("0", "1", "2")]
    before = {d.name: order.index(d.set) for d in simulation.devices.values()}
    for _ in range(8):
        simulation.round()
        after = {d.name: order.index(d.set) for d in simulation.devices.values()}
        assert all(after[name] >= before[name] for name in before)
        before = after


@settings(deadline=None, max_examples=30)
@given(policies, eight_flags, eight_endings, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(
    policy: Policy, online: list[bool], verdicts: list[Ending], random: Random
) -> None:
    simulation = tried(policy, online, verdicts)
    shuffled = list(simulation.entries.items())
    random.shuffle(shuffled)
    seen = dict(reversed(list(simulation.observed.seen.items())))
    observed = replace(simulation.observed, seen=seen)
    inputs = simulation.statuses, simulation.manifests, Hints(), simulation.now

    assert plan(simulation.desired, dict(shuffled), observed, *inputs) == plan(
        simulation.desired, simulation.entries, simulation.observed, *inputs
    )
    assert assign(simulation.desired, observed.enrolled[::-1], {}) == assign(
        simulation.desired, observed.enrolled, {}
    )


@settings(deadline=None, max_examples=30)
@given(policies, eight_flags, eight_endings)
def test_the_counts_of_a_stage_are_those_of_the_devices_that_the_manifest_sends_there(
    policy: Policy, online: list[bool], verdicts: list[Ending]
) -> None:
    simulation = tried(policy, online, verdicts)
    rollout = simulation.rollout
    if rollout.phase in FINAL:
        return
    offered = as_next(rollout, admit_rules(rollout))
    for opened in rollout.exposure:
        mine = [
            device
            for device in simulation.devices.values()
            if (found := admitted(offered, simulation.entries[device.key], device.set))
            and found.stage == opened.stage
        ]
        assert opened.counts.admitted == len(mine)


def test_a_device_that_runs_something_unknown_is_brought_to_the_stable_set() -> None:
    simulation = FleetSimulation(devices=1)
    content = simulation.commit("1")
    simulation.settle(4)
    device = simulation.devices["kiosk-0001"]
    device.running = Running("0" * 16, content)
    simulation.round()

    assert device.set == content.id
