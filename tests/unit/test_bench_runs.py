"""The benches run, so that they can be believed when somebody needs their figures."""

import json
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.benches import BENCHES
from tests.bench.figures import Figure, Peer, Scale, bounded
from tests.bench.report import Machine, as_json, markdown, table

MARKS = {
    "first-device": [pytest.mark.e2e, pytest.mark.ci],  # the whole stack
    "mender-payload": [pytest.mark.ci],  # needs Debian's mender-client, and root
    "slot-write": [pytest.mark.ci],  # needs loop devices, and root
}
MACHINE = Machine(2, "3.11.7", "Linux 6.1", "ext4", "2026-11-24", (0.1, 0.2))
FIGURES = {
    "publish": (
        Figure("publish, 1 fleet", "ms", (30.0, 10.0, 20.0), Peer("plain writes", (4.0, 8.0))),
        Figure("requests", "requests", (1,)),
    )
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=MARKS.get(name, [])) for name in BENCHES],
)
def test_each_bench_runs_and_names_its_figures_once(name: str, tmp_path: Path) -> None:
    with bounded(BENCHES[name].limit):
        figures = BENCHES[name].bench(Scale.TINY, tmp_path)
    assert figures
    assert all(figure.values and figure.unit for figure in figures)
    assert len({figure.name for figure in figures}) == len(figures)


def test_a_ratio_compares_the_medians() -> None:
    assert FIGURES["publish"][0].median == 20.0
    assert FIGURES["publish"][0].ratio == pytest.approx(20 / 6)
    assert FIGURES["publish"][1].ratio is None


def test_the_table_is_aligned_and_says_where_it_was_measured() -> None:
    first, _, *rows = table(FIGURES, MACHINE).splitlines()
    assert first.startswith("2 cores, Python 3.11.7")
    assert [" ".join(row.split()) for row in rows[1:]] == [
        "publish, 1 fleet 20 ms 3.33 10 30 3 plain writes",
        "requests 1 requests 1 1 1",
    ]
    assert rows[0].index("unit") == rows[1].index("ms") == rows[2].rindex("requests")


def test_the_markdown_is_one_table() -> None:
    lines = markdown(FIGURES, MACHINE).splitlines()[2:]
    assert {line.count("|") for line in lines} == {9}


def test_json_has_every_value() -> None:
    (first, second) = json.loads(as_json(FIGURES, MACHINE))["benches"]["publish"]
    assert first["values"] == [30.0, 10.0, 20.0]
    assert first["peer"]["values"] == [4.0, 8.0]
    assert second["peer"] is None


def test_the_command_prints_the_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    code = main(["planning", "--scale", "tiny", "--directory", str(tmp_path), "--json", str(file)])
    assert code == 0
    assert "200 devices in 10 fleets, at rest" in capsys.readouterr().out
    assert list(json.loads(file.read_text())["benches"]) == ["planning"]


def test_a_bench_that_takes_too_long_is_ended() -> None:
    with pytest.raises(TimeoutError), bounded(0.01):
        while True:
            pass
