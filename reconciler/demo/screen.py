"""The demo's picture in the terminal: chapters, the rollout with its gate, the devices. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reconciler.demo.story import Scene
from schemas.wire.status import Opened, Phase, Rollout, StageCounts

COLOURS: Mapping[str | None, str] = {
    None: "bright_black",
    "1": "cyan",
    "2": "green",
    "3": "red",
}
PHASE_STYLE: Mapping[Phase, str] = {
    Phase.COMPLETED: "green",
    Phase.HALTED: "red",
    Phase.ROLLING_BACK: "yellow",
    Phase.ROLLED_BACK: "red",
}
STOPPED = frozenset({Phase.HALTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK})


class Mark(StrEnum):
    """How a chapter stands."""

    TODO = "·"
    NOW = "▶"
    DONE = "✓"
    FAILED = "✗"


@dataclass(frozen=True, slots=True)
class Progress:
    """The chapters' titles with their marks, and the time since the start in seconds."""

    chapters: tuple[tuple[str, Mark], ...]
    elapsed: float


def render(scene: Scene, progress: Progress) -> RenderableType:
    """Return the whole picture."""
    return Group(_chapters(progress), _rollout(scene), _devices(scene))


def _chapters(progress: Progress) -> Panel:
    styles = {Mark.TODO: "bright_black", Mark.NOW: "bold", Mark.DONE: "green", Mark.FAILED: "red"}
    lines = [Text(f"{mark} {title}", style=styles[mark]) for title, mark in progress.chapters]
    return Panel(
        Group(*lines), title="fleetcd demo", subtitle=f"{progress.elapsed:.0f} s", padding=(0, 1)
    )


def _rollout(scene: Scene) -> Panel:
    status = scene.status
    if status is None:
        return Panel("no rollout yet", title="rollout", padding=(0, 1))
    wants = f"Git {status.commit[:8]} wants {status.desired_text or '-'}"
    if status.rollout is None:
        return Panel(wants, title=f"fleet {status.fleet}", padding=(0, 1))
    rollout = status.rollout
    style = PHASE_STYLE.get(rollout.phase, "yellow")
    head = Text.assemble(
        wants, "   rollout ", (rollout.id, "bold"), " is ", (str(rollout.phase), f"bold {style}")
    )
    return Panel(
        Group(head, _stages(rollout), Text(rollout.reason, style=style)),
        title=f"fleet {status.fleet}",
        padding=(0, 1),
    )


def _stages(rollout: Rollout) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for title in ("stage", "new devices", "started", "ok", "failed", "gate"):
        table.add_column(title, justify="left" if title in ("stage", "gate") else "right")
    before = 0
    for opened in rollout.exposure:
        counts = opened.counts
        added, before = opened.size - before, opened.size
        table.add_row(
            opened.stage,
            str(added),
            str(counts.started),
            Text(str(counts.ok), style="green" if counts.ok else ""),
            Text(_failed(counts), style="red" if counts.failed else ""),
            _gate(opened, rollout.phase),
        )
    return table


def _failed(counts: StageCounts) -> str:
    classes = ", ".join(f"{count} {name}" for name, count in sorted(counts.failures.items()))
    return f"{counts.failed} ({classes})" if classes else str(counts.failed)


def _gate(opened: Opened, phase: Phase) -> Text:
    if opened.passed:
        return Text("passed", style="green")
    if phase in STOPPED:
        return Text("closed", style="red")
    if opened.settled:
        return Text("soaking", style="yellow")
    return Text("open", style="yellow")


def _devices(scene: Scene) -> Panel:
    return Panel(
        Columns(
            [_device(scene, name) for name in sorted(scene.versions)], equal=True, padding=(0, 3)
        ),
        title="devices and the version of the slot they run",
        padding=(0, 1),
    )


def _device(scene: Scene, name: str) -> Text:
    version = scene.versions[name]
    if name in scene.waiting:
        return Text(f"{name} waits", style="yellow")
    return Text(f"{name} {f'v{version}' if version else '--'}", style=COLOURS.get(version, "white"))
