"""`Project`: guards and defaults of the whole repository. At most one; none means no guards."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.kinds.base import Document, Metadata, Written
from schemas.kinds.values import Later, Name

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Guards(Written):
    """A commit beyond these is refused when it is planned and when it is published."""

    max_devices_per_commit: Count | None = None
    max_devices_leaving_fleet: Count | None = None


class Defaults(Written):
    policy: Name | None = None


class ProjectSpec(Written):
    guards: Guards = Guards()
    defaults: Defaults = Defaults()
    inventory: Later = None
    trust: Later = None


class Project(Document):
    kind: Literal["Project"]
    metadata: Metadata
    spec: ProjectSpec = ProjectSpec()
