"""`project.json`: which commit is served, which was tried last, and why they differ if they do."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from schemas.wire.status import Condition
from schemas.wire.types import Commit, Count, Name

PROJECT_LIMIT = 256 * 1024  # bytes
MAX_PROBLEMS = 100
MAX_LINE = 500  # characters of a problem or a message: with them all, the document fits its limit


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """`attempted` is the newest commit, looked at `since`; `commit` the last good one, None before
    the first. `problems` of `attempted` are lines for people; `conditions` are the reconciler's.
    """

    attempted: Commit
    since: datetime
    project: Name | None = None
    commit: Commit | None = None
    conditions: tuple[Condition, ...] = ()
    problems: tuple[str, ...] = ()
    type: Literal["fleetcd/project"] = "fleetcd/project"
    schema: Count = 1
    critical: tuple[str, ...] = field(default=())
