"""The documents of a commit by kind and name; what has one name twice is a problem. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from reconciler.domain.build_document import Document, Path
from reconciler.domain.problems import Problem
from schemas.kinds.base import Document as Written
from schemas.kinds.device import Device, DeviceList, DeviceSpec
from schemas.kinds.fleet import Fleet
from schemas.kinds.policy import RolloutPolicy
from schemas.kinds.project import Project
from schemas.kinds.release import Release
from schemas.refusal import Code
from schemas.wire.types import Var

M = TypeVar("M", bound=Written)

NAME: Path = ("metadata", "name")
VERSION: Path = ("spec", "version")


@dataclass(frozen=True, slots=True)
class DeviceSource:
    """A device as it was written, alone or in a list. `path` leads to its key, pin and hold."""

    name: str
    labels: Mapping[str, str]
    vars: Mapping[str, Var]
    spec: DeviceSpec
    document: Document[Device] | Document[DeviceList]
    path: Path
    name_path: Path

    def problem(self, path: Path, code: Code, message: str, remedy: str) -> Problem:
        return self.document.problem(path, code, message, remedy)


@dataclass(frozen=True, slots=True)
class Index:
    """Everything by name; releases by `name@version`. Of two with one name the first is kept."""

    fleets: Mapping[str, Document[Fleet]]
    releases: Mapping[str, Document[Release]]
    policies: Mapping[str, Document[RolloutPolicy]]
    devices: Mapping[str, DeviceSource]
    project: Document[Project] | None
    problems: tuple[Problem, ...]


def index(documents: tuple[Document[Written], ...]) -> Index:
    """Return the index of `documents`, with a problem for everything that stands twice."""
    indexer = _Indexer(documents)
    indexer.unique(DeviceList, lambda listed: listed.metadata.name)
    return Index(
        fleets=indexer.unique(Fleet, lambda fleet: fleet.metadata.name),
        releases=indexer.unique(Release, lambda release: release.id, VERSION),
        policies=indexer.unique(RolloutPolicy, lambda policy: policy.metadata.name),
        devices=indexer.devices(),
        project=indexer.project(),
        problems=tuple(indexer.problems),
    )


class _Indexer:
    def __init__(self, documents: tuple[Document[Written], ...]) -> None:
        self.problems: list[Problem] = []
        self._documents = documents

    def unique(
        self, kind: type[M], identity: Callable[[M], str], path: Path = NAME
    ) -> dict[str, Document[M]]:
        found = dict[str, Document[M]]()
        for document in self._of(kind):
            name = identity(document.model)
            first = found.setdefault(name, document)
            if first is not document:
                what = f"{kind.__name__} `{name}` stands twice, first in {first.where(path)}"
                self.problems.append(document.problem(path, Code.DUP, what, "rename or remove one"))
        return found

    def project(self) -> Document[Project] | None:
        projects = tuple(self._of(Project))
        for document in projects[1:]:
            what = f"a second Project, the first is in {projects[0].where(NAME)}"
            self.problems.append(document.problem(NAME, Code.DUP, what, "keep one of them"))
        return projects[0] if projects else None

    def devices(self) -> dict[str, DeviceSource]:
        found, keys = dict[str, DeviceSource](), dict[str, DeviceSource]()
        alone = map(_alone, self._of(Device))
        listed = (source for document in self._of(DeviceList) for source in _listed(document))
        for source in (*alone, *listed):
            first = found.setdefault(source.name, source)
            if first is not source:
                self._twice(source, source.name_path, f"device `{source.name}`", first)
                continue
            key = source.spec.key
            if key is not None and (holder := keys.setdefault(key, source)) is not source:
                what = f"the key of device `{holder.name}`"
                self._twice(source, (*source.path, "key"), what, holder)
        return found

    def _of(self, kind: type[M]) -> Iterator[Document[M]]:
        return (cast(Document[M], d) for d in self._documents if isinstance(d.model, kind))

    def _twice(self, source: DeviceSource, path: Path, what: str, first: DeviceSource) -> None:
        message = f"{what} stands twice, first in {first.document.where(first.name_path)}"
        remedy = "a name and a key belong to one device: rename or remove one"
        self.problems.append(source.problem(path, Code.DUP, message, remedy))


def _alone(document: Document[Device]) -> DeviceSource:
    metadata, spec = document.model.metadata, document.model.spec
    return DeviceSource(metadata.name, metadata.labels, spec.vars, spec, document, ("spec",), NAME)


def _listed(document: Document[DeviceList]) -> Iterator[DeviceSource]:
    """The list's defaults lie below what a device says itself."""
    defaults = document.model.spec.defaults
    for number, device in enumerate(document.model.spec.devices):
        path: Path = ("spec", "devices", number)
        labels, variables = {**defaults.labels, **device.labels}, {**defaults.vars, **device.vars}
        yield DeviceSource(device.name, labels, variables, device, document, path, (*path, "name"))
