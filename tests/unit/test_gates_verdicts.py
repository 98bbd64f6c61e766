"""Each row of the table is one promise of the gate."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from reconciler.domain.desired import Stage
from reconciler.domain.gates import Evidence, Verdict, evaluate
from schemas.wire.status import StageCounts
from tests.support.fleet_simulation import a_gate

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
WAIT, PASS, FAIL = Verdict.WAIT, Verdict.PASS, Verdict.FAIL


def a_stage(success: int = 100, *, soak: int = 0, finished: int = 1, coverage: int = 100) -> Stage:
    return Stage(
        "canary",
        count=1,
        soak=timedelta(hours=soak),
        gate=a_gate(success, min_finished=finished, min_coverage=coverage),
    )


def of(admitted: int, reachable: int | None = None, **counts: object) -> StageCounts:
    """Return counts; everybody who ended has started."""
    seen = admitted if reachable is None else reachable
    told = replace(StageCounts(admitted, seen), **counts)  # type: ignore[arg-type]  # by name
    if "started" in counts:
        return told
    return replace(told, started=told.finished + told.neutral)


def evidence(own: StageCounts, **changes: object) -> Evidence:
    return replace(Evidence(own, own), **changes)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("stage", "seen", "verdict", "reason"),
    [
        pytest.param(
            a_stage(),
            evidence(of(1)),
            WAIT,
            "0 of 1 reachable devices have finished",
            id="a stage in which nobody has finished waits",
        ),
        pytest.param(
            a_stage(),
            evidence(of(1, 0)),
            WAIT,
            "none of the 1 device of this stage is reachable",
            id="a canary that went offline never passes",
        ),
        pytest.param(
            a_stage(),
            evidence(of(1, ok=1)),
            PASS,
            "1 of 1 succeeded, 100 % needed",
            id="the only device succeeded",
        ),
        pytest.param(
            a_stage(),
            evidence(of(10, failed=1)),
            FAIL,
            "1 of 1 failed; 100 % must succeed",
            id="the first failure is enough when all must succeed",
        ),
        pytest.param(
            a_stage(98),
            evidence(of(50, ok=48, failed=1)),
            WAIT,
            "49 of 50 reachable devices have finished",
            id="one failure in fifty is within 98 percent",
        ),
        pytest.param(
            a_stage(98),
            evidence(of(49, failed=1)),
            FAIL,
            "1 of 1 failed; 98 % must succeed",
            id="one failure in forty-nine is not within 98 percent",
        ),
        pytest.param(
            a_stage(50),
            evidence(of(4, ok=1, failed=3, failures={"healthcheck": 2, "reboot": 1})),
            FAIL,
            "3 of 4 failed: 2 healthcheck, 1 reboot; 50 % must succeed",
            id="a failure names the classes, the most frequent first",
        ),
        pytest.param(
            a_stage(),
            evidence(of(2, ok=1, overdue=1)),
            FAIL,
            "1 of 2 failed: 1 overdue; 100 % must succeed",
            id="a device that is silent past its timeout has failed",
        ),
        pytest.param(
            a_stage(),
            evidence(of(2, ok=1, neutral=1)),
            WAIT,
            "1 of 2 reachable devices have finished (1 neutral, which counts as nothing)",
            id="a neutral outcome is never a success",
        ),
        pytest.param(
            a_stage(finished=3),
            evidence(of(2, ok=2)),
            WAIT,
            "2 attempts have finished, 3 needed",
            id="fewer attempts than minFinished prove nothing",
        ),
        pytest.param(
            a_stage(finished=3),
            evidence(of(2, ok=2), total=of(3, ok=3)),
            PASS,
            "2 of 2 succeeded, 100 % needed",
            id="attempts of earlier stages count towards minFinished",
        ),
        pytest.param(
            a_stage(finished=3),
            evidence(of(2, ok=2), done=2, everybody=True),
            PASS,
            "2 of 2 succeeded, 100 % needed",
            id="a fleet smaller than minFinished is done when everybody runs the set",
        ),
        pytest.param(
            a_stage(coverage=80),
            evidence(of(10, ok=7)),
            WAIT,
            "7 of 10 reachable devices have finished, 80 % needed",
            id="coverage is measured against the reachable",
        ),
        pytest.param(
            a_stage(coverage=80),
            evidence(of(20, 10, ok=8)),
            PASS,
            "8 of 8 succeeded, 100 % needed",
            id="devices that are offline do not hold a stage up",
        ),
        pytest.param(
            a_stage(90),
            evidence(of(10, 9, ok=9, started=10)),
            WAIT,
            "9 of 10 reachable devices have finished",
            id="a device that took the set and vanished is waited for until it is overdue",
        ),
        pytest.param(
            a_stage(98),
            evidence(of(60, 40, ok=39, failed=1)),
            FAIL,
            "1 of 40 failed; 98 % must succeed, and nobody is left to try",
            id="a stage whose devices have all answered below the threshold does not go on",
        ),
        pytest.param(
            a_stage(coverage=0),
            evidence(of(3), total=of(4, ok=1)),
            WAIT,
            "0 of 3 reachable devices have finished, 0 % needed",
            id="a stage of which nobody has answered waits even if no coverage is asked for",
        ),
        pytest.param(
            a_stage(90),
            evidence(of(1, ok=9, failed=1)),
            PASS,
            "9 of 10 succeeded, 90 % needed",
            id="devices that were pinned since still count with what they reported",
        ),
        pytest.param(
            a_stage(),
            evidence(of(3), total=of(4, ok=1), done=3),
            PASS,
            "3 devices run it already",
            id="devices that run the set already are covered",
        ),
        pytest.param(
            a_stage(),
            evidence(of(0), total=of(5, ok=5), expected=False),
            PASS,
            "5 of 5 succeeded, 100 % needed",
            id="a stage that adds nobody is judged by all before it",
        ),
        pytest.param(
            a_stage(),
            evidence(of(0), total=of(5, ok=4, failed=1), expected=False),
            FAIL,
            "1 of 5 failed; 100 % must succeed",
            id="a stage that adds nobody fails by all before it",
        ),
        pytest.param(
            a_stage(),
            evidence(of(3, 0), total=of(5, 2, ok=2), expected=False),
            PASS,
            "2 of 2 succeeded",
            id="stragglers who were offline when the stage opened do not hold it up",
        ),
        pytest.param(
            a_stage(98, soak=2),
            evidence(of(42, ok=42)),
            WAIT,
            "42 of 42 succeeded, 98 % needed, soaking until 2026-11-24 14:00 UTC",
            id="a soak names the time when it ends, not how long it takes",
        ),
    ],
)
def test_the_gate_decides_and_says_why(
    stage: Stage, seen: Evidence, verdict: Verdict, reason: str
) -> None:
    decision = evaluate(stage, seen, None, NOW)

    assert (decision.verdict, reason in decision.reason) == (verdict, True), decision


def test_the_soak_runs_from_the_moment_the_counts_were_met() -> None:
    good = evidence(of(1, ok=1))
    first = evaluate(a_stage(soak=2), good, None, NOW)
    later = evaluate(a_stage(soak=2), good, first.settled, NOW + timedelta(hours=1, minutes=59))
    end = evaluate(a_stage(soak=2), good, first.settled, NOW + timedelta(hours=2))

    assert first == later
    assert (later.verdict, end.verdict) == (WAIT, PASS)


def test_the_soak_starts_again_when_the_counts_are_no_longer_met() -> None:
    stage = a_stage(soak=2)
    first = evaluate(stage, evidence(of(1, ok=1)), None, NOW)
    worse = evaluate(stage, evidence(of(2, ok=1)), first.settled, NOW + timedelta(hours=1))
    again = evaluate(stage, evidence(of(2, ok=2)), worse.settled, NOW + timedelta(hours=3))

    assert (worse.settled, again.settled) == (None, NOW + timedelta(hours=3))


def test_fractions_are_exact_where_percentages_would_round() -> None:
    two_thirds = replace(a_stage(), gate=replace(a_gate(), success=Fraction(2, 3)))

    assert evaluate(two_thirds, evidence(of(3, ok=2, failed=1)), None, NOW).verdict is PASS
