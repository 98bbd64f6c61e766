"""From a RolloutPolicy as it was written to one with every default filled in. Pure."""

from dataclasses import replace
from fractions import Fraction

from reconciler.domain.desired import Gate, OnFailure, Policy, Stage
from schemas.kinds import policy as written

ALL = Fraction(100)


def resolved_policy(document: written.RolloutPolicy) -> Policy:
    """Return the policy, gates merged (stage over policy over built in), ending at everybody."""
    spec = document.spec
    gate = _over(Gate(), spec.gate)
    stages = tuple(_stage(stage, gate) for stage in spec.stages)
    if stages[-1].percent != ALL:
        stages += (Stage(_last_name(stages), percent=ALL, gate=gate),)
    return Policy(document.metadata.name, stages, OnFailure(spec.on_failure), spec.deadline)


def _stage(stage: written.Stage, gate: Gate) -> Stage:
    return Stage(
        name=stage.name,
        selector=stage.selector,
        count=stage.count,
        percent=stage.percent,
        soak=stage.soak,
        gate=_over(gate, stage.gate),
    )


def _over(below: Gate, above: written.Gate) -> Gate:
    """Return `below` with what `above` says. People write percent, a Gate holds fractions of 1."""
    gate = below
    if above.success is not None:
        gate = replace(gate, success=above.success / 100)
    if above.min_coverage is not None:
        gate = replace(gate, min_coverage=above.min_coverage / 100)
    if above.min_finished is not None:
        gate = replace(gate, min_finished=above.min_finished)
    if above.attempt_timeout is not None:
        gate = replace(gate, attempt_timeout=above.attempt_timeout)
    if above.report_lost is not None:
        gate = replace(gate, report_lost=above.report_lost)
    return gate


def _last_name(stages: tuple[Stage, ...]) -> str:
    taken = {stage.name for stage in stages}
    names = ("all", *(f"all-{number}" for number in range(2, len(stages) + 3)))
    return next(name for name in names if name not in taken)
