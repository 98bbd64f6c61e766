"""What came of a case, and what is printed about all of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.conformance.case import Case, Facts


class Verdict(StrEnum):
    PASSED = "passed"
    DIVERGES = "listed divergence"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"

    @property
    def good(self) -> bool:
        return self in (Verdict.PASSED, Verdict.DIVERGES)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`rows` are the ids of the divergences that apply, `details` lines for people."""

    case: Case
    verdict: Verdict
    rows: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


def differences(expected: Facts, seen: Facts) -> tuple[str, ...]:
    """Return a line for each aspect in which they differ. Only what is expected is compared."""
    found = []
    for aspect, wanted in expected.items():
        got = seen.get(aspect, ("(nothing was observed)",))
        if got != wanted:
            found += [f"{aspect}:", f"  expected {_shown(wanted)}", f"  actual   {_shown(got)}"]
    return tuple(found)


def _shown(lines: Sequence[str]) -> str:
    return " | ".join(line.replace("\n", "\\n") for line in lines) or "(none)"


def report(outcomes: Sequence[Outcome], *, verbose: bool = False) -> Iterator[str]:
    """Yield the lines to print: every failure, then a table by mode, then the rows."""
    for outcome in outcomes:
        if verbose or not outcome.verdict.good:
            rows = f" ({', '.join(outcome.rows)})" if outcome.rows else ""
            yield f"{outcome.verdict.upper():12} {outcome.case.id}{rows}"
            yield from (f"    {line}" for line in outcome.details)
    yield from _table(outcomes)
    used = Counter(
        row for each in outcomes if each.verdict is Verdict.DIVERGES for row in each.rows
    )
    if used:
        yield "listed divergences, by row of docs/mender-compatibility.md:"
        yield from (f"  {count:4}  {row}" for row, count in sorted(used.items()))


def _table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    counts = Counter((each.case.mode, each.verdict) for each in outcomes)
    yield f"{'mode':18}" + "".join(f"{verdict:>19}" for verdict in Verdict) + f"{'cases':>8}"
    for mode in [*dict.fromkeys(each.case.mode for each in outcomes), "all"]:
        row = [
            sum(
                count
                for (of, what), count in counts.items()
                if what is verdict and mode in (of, "all")
            )
            for verdict in Verdict
        ]
        yield f"{mode:18}" + "".join(f"{count:>19}" for count in row) + f"{sum(row):>8}"
