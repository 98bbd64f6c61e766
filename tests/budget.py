"""Run pytest within a time budget: `python -m tests.budget MINUTES [pytest arguments]`.

Prints the slowest files and the minutes it took, and fails above the budget, so that the suites
stay as fast as they are promised to be. Fails, too, on a skipped test that is not listed in
tests/allowed_skips.txt.
"""

import os
import sys
import time
from pathlib import Path

import pytest

# A file's tests share what is costly to start. Not `loadgroup`: pytest-xdist 3.8 silently groups
# nothing under pytest 9.2. In the order of the folders, the long end-to-end files do not come last.
BY_FILE = ("--dist", "loadfile", "--no-loadscope-reorder")
SHOWN = 25  # of the slowest files
ALLOWED_SKIPS = Path(__file__).parent / "allowed_skips.txt"


class Times:
    """Adds up how long the tests of each file took, with all that they set up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        self.seconds[file] = self.seconds.get(file, 0.0) + report.duration

    def slowest(self) -> list[str]:
        slowest = sorted(self.seconds.items(), key=lambda item: item[1], reverse=True)
        return [f"{seconds:6.1f} s  {file}" for file, seconds in slowest[:SHOWN]]


class Skips:
    """Collects what was skipped, and why."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.seen[report.nodeid] = str(reason)


def allowed() -> set[str]:
    lines = ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines()
    return {line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()}


def main(arguments: list[str]) -> int:
    minutes, *pytest_arguments = arguments
    skips, times = Skips(), Times()
    workers = os.environ.get("FLEETCD_TEST_WORKERS", str(os.cpu_count() or 1))
    began = time.monotonic()
    code = pytest.main(["-q", "-n", workers, *BY_FILE, *pytest_arguments], plugins=[skips, times])
    took = (time.monotonic() - began) / 60
    print("\n".join(["the slowest files, on one worker:", *times.slowest()]))
    print(f"took {took:.1f} minutes of {minutes}")
    if took > float(minutes):
        print(f"over the budget of {minutes} minutes", file=sys.stderr)
        return 1
    unlisted = sorted(set(skips.seen) - allowed())
    for name in unlisted:
        print(f"SKIPPED, and not listed in {ALLOWED_SKIPS.name}: {name}: {skips.seen[name]}")
    if unlisted:
        return 1
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
