"""`Device` and `DeviceList`: who exists, with which labels, variables, pins and holds."""

from typing import Literal

from pydantic import Field

from schemas.kinds.base import Document, LabelledMetadata, Metadata, Written
from schemas.kinds.values import KeyId, Labels, Name, ReleaseId, Text, Time, Vars


class Hold(Written):
    """Stay as you are. The end is mandatory, so that no device is forgotten."""

    reason: Text
    until: Time


class DeviceSpec(Written):
    """`key` is the key id that may enrol under this name. `pin` replaces a component's release."""

    key: KeyId | None = None
    vars: Vars = Field(default_factory=dict)
    pin: dict[Name, ReleaseId] = Field(default_factory=dict)
    hold: Hold | None = None


class Device(Document):
    kind: Literal["Device"]
    metadata: LabelledMetadata
    spec: DeviceSpec = DeviceSpec()


class ListedDevice(DeviceSpec):
    name: Name
    labels: Labels = Field(default_factory=dict)


class DeviceDefaults(Written):
    """What every device of the list has, unless it says otherwise itself."""

    labels: Labels = Field(default_factory=dict)
    vars: Vars = Field(default_factory=dict)


class DeviceListSpec(Written):
    defaults: DeviceDefaults = DeviceDefaults()
    devices: tuple[ListedDevice, ...]


class DeviceList(Document):
    kind: Literal["DeviceList"]
    metadata: Metadata
    spec: DeviceListSpec
