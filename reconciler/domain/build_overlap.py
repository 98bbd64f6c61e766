"""Which fleet has a device, and where two fleets claim one: an error of the commit. Pure.

Devices of equal labels are judged once, and a fleet is only tried on devices that have one of the
label values that its rarest requirement names: the work follows the label sets, not the devices.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from schemas.selector import Operator, Selector, parse_selector

Label = tuple[str, str]
LabelSet = frozenset[Label]


class Claim(NamedTuple):
    """A fleet's wish for devices. Of one priority, at most one may be fulfilled."""

    fleet: str
    priority: int
    selector: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two fleets of one priority that select the same `count` devices; `device` is one of them."""

    first: str
    second: str
    priority: int
    device: str
    count: int


def overlaps(
    claims: Iterable[Claim], devices: Mapping[str, Mapping[str, str]]
) -> tuple[Overlap, ...]:
    """Return the pairs of fleets that claim one device, ordered. `devices`: labels by name.

    Of many fleets that claim a device, the first by name is paired with each of the others.
    """
    groups = _by_labels(devices)
    candidates = _Candidates(claims, _frequencies(groups))
    found = dict[tuple[str, str, int], tuple[str, int]]()
    for labels, names in groups.items():
        for pair in _rivals(candidates.selecting(labels)):
            device, count = found.get(pair, (min(names), 0))
            found[pair] = (min(device, *names), count + len(names))
    return tuple(Overlap(*pair, *seen) for pair, seen in sorted(found.items()))


def _rivals(claims: Iterable[Claim]) -> Iterator[tuple[str, str, int]]:
    by_priority = defaultdict[int, list[str]](list)
    for claim in claims:
        by_priority[claim.priority].append(claim.fleet)
    for priority, fleets in by_priority.items():
        first, *others = sorted(fleets)
        yield from ((first, other, priority) for other in others)


def _by_labels(devices: Mapping[str, Mapping[str, str]]) -> Mapping[LabelSet, list[str]]:
    groups = defaultdict[LabelSet, list[str]](list)
    for name, labels in devices.items():
        groups[frozenset(labels.items())].append(name)
    return groups


def _frequencies(groups: Mapping[LabelSet, list[str]]) -> Counter[Label]:
    return Counter(label for labels in groups for label in labels)


class _Candidates:
    """Finds the claims that select a label set without trying them all."""

    def __init__(self, claims: Iterable[Claim], frequencies: Counter[Label]) -> None:
        self._anywhere: list[tuple[Claim, Selector]] = []
        self._by_label = defaultdict[Label, list[tuple[Claim, Selector]]](list)
        for claim in claims:
            selector = parse_selector(claim.selector)
            labels = _rarest(selector, frequencies)
            if labels is None:
                self._anywhere.append((claim, selector))
            for label in labels or ():
                self._by_label[label].append((claim, selector))

    def selecting(self, labels: LabelSet) -> Iterator[Claim]:
        by_key = dict(labels)
        for label in labels:
            for claim, selector in self._by_label.get(label, ()):
                if selector.matches(by_key):
                    yield claim
        yield from (claim for claim, selector in self._anywhere if selector.matches(by_key))


def _rarest(selector: Selector, frequencies: Counter[Label]) -> frozenset[Label] | None:
    """Return labels of which a selected device has exactly one, or None if there are none such."""
    wanted = [
        frozenset((requirement.key, value) for value in requirement.values)
        for requirement in selector.requirements
        if requirement.operator is Operator.IN
    ]
    return min(wanted, key=lambda labels: sum(map(frequencies.__getitem__, labels)), default=None)
