"""docs/mender-compatibility.md: every row says what, why, and which test shows it, which exists."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mender-compatibility.md"
HEAD = "| row | Mender | fleetcd | why | shown by |"

_ID = re.compile(r'<a id="([a-z0-9-]+)"></a>`([a-z0-9-]+)`')
_TEST = re.compile(r"`([a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of one of the page's tables of differences; `tests` are (file below tests/, name)."""

    anchor: str
    name: str
    mender: str
    ours: str
    why: str
    tests: tuple[tuple[str, str], ...]


def _rows() -> tuple[Row, ...]:
    found: list[Row] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        inside = line == HEAD or (inside and line.startswith("|"))
        if inside and line.startswith("| <a "):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            found.append(_row(cells))
    return tuple(found)


def _row(cells: list[str]) -> Row:
    assert len(cells) == 5, cells
    named = _ID.fullmatch(cells[0])
    assert named, f"{cells[0]} is not an anchor and a name"
    shown = cells[4]
    tests = tuple((match[1], match[2]) for match in _TEST.finditer(shown))
    assert _TEST.sub("", shown).replace("<br>", "").strip() == "", f"{named[2]}: {shown}"
    return Row(named[1], named[2], cells[1], cells[2], cells[3], tests)


ROWS = _rows()


@cache
def functions(file: str) -> frozenset[str]:
    """Return the names of the test functions in a file below tests/."""
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    return frozenset(re.findall(r"^def (test_\w+)\(", text, re.MULTILINE))


def test_no_line_of_a_table_is_passed_over() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    anchors = [line for line in lines if "<a id=" in line]
    assert len(ROWS) == len(anchors) > 60


def test_every_row_has_a_name_of_its_own_which_is_its_anchor() -> None:
    assert [row.name for row in ROWS] == [row.anchor for row in ROWS]
    assert [name for name, count in Counter(row.name for row in ROWS).items() if count > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_what_each_does_and_why_and_is_shown_by_tests_that_exist(row: Row) -> None:
    for sentence in (row.mender, row.ours, row.why):
        assert sentence.endswith("."), sentence
    assert row.tests
    assert len(set(row.tests)) == len(row.tests)
    missing = [f"{file}::{name}" for file, name in row.tests if name not in functions(file)]
    assert missing == []


def test_links_on_the_page_lead_somewhere() -> None:
    page = PAGE.read_text(encoding="utf-8")
    anchors = {f"#{row.anchor}" for row in ROWS}
    for target in re.findall(r"\]\(([^)]+)\)", page):
        file, _, _ = target.partition("#")
        assert target in anchors if target.startswith("#") else (PAGE.parent / file).is_file()
