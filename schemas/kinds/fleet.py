"""`Fleet`: which devices run which release of each component, and under which policy."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.kinds.base import Document, Metadata, Written
from schemas.kinds.values import Later, Name, ReleaseId, SelectorText, Text, Vars, refused

MAX_PRIORITY = 1_000_000


def _not_reserved(name: str) -> str:
    if name == "config":
        raise refused("`config` is the name of the configuration itself", "choose another name")
    return name


ComponentName = Annotated[Name, AfterValidator(_not_reserved)]


class Suspend(Written):
    """Nothing new starts on this fleet's devices; they keep what they run."""

    reason: Text
    until: Later = None


class FleetSpec(Written):
    """Of two fleets that select a device, the one of higher `priority` has it; equal is an error.

    Deleting the document holds its devices: `prune: hold` says so, and is the only choice today.
    """

    selector: SelectorText
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    components: Annotated[dict[ComponentName, ReleaseId], Field(min_length=1, max_length=32)]
    vars: Vars = Field(default_factory=dict)
    policy: Name | None = None
    suspend: Suspend | None = None
    prune: Literal["hold"] = "hold"
    config: Later = None
    windows: Later = None
    after: Later = None
    extends: Later = None
    abstract: Later = None


class Fleet(Document):
    kind: Literal["Fleet"]
    metadata: Metadata
    spec: FleetSpec
