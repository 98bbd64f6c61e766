"""Every kind by its name: those that this version reads, and those that it only knows of."""

from collections.abc import Mapping

from schemas.kinds.base import Document
from schemas.kinds.device import Device, DeviceList
from schemas.kinds.fleet import Fleet
from schemas.kinds.policy import RolloutPolicy
from schemas.kinds.project import Project
from schemas.kinds.release import Release

KINDS: Mapping[str, type[Document]] = {
    kind.__name__: kind for kind in (Device, DeviceList, Fleet, Project, Release, RolloutPolicy)
}

LATER = frozenset({"Config", "EnrollmentPolicy", "Promotion", "Window"})
"""Kinds of the language that this version refuses by name: ignoring them would be a lie."""
