"""Where we differ from Mender on purpose: which cases, why, and what we do instead.

Each row is a row of docs/mender-compatibility.md. What we do instead is compared as strictly as
what Mender does would be.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.conformance.case import Case, Facts


@dataclass(frozen=True, slots=True)
class Divergence:
    """`applies` looks at what a case says, `ours` turns what Mender does into what we do."""

    row: str
    reason: str
    applies: Callable[[Case], bool]
    ours: Callable[[Case, Facts], Facts]


def rows_of(case: Case) -> tuple[Divergence, ...]:
    return tuple(each for each in DIVERGENCES if each.applies(case))


def expected_of_us(case: Case, expected: Facts) -> Facts:
    """Return what we should do, given what Mender does."""
    for divergence in rows_of(case):
        expected = divergence.ours(case, expected)
    return expected


def _given(case: Case, name: str) -> object:
    given = case.content.get("given")
    return given.get(name) if isinstance(given, dict) else None


def _instead(aspect: str, *lines: str) -> Callable[[Case, Facts], Facts]:
    return lambda _, expected: {**expected, aspect: lines}


_FORMAT: tuple[Divergence, ...] = (
    Divergence(
        "range-that-starts-early",
        "An answer that starts before the offset asked for is right and complete; what is there"
        " already is skipped, and the digest decides.",
        lambda case: case.mode == "download-resume" and _given(case, "early_range_start") == "true",
        _instead("download", "exact bytes"),
    ),
    Divergence(
        "range-without-a-total",
        "RFC 9110 asks for the total or `*` in Content-Range; an answer without it is not used.",
        lambda case: (
            case.mode == "download-resume" and _given(case, "missing_content_length") == "true"
        ),
        _instead("download", "an error, no byte wrong"),
    ),
    Divergence(
        "reboot-command-that-fails",
        "A reboot command that exits with an error has failed: the device rolls back at once, not"
        " after ten minutes.",
        lambda case: case.mode == "update-module" and case.name == "system_reboot_returns",
        _instead("result", "refused"),
    ),
)

DIVERGENCES: tuple[Divergence, ...] = _FORMAT
