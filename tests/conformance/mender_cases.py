"""Runs a file of cases against the agent: `python -m tests.conformance.mender_cases FILE`.

Nothing is skipped: what the runner cannot express counts as a failure. The exit status is 0 when
every case passes or is a listed divergence, else 1.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.conformance.case import Case, Facts, Unsupported, load
from tests.conformance.daemon_mode import daemon
from tests.conformance.divergences import DIVERGENCES, expected_of_us, rows_of
from tests.conformance.download_mode import download_resume
from tests.conformance.format_modes import artifact_manifest, artifact_parser, clears_provides
from tests.conformance.module_mode import update_module
from tests.conformance.outcome import Outcome, Verdict, differences, report
from tests.conformance.rootfs_mode import daemon_rootfs
from tests.conformance.script_mode import state_script
from tests.conformance.standalone_mode import standalone

# Runs a case in a fresh directory; returns what the case expects, and what was seen.
Mode = Callable[[Case, Path], tuple[Facts, Facts]]

MODES: Mapping[str, Mode] = {
    "clears-provides": clears_provides,
    "artifact-manifest": artifact_manifest,
    "artifact-parser": artifact_parser,
    "update-module": update_module,
    "state-script": state_script,
    "daemon": daemon,
    "daemon-rootfs": daemon_rootfs,
    "standalone": standalone,
    "download-resume": download_resume,
}


def judge(case: Case, root: Path) -> Outcome:
    """Run one case in `root`."""
    try:
        if case.mode not in MODES:
            raise Unsupported(f"unknown mode {case.mode}")
        expected, seen = MODES[case.mode](case, root)
    except Unsupported as reason:
        return Outcome(case, Verdict.UNSUPPORTED, details=(str(reason),))
    except Exception:  # a case that breaks the runner has failed, and the others go on
        return Outcome(case, Verdict.FAILED, details=tuple(traceback.format_exc().splitlines()))
    rows = tuple(each.row for each in rows_of(case))
    ours = expected_of_us(case, expected)
    found = differences(ours, seen)
    if found:
        return Outcome(case, Verdict.FAILED, rows, found)
    return Outcome(case, Verdict.DIVERGES if ours != expected else Verdict.PASSED, rows)


def run(cases: Sequence[Case]) -> list[Outcome]:
    outcomes = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="conformance-") as root:
            outcomes.append(judge(case, Path(root)))
    return outcomes


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="mender_cases", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="a file of cases (JSON)")
    parser.add_argument("-k", metavar="TEXT", default="", help="only cases whose id has TEXT")
    parser.add_argument("--mode", help="only cases of this mode")
    parser.add_argument("-v", action="store_true", help="print every case")
    parser.add_argument("--list-divergences", action="store_true", help="print the rows and leave")
    options = parser.parse_args(arguments)
    if options.list_divergences:
        for each in DIVERGENCES:
            print(f"{each.row}\n    {each.reason}")
        return 0
    if options.file is None:
        parser.error("name a file of cases, for instance: make conformance MENDER_CASES=cases.json")
    try:
        cases = load(options.file)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    chosen = [c for c in cases if options.k in c.id and options.mode in (None, c.mode)]
    started = time.monotonic()
    outcomes = run(chosen)
    print("\n".join(report(outcomes, verbose=options.v)))
    print(f"{len(outcomes)} of {len(cases)} cases in {time.monotonic() - started:.1f} s")
    return 0 if outcomes and all(each.verdict.good for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
