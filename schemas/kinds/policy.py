"""`RolloutPolicy`: how fast a set spreads, and what counts as good."""

from datetime import timedelta
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.kinds.base import Document, Metadata, Written
from schemas.kinds.values import (
    Duration,
    Later,
    Name,
    Percent,
    PositiveDuration,
    PositivePercent,
    SelectorText,
    refused,
    unique,
)

Devices = Annotated[int, Field(ge=1, le=10_000_000)]


class Gate(Written):
    """What a stage must show. An absent field is inherited: stage, then policy, then built in."""

    success: Percent | None = None
    min_finished: Devices | None = None
    min_coverage: Percent | None = None
    attempt_timeout: PositiveDuration | None = None
    report_lost: PositiveDuration | None = None
    metrics: Later = None


class Stage(Written):
    """Cumulative exposure: who has been admitted when this stage is open."""

    name: Name
    selector: SelectorText | None = None
    count: Devices | None = None
    percent: PositivePercent | None = None
    soak: Duration = timedelta(0)
    gate: Gate = Gate()
    approval: Later = None

    @model_validator(mode="after")
    def _names_its_devices_in_one_way(self) -> Self:
        ways = [way for way in (self.selector, self.count, self.percent) if way is not None]
        if len(ways) != 1:
            raise refused(
                f"stage `{self.name}` has {len(ways)} of selector, count and percent",
                "write exactly one of them",
            )
        return self


def _growing(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Percentages and counts each rise; a stage that adds nobody would pass without evidence."""
    percent, count = Fraction(0), 0
    for index, stage in enumerate(stages):
        grows = (stage.percent is None or stage.percent > percent) and (
            stage.count is None or stage.count > count
        )
        if not grows or percent == 100:
            raise refused(
                f"stage `{stage.name}` adds no device to the stages before it",
                "stages are cumulative: each must be larger than the one before",
                at=(index, "count" if stage.count else "percent" if stage.percent else "selector"),
            )
        percent, count = stage.percent or percent, stage.count or count
    return stages


Stages = Annotated[
    tuple[Stage, ...],
    Field(min_length=1, max_length=50),
    AfterValidator(unique("name")),
    AfterValidator(_growing),
]


class PolicySpec(Written):
    """A last stage of 100 percent is added when it is missing."""

    stages: Stages
    gate: Gate = Gate()
    on_failure: Literal["pause", "rollback"] = "pause"
    deadline: PositiveDuration | None = None
    budget: Later = None


class RolloutPolicy(Document):
    kind: Literal["RolloutPolicy"]
    metadata: Metadata
    spec: PolicySpec
