"""Policies and fleets that the planner's tests begin with."""

from reconciler.domain.desired import OnFailure, Policy, Stage
from schemas.wire.status import Phase
from schemas.wire.types import ComponentSet
from tests.support.fleet_simulation import (
    Ending,
    FleetSimulation,
    everybody,
    stages,
)

ONE, THREE, ALL = Stage("one", count=1), Stage("three", count=3), everybody()
PAUSE = stages(ONE, THREE, ALL)
ROLLBACK = stages(ONE, THREE, ALL, on_failure=OnFailure.ROLLBACK)


def on_v1(policy: Policy = PAUSE, *, devices: int = 6) -> tuple[FleetSimulation, ComponentSet]:
    """Return a fleet all of whose devices run version 1, which is stable."""
    simulation = FleetSimulation(policy, devices=devices)
    content = simulation.commit("1")
    simulation.settle(8)
    assert simulation.status.stable is not None and len(simulation.on(content)) == devices
    return simulation, content


def all_fail(simulation: FleetSimulation, content: ComponentSet) -> None:
    simulation.endings[None, content.id] = Ending.FAILED


def phase_of(simulation: FleetSimulation) -> Phase:
    """Return the phase now; a type checker would take a property for what it was before."""
    return simulation.rollout.phase
