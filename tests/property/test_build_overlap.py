"""Overlaps are found by an index; here it is held against the plain way of trying everything."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.build_overlap import Claim, overlaps
from schemas.selector import parse_selector

keys, values = st.sampled_from(["a", "b", "c"]), st.sampled_from(["x", "y", "z"])
requirements = st.one_of(
    st.tuples(keys, values).map("=".join),
    st.tuples(keys, values).map("!=".join),
    st.tuples(keys, st.lists(values, min_size=1, max_size=3)).map(
        lambda pair: f"{pair[0]} in ({','.join(pair[1])})"
    ),
    keys,
    keys.map("!{}".format),
)
selectors = st.lists(requirements, max_size=3).map(",".join)
claims = st.lists(st.tuples(selectors, st.integers(0, 1)), max_size=6).map(
    lambda found: [Claim(f"f{n}", priority, text) for n, (text, priority) in enumerate(found)]
)
devices = st.lists(st.dictionaries(keys, values), max_size=8).map(
    lambda found: {f"d{number}": labels for number, labels in enumerate(found)}
)


@given(claims, devices)
def test_a_device_is_in_an_overlap_exactly_if_two_fleets_of_one_priority_select_it(
    claims: list[Claim], devices: dict[str, dict[str, str]]
) -> None:
    def selected(claim: Claim) -> set[str]:
        selector = parse_selector(claim.selector)
        return {name for name, labels in devices.items() if selector.matches(labels)}

    shared = {
        (first.fleet, second.fleet): selected(first) & selected(second)
        for first, second in combinations(claims, 2)
        if first.priority == second.priority and selected(first) & selected(second)
    }
    found = overlaps(claims, devices)
    for overlap in found:
        assert overlap.device in shared[overlap.first, overlap.second]
        assert 1 <= overlap.count <= len(shared[overlap.first, overlap.second])
    rivals = {fleet for overlap in found for fleet in (overlap.first, overlap.second)}
    assert rivals == {fleet for pair in shared for fleet in pair}
