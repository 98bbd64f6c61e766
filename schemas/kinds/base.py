"""What all kinds have in common: strict, frozen, closed models with camelCase names."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from schemas.kinds.values import Labels, Later, Name

API_VERSION = "fleetcd/v1"


class Written(BaseModel):
    """Something that a person wrote: no field beyond these, no value converted on the quiet."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_default=False,
    )


class Metadata(Written):
    name: Name
    labels: Later = None


class LabelledMetadata(Written):
    """Where labels take effect: on devices, and in a release's descriptor."""

    name: Name
    labels: Labels = Field(default_factory=dict)


class Document(Written):
    """The frame of every document; each kind narrows `kind`, `metadata` and `spec`."""

    api_version: Literal["fleetcd/v1"]
