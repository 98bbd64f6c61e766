"""A device killed in every state ends whole: real agents, killed with SIGKILL, on one real stack.

In each rollout every device dies in a state of its own. tests/crash/ does the same exhaustively in
one process; this shows that nothing is different for real processes, a real supervisor, real HTTPS.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import pytest

from device_agent.boot.environment import load
from device_agent.core.states import TRANSITIONS, UNDOING, State
from reconciler.adapters.dir_release import NewRelease, add_release
from reconciler.adapters.signers import load_signer
from reconciler.demo.devices import VirtualDevice
from reconciler.demo.image import write_image
from reconciler.demo.stack import Stack, wait_until
from schemas.canonical import sha256_hex
from schemas.wire.report import FailureClass
from schemas.wire.status import Phase
from tests.e2e.agent_that_dies import MODULE, Death, Moment, Order, started
from tests.e2e.fleet import PATIENCE, Fleet

pytestmark = pytest.mark.e2e

GOOD_PATH = (
    State.DOWNLOAD,
    State.INSTALL_WAIT,
    State.INSTALL,
    State.REBOOT_WAIT,
    State.REBOOT,
    State.VERIFY_REBOOT,
    State.MODULES_DOWNLOAD,
    State.MODULES,
    State.HEALTH,
    State.COMMIT,
    State.FINISH,
    State.CLEANUP,
    State.IDLE,
)
BAD_PATH = (
    State.ROLLBACK,
    State.ROLLBACK_REBOOT,
    State.VERIFY_ROLLBACK,
    State.FAILURE,
    State.CLEANUP,
    State.IDLE,
)

# Where going on would be a guess, the device goes back. Nobody knows how far an interrupted install
# came, and it must not run twice; a machine that lost power in REBOOT comes up in the old slot.
UNSAFE: Mapping[tuple[Moment, Death], Mapping[State, FailureClass]] = {
    (Moment.AFTER, Death.CRASH): {
        State.INSTALL: FailureClass.INSTALL,
        State.MODULES: FailureClass.INSTALL,
    },
    (Moment.AFTER, Death.POWER_CUT): {
        State.INSTALL: FailureClass.INSTALL,
        State.MODULES: FailureClass.INSTALL,
        State.REBOOT: FailureClass.REBOOT,
    },
    # The state before was the install: REBOOT_WAIT follows INSTALL, HEALTH follows MODULES.
    **{
        (Moment.BEFORE, death): {
            State.REBOOT_WAIT: FailureClass.INSTALL,
            State.HEALTH: FailureClass.INSTALL,
        }
        for death in Death
    },
}

POLICY = """\
apiVersion: fleetcd/v1
kind: RolloutPolicy
metadata:
  name: demo
spec:
  stages:
    - {name: all, percent: 100}
  gate: {success: 1, minFinished: 1, attemptTimeout: 10m, reportLost: 10m}
  onFailure: pause
"""  # who dies may fail, and must not stop the others

APP_MODULE = """\
#!/bin/sh
case "$1" in SupportsRollback) echo Yes ;; esac
"""

Fates = Mapping[VirtualDevice, Order]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the gateway counted a device's attempt, and how often its end was reported."""

    outcome: object
    failure: object
    ends: object


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("killed") / "stack"
    devices = len(GOOD_PATH)
    with Stack(directory, devices=devices, policy=POLICY, agent=MODULE) as stack:
        fleet = Fleet(stack)
        fleet.begin()
        release_app(stack)
        stack.others["app"] = "demo-app@1"
        yield fleet


def release_app(stack: Stack) -> None:
    """Release an Update Module's component that a new slot installs anew: it makes MODULES real."""
    payload = stack.directory / "app"
    payload.write_bytes(b"an application")
    add_release(
        NewRelease("demo-app", "1", payload, installer="app", scope="slot"),
        repository=stack.made.clone,
        tree=stack.made.tree,
        signers=(load_signer(f"file:{stack.made.keys / 'release.pem'}"),),
        now=datetime.now(UTC),
    )
    for device in stack.devices:  # their agents read it when they start again, in the new slot
        module = device.directory / "modules" / "app"
        module.parent.mkdir()
        module.write_text(APP_MODULE)
        module.chmod(0o755)
        with device.config.open("a") as file:
            file.write('\n[modules]\ndirectories = ["modules"]\n')


def test_the_paths_are_all_there_is() -> None:
    """A state that is added to the machine has to be killed in, too."""
    assert set(GOOD_PATH) | set(BAD_PATH) == set(State)
    assert set(BAD_PATH) >= UNDOING
    assert set(TRANSITIONS) | {State.IDLE} == set(State)


