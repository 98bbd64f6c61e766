"""From the documents of one commit to what they ask for: references followed, defaults filled in.

Pure. Either everything is right and there is a Desired, or there are problems and there is none:
a commit that is broken changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from reconciler.domain.build_document import Document, Loaded, Path
from reconciler.domain.build_index import DeviceSource, Index, index
from reconciler.domain.build_overlap import Claim, overlaps
from reconciler.domain.build_policy import resolved_policy
from reconciler.domain.desired import (
    DEFAULT_POLICY,
    DeclaredDevice,
    Desired,
    FleetIntent,
    Guards,
    Policy,
)
from reconciler.domain.problems import Problem
from schemas.kinds.fleet import Fleet
from schemas.kinds.release import Release, descriptor
from schemas.refusal import Code
from schemas.wire.decode import encode
from schemas.wire.descriptor import DESCRIPTOR_LIMIT, Descriptor
from schemas.wire.shard import Hold
from schemas.wire.types import ComponentRef, ComponentSet

SELECTOR: Path = ("spec", "selector")
DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Broken:
    """A commit that must not be used, and all that is wrong with it, by file and line."""

    problems: tuple[Problem, ...]


def build(loaded: Loaded, *, commit: str, committed_at: datetime | None) -> Desired | Broken:
    """Return what `loaded` asks for, or every problem of it, those of loading included.

    While a document could not be read, what it may have declared is not reported as missing.
    """
    found = index(loaded.documents)
    resolver = _Resolver(found)
    desired = resolver.desired(commit, committed_at)
    missing = () if loaded.problems else resolver.missing
    problems = {*loaded.problems, *found.problems, *resolver.problems, *missing}
    return Broken(tuple(sorted(problems))) if problems else desired


class _Resolver:
    """Follows references. `missing` are the problems that an unreadable document may explain."""

    def __init__(self, found: Index) -> None:
        self._found = found
        self.problems: list[Problem] = []
        self.missing: list[Problem] = []
        self._descriptors = {id: self._descriptor(doc) for id, doc in found.releases.items()}
        policies = {name: resolved_policy(doc.model) for name, doc in found.policies.items()}
        self._policies: Mapping[str, Policy] = {DEFAULT_POLICY.name: DEFAULT_POLICY, **policies}
        self._components = sorted(
            {c for f in found.fleets.values() for c in f.model.spec.components}
        )

    def desired(self, commit: str, committed_at: datetime | None) -> Desired:
        found, project = self._found, self._found.project
        default = self._default_policy()
        fleets = {name: self._fleet(doc, default) for name, doc in found.fleets.items()}
        devices = {name: self._device(source) for name, source in found.devices.items()}
        self._refuse_overlaps()
        guards = project.model.spec.guards if project else None
        return Desired(
            commit=commit,
            project=project.model.metadata.name if project else DEFAULT_PROJECT,
            fleets=fleets,
            descriptors=self._descriptors,
            devices=devices,
            withdrawn=self._withdrawn(),
            guards=Guards(guards.max_devices_per_commit, guards.max_devices_leaving_fleet)
            if guards
            else Guards(),
            committed_at=committed_at,
        )

    def _descriptor(self, document: Document[Release]) -> Descriptor:
        result = descriptor(document.model)
        size = len(encode(result))
        if size > DESCRIPTOR_LIMIT:
            what = f"the descriptor has {size} bytes, devices read {DESCRIPTOR_LIMIT}"
            remedy = "split the release by hardware, or shorten its URLs and checks"
            self.problems.append(document.problem(("spec",), Code.LIMIT, what, remedy))
        return result

    def _withdrawn(self) -> Mapping[str, str]:
        reasons = ((id, doc.model.spec.withdrawn) for id, doc in self._found.releases.items())
        return {id: reason for id, reason in reasons if reason is not None}

    def _default_policy(self) -> Policy:
        project = self._found.project
        name = project.model.spec.defaults.policy if project else None
        if project is None or name is None:
            return self._policies[DEFAULT_POLICY.name]
        return self._policy(project, ("spec", "defaults", "policy"), name)

    def _policy(self, document: Document[Any], path: Path, name: str) -> Policy:
        if name not in self._policies:
            remedy = _did_you_mean(name, self._policies, "add the RolloutPolicy")
            what = f"there is no policy `{name}`"
            self.missing.append(document.problem(path, Code.REFERENCE, what, remedy))
        return self._policies.get(name, DEFAULT_POLICY)

    def _fleet(self, document: Document[Fleet], default: Policy) -> FleetIntent:
        spec, name = document.model.spec, document.model.metadata.name
        components = self._releases(document, ("spec", "components"), spec.components)
        return FleetIntent(
            name=name,
            selector=spec.selector,
            priority=spec.priority,
            content=ComponentSet(components=components, vars=dict(spec.vars)),
            policy=self._policy(document, ("spec", "policy"), spec.policy)
            if spec.policy is not None
            else default,
            suspended=spec.suspend.reason if spec.suspend else None,
        )

    def _releases(
        self, document: Document[Any], path: Path, releases: Mapping[str, str]
    ) -> Mapping[str, ComponentRef]:
        """Return the references that can be followed; the others are problems."""
        return {
            component: ComponentRef(release, self._descriptors[release].digest)
            for component, release in releases.items()
            if self._exists(document, (*path, component), release)
        }

    def _exists(self, document: Document[Any], path: Path, release: str) -> bool:
        declared = self._found.releases.get(release)
        if declared is None:
            remedy = _did_you_mean(release, self._found.releases, "add the Release")
            what = f"there is no release `{release}`"
            self.missing.append(document.problem(path, Code.REFERENCE, what, remedy))
            return False
        reason = declared.model.spec.withdrawn
        if reason is not None:
            what = f"`{release}` is withdrawn: {reason}"
            remedy = "name another release"
            self.problems.append(document.problem(path, Code.POLICY, what, remedy))
        return True

    def _device(self, source: DeviceSource) -> DeclaredDevice:
        spec, pin_path = source.spec, (*source.path, "pin")
        for component in spec.pin:
            if component not in self._components:
                remedy = _did_you_mean(component, self._components, "remove the pin")
                what = f"no fleet has a component `{component}`"
                path = (*pin_path, component)
                self.missing.append(source.document.problem(path, Code.REFERENCE, what, remedy))
        return DeclaredDevice(
            name=source.name,
            key=spec.key,
            labels=source.labels,
            vars=source.vars,
            pin=self._releases(source.document, pin_path, spec.pin),
            hold=Hold(spec.hold.reason, spec.hold.until) if spec.hold else None,
        )

    def _refuse_overlaps(self) -> None:
        claims = (
            Claim(name, doc.model.spec.priority, doc.model.spec.selector)
            for name, doc in self._found.fleets.items()
        )
        labels = {name: source.labels for name, source in self._found.devices.items()}
        for overlap in overlaps(claims, labels):
            first = self._found.fleets[overlap.first]
            others = f" and {overlap.count - 1} more" if overlap.count > 1 else ""
            what = (
                f"fleets `{overlap.second}` and `{overlap.first}` ({first.where(SELECTOR)}) both"
                f" select device `{overlap.device}`{others} with priority {overlap.priority}"
            )
            remedy = "narrow a selector, or give one fleet a higher priority"
            second = self._found.fleets[overlap.second]
            self.problems.append(second.problem(SELECTOR, Code.POLICY, what, remedy))


def _did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else otherwise
