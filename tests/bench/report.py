"""Figures as a table for people, as Markdown for docs/performance.md, and as JSON."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.figures import Figure

Results = Mapping[str, Sequence[Figure]]
Row = tuple[str, ...]

HEADINGS: Row = ("figure", "median", "unit", "ratio", "min", "max", "runs", "compared with")
_TO_THE_RIGHT = {1, 3, 4, 5, 6}


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when it was measured. `load`: the 1-minute average before and after."""

    cores: int
    python: str
    system: str
    disk: str
    date: str
    load: tuple[float, float]

    def __str__(self) -> str:
        before, after = self.load
        return (
            f"{self.cores} cores, Python {self.python}, {self.system}, {self.disk},"
            f" {self.date}; load average {before:.1f} before, {after:.1f} after"
        )


def machine(directory: Path, load_before: float) -> Machine:
    """Return this machine; `directory` is where the benches wrote."""
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        disk=_file_system(directory),
        date=datetime.now(UTC).date().isoformat(),
        load=(load_before, os.getloadavg()[0]),
    )


def _file_system(directory: Path) -> str:
    """Return the type of the file system that holds `directory` (proc(5), mounts)."""
    lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    mounts = {Path(point): kind for _, point, kind, *_ in map(str.split, lines)}
    return next(mounts[path] for path in (directory, *directory.parents) if path in mounts)


def table(results: Results, on: Machine) -> str:
    """Return an aligned table under the line about the machine."""
    rows = [HEADINGS, *_rows(results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if place in _TO_THE_RIGHT else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join((str(on), "", *lines))


def markdown(results: Results, on: Machine) -> str:
    """Return the table as docs/performance.md holds it."""
    rule = ("---:" if place in _TO_THE_RIGHT else "---" for place in range(len(HEADINGS)))
    rows = (HEADINGS, tuple(rule), *_rows(results))
    return "\n".join((f"{on}.", "", *(f"| {' | '.join(row)} |" for row in rows)))


def as_json(results: Results, on: Machine) -> str:
    """Return every value of every figure."""
    document = {
        "machine": {
            "cores": on.cores,
            "python": on.python,
            "system": on.system,
            "disk": on.disk,
            "date": on.date,
            "load": on.load,
        },
        "benches": {name: [_figure(figure) for figure in of] for name, of in results.items()},
    }
    return json.dumps(document, indent=2) + "\n"


def _figure(figure: Figure) -> Mapping[str, object]:
    peer = figure.peer
    return {
        "name": figure.name,
        "unit": figure.unit,
        "values": figure.values,
        "median": figure.median,
        "ratio": figure.ratio,
        "peer": {"what": peer.what, "values": peer.values} if peer else None,
    }


def _rows(results: Results) -> list[Row]:
    return [_row(figure) for figures in results.values() for figure in figures]


def _row(figure: Figure) -> Row:
    ratio, peer = figure.ratio, figure.peer
    return (
        figure.name,
        number(figure.median),
        figure.unit,
        "" if ratio is None else number(ratio),
        number(min(figure.values)),
        number(max(figure.values)),
        str(len(figure.values)),
        "" if peer is None else peer.what,
    )


def number(value: float) -> str:
    """Return `value` with three significant digits, thousands set apart, no exponent."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
