"""The table of negative tests (cases.toml) is whole, and names tests that exist."""

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from schemas.refusal import Code

ROOT = Path(__file__).parents[2]
NUMBERS = range(1, 112)
NO_REFUSAL = {"accepted"}
STATUSES = {"200", "400", "401", "403", "404", "405", "409", "413", "429"}
COLLECTING = 300  # seconds, on a machine that does something else too


@dataclass(frozen=True, slots=True)
class Case:
    number: int
    says: str
    code: str = ""
    tests: tuple[str, ...] = ()
    owed: str = ""
    not_applicable: str = ""
    differs: str = ""


def _read() -> tuple[Case, ...]:
    table = tomllib.loads((ROOT / "tests/security/cases.toml").read_text())
    return tuple(Case(**{**case, "tests": tuple(case.get("tests", ()))}) for case in table["case"])


CASES = _read()


@cache
def collected() -> frozenset[str]:
    """Return the ids of the tests in the files that the table names, as pytest collects them."""
    files = sorted({test.partition("::")[0] for case in CASES for test in case.tests})
    assert [file for file in files if not (ROOT / file).is_file()] == []
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env=plain,
        capture_output=True,
        text=True,
        timeout=COLLECTING,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return frozenset(line for line in done.stdout.splitlines() if "::" in line)


def exists(test: str) -> bool:
    """Say whether `test` is a test's id, or begins the ids of a parametrised one."""
    return test in collected() or any(
        each.startswith(test if "[" in test else f"{test}[") for each in collected()
    )


def test_every_number_is_there_once_and_in_order() -> None:
    assert [case.number for case in CASES] == list(NUMBERS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.number))
def test_a_case_has_tests_or_a_debt_or_a_reason(case: Case) -> None:
    assert case.says.endswith(".")
    assert bool(case.tests or case.owed) is not bool(case.not_applicable)
    assert not case.owed or case.owed.startswith(("issue ", "later: "))
    known = {str(code) for code in Code} | STATUSES | NO_REFUSAL
    assert set(case.code.split()) <= known
    assert len(set(case.tests)) == len(case.tests)


def test_every_test_that_is_named_exists() -> None:
    missing = [(case.number, test) for case in CASES for test in case.tests if not exists(test)]
    assert missing == []
