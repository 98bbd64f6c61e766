"""`project.json`: which commit is served, which was tried last, and why they differ if they do."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from schemas.wire.status import Condition
from schemas.wire.types import Commit, Count, Name

PROJECT_LIMIT = 256 * 1024  # bytes
MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """`commit` is the last good one; `attempted` the newest. `problems` are lines for people."""

    project: Name
    commit: Commit
    attempted: Commit
    since: datetime
    conditions: tuple[Condition, ...] = ()
    problems: tuple[str, ...] = ()
    type: Literal["fleetcd/project"] = "fleetcd/project"
    schema: Count = 1
    critical: tuple[str, ...] = field(default=())
