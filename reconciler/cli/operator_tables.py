"""What the gateway answers, as people read it: tables at a terminal, plain columns in a pipe."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

SHORT_KEY = 12  # hex digits of a key in a table; commands take them, JSON and YAML have the whole

Item = dict[str, Any]
Columns = dict[str, Callable[[Item], object]]


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def _releases(components: dict[str, str] | None) -> str:
    return " ".join(f"{name}={release}" for name, release in (components or {}).items())


def _second(instant: str | None) -> str:
    """Return the instant without the fraction of its second, which no person reads."""
    return re.sub(r"\.\d+", "", instant or "")


def _stages(rollout: Item) -> str:
    """Return `canary:2/2 all:7/10(1 failed)`: of the devices that each stage added."""
    before, words = 0, []
    for each in rollout["stages"]:
        added, before = each["size"] - before, each["size"]
        failed = f"({each['failed']} failed)" if each["failed"] else ""
        words.append(f"{each['name']}:{each['ok']}/{added}{failed}")
    return " ".join(words)


FLEETS: Columns = {
    "FLEET": lambda fleet: fleet["name"],
    "DEVICES": lambda fleet: fleet["devices"],
    "STABLE": lambda fleet: _releases(fleet["stable"]) or "-",
    "DESIRED": lambda fleet: fleet["desired"],
    "ROLLOUT": lambda fleet: fleet["rollout"]["phase"] if fleet["rollout"] else "-",
    "REASON": lambda fleet: fleet["rollout"]["reason"] if fleet["rollout"] else "",
}
ROLLOUTS: Columns = {
    "FLEET": lambda rollout: rollout["fleet"],
    "ROLLOUT": lambda rollout: rollout["id"],
    "PHASE": lambda rollout: rollout["phase"],
    "RELEASES": lambda rollout: _releases(rollout["components"]),
    "STAGES (ok/new)": _stages,
    "REASON": lambda rollout: rollout["reason"],
}
DEVICES: Columns = {
    "NAME": lambda device: device["name"],
    "STATE": lambda device: device["state"],
    "FLEET": lambda device: device["fleet"] or "-",
    "RUNNING": lambda device: _releases(device["components"]) or device["running"] or "-",
    "DOING": lambda device: device["waiting"] or device["doing"] or "-",
    "LAST SEEN": lambda device: _second(device["last_seen"]) or "never",
    "KEY": lambda device: device["key"].removeprefix("sha256:")[:SHORT_KEY],
}
RELEASES: Columns = {
    "RELEASE": lambda release: release["release"],
    "STABLE IN": lambda release: ",".join(release["stable_in"]) or "-",
    "ROLLING OUT IN": lambda release: ",".join(release["rolling_out_in"]) or "-",
    "DESCRIPTOR": lambda release: release["descriptor"],
}

CONDITIONS: Columns = {
    "CONDITION": lambda condition: condition["type"],
    "STATUS": lambda condition: str(condition["status"]).lower(),
    "SINCE": lambda condition: _second(condition["since"]),
    "REASON": lambda condition: condition["reason"],
    "MESSAGE": lambda condition: condition["message"],
}


def rendered(items: Sequence[Item], columns: Columns, output: Output) -> str:
    """Return `items` as text; a table for a pipe has plain columns two spaces apart."""
    match output:
        case Output.JSON:
            return json.dumps(items, indent=2)
        case Output.YAML:
            import yaml

            return yaml.safe_dump(items, sort_keys=False, allow_unicode=True).rstrip()
        case Output.TABLE:
            rows = [[str(cell(item)) for cell in columns.values()] for item in items]
            return _plain([list(columns), *rows])


def show(items: Sequence[Item], columns: Columns, output: Output) -> None:
    """Print `items`; at a terminal a table is drawn to fit it."""
    if output is not Output.TABLE or not sys.stdout.isatty():
        sys.stdout.write(rendered(items, columns, output) + "\n")
        sys.stdout.flush()
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for item in items:
        table.add_row(*(Text(str(cell(item))) for cell in columns.values()))
    Console().print(table)


def _plain(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