@pytest.mark.parametrize("death", list(Death))
@pytest.mark.parametrize(
    "moment", [pytest.param(Moment.BEFORE, marks=pytest.mark.ci), Moment.AFTER]
)
def test_a_device_killed_in_every_state_of_a_good_release_ends_whole(
    fleet: Fleet, moment: Moment, death: Death
) -> None:
    fates = give_orders(fleet, [Order(state, moment, death) for state in GOOD_PATH])
    before = {device: device.running_version() for device in fates}
    version = fleet.ship()
    ended = wait_all_ended(fleet, fates)
    unsafe = UNSAFE[moment, death]
    for device, order in fates.items():
        failure = unsafe.get(order.state)
        expected = Ended("failed", failure, 1) if failure else Ended("ok", None, 1)
        assert ended[device.key] == expected, order
        assert_whole(fleet, device, version if not failure else before[device])
    fleet.wait_phase(Phase.COMPLETED)
    counts = fleet.rollout.exposure[0].counts
    assert (counts.ok, counts.failed) == (len(fates) - len(unsafe), len(unsafe))


@pytest.mark.parametrize(
    "moment", [pytest.param(Moment.BEFORE, marks=pytest.mark.ci), Moment.AFTER]
)
def test_a_device_killed_in_every_state_of_its_rollback_ends_whole(
    fleet: Fleet, moment: Moment
) -> None:
    orders = [Order(state, moment, death) for state in BAD_PATH for death in Death]
    fates = give_orders(fleet, orders)
    before = {device: device.running_version() for device in fates}
    fleet.ship(health="bad")
    ended = wait_all_ended(fleet, fates)
    for device, order in fates.items():
        assert ended[device.key] == Ended("failed", FailureClass.HEALTHCHECK, 1), order
        assert_whole(fleet, device, before[device])
    fleet.wait_phase(Phase.HALTED)
    counts = fleet.rollout.exposure[0].counts
    assert (counts.ok, counts.failed) == (0, len(fates))


def give_orders(fleet: Fleet, orders: list[Order]) -> Fates:
    """Tell each device where to die, in the order of their names; orders may be given twice."""
    fates = dict(zip(fleet.stack.devices, cycle(orders), strict=False))
    assert len(fates) >= len(orders)
    for device, order in fates.items():
        order.give(device.directory)
    return fates


def wait_all_ended(fleet: Fleet, fates: Fates) -> Mapping[str, Ended]:
    """Return how each attempt ended, by device key. Power comes back as soon as it was cut."""
    rollout = fleet.rollout.id

    def all_ended() -> bool:
        fleet.restore_power()
        idle = all(not fleet.journal(device, "SELECT 1 FROM record") for device in fates)
        reported = all(not fleet.journal(device, "SELECT 1 FROM outbox") for device in fates)
        dead = all(Order.given(device.directory) is None for device in fates)
        return dead and idle and reported and len(ends(fleet, rollout)) == len(fates)

    wait_until(all_ended, 2 * PATIENCE, "every device has died and has reported its end")
    return ends(fleet, rollout)


def ends(fleet: Fleet, rollout: str) -> Mapping[str, Ended]:
    rows = fleet.rows(
        "SELECT key, outcome, failure, (SELECT COUNT(*) FROM events WHERE kind = 'finished'"
        " AND events.key = attempts.key AND events.rollout = attempts.rollout)"
        " FROM attempts WHERE rollout = ? AND outcome IS NOT NULL",
        rollout,
    )
    return {str(key): Ended(*ended) for key, *ended in rows}


def assert_whole(fleet: Fleet, device: VirtualDevice, version: str | None) -> None:
    """The primary runs and is `version` to the byte; nothing else was ever started than that."""
    images = whole_images(fleet.stack.directory)
    variables = load(device.directory / "boot")
    assert variables is not None
    assert (variables.running, variables.trial) == (variables.primary, None)
    slot = device.slots["ab".index(variables.running)]
    assert sha256_hex(slot.read_bytes()) == images[str(version)]
    assert set(started(device.directory)) <= set(images.values())


def whole_images(directory: Path) -> Mapping[str, str]:
    """Return the digest of every image that was ever released, by version; "0": the factory's."""
    write_image(directory / "factory.img", "0", health="good")
    released = {
        image.stem.removeprefix("demo-os-"): image for image in directory.glob("demo-os-*.img")
    }
    files = {"0": directory / "factory.img"} | released
    return {version: sha256_hex(file.read_bytes()) for version, file in files.items()}
