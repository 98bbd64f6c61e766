"""`fleetcd demo`: the whole loop on this machine, in a minute."""

import json
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.errors import Misconfigured

if TYPE_CHECKING:  # imported when the command runs: they cost more than the whole help text
    from reconciler.demo.play import Review
    from reconciler.demo.stack import Stack

SERVER = "server"  # the first thing that a demo makes in its directory


def demo(
    directory: Annotated[
        Path, typer.Option(help="A new directory for the demo; removed afterwards unless --keep.")
    ] = Path("fleetcd-demo"),
    devices: Annotated[int, typer.Option(help="How many virtual devices.", min=4, max=100)] = 12,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="No picture; exit 0 only if all went as told; a JSON line comes last."
        ),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the directory, and say what to look at.")
    ] = False,
) -> None:
    """Watch Git commits roll out over a dozen devices, and a bad one being stopped.

    Everything is real but the hardware: Git, signatures, HTTPS on loopback, one agent process for
    each device with two slots and automatic rollback. Needs no root and no network.
    """
    from reconciler.demo.stack import Stack

    began = time.monotonic()
    stack = Stack(directory, devices=devices)
    _claim(directory)
    try:
        with _ended_by_signals(), stack:
            review = _told(stack, began) if once else _shown(stack, began)
    except KeyboardInterrupt:
        typer.echo("\nStopped: all processes have ended.", err=True)
        raise typer.Exit(130) from None
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
    seconds = round(time.monotonic() - began, 1)
    _summary(review, seconds)
    if keep:
        _tell_what_is_kept(stack)
    if once:
        line = {"ok": review.good, "seconds": seconds, "devices": devices}
        typer.echo(json.dumps(line | {"expectations": dict(review.expectations)}))
    raise typer.Exit(0 if review.good else 1)


def _claim(directory: Path) -> None:
    """Make `directory` ours, which is removed in the end: of two demos one gets it."""
    if directory.is_dir() and any(directory.iterdir()):
        raise Misconfigured(
            f"{directory} is not empty: another demo runs in it or was killed;"
            " choose another --directory, or remove it"
        )
    directory.mkdir(parents=True, exist_ok=True)
    try:
        (directory / SERVER).mkdir()
    except FileExistsError as error:
        raise Misconfigured(f"another demo has begun in {directory}") from error


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the demo as Ctrl-C does: no process is left behind.

    Once it is ending, a second signal does not hurry it.
    """
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _tell_what_is_kept(stack: "Stack") -> None:
    """Name the logs, and the commands that start it all again."""
    made, base, python = stack.made, stack.directory, sys.executable
    typer.echo(f"\nKept in {base}:")
    typer.echo("  reconciler.log, devices/*/agent.log, and server/fleet, the fleet repository")
    typer.echo("To start it again and to look at it, each in a shell of its own:")
    for command in (
        f"{python} -m reconciler run --config {shlex.quote(str(made.config))}",
        f"{python} -m device_agent.supervisor {shlex.quote(str(base))}/devices/*/agent.toml",
        f"FLEETCD_URL={made.url} FLEETCD_CA={shlex.quote(str(made.ca))}"
        f" FLEETCD_TOKEN={made.operator_token} {python} -m reconciler get devices",
    ):
        typer.echo(f"  {command}")


def _told(stack: "Stack", began: float) -> "Review":
    """Play with one line for each chapter, for logs and for CI."""
    from reconciler.demo.play import play
    from reconciler.demo.screen import Mark, Progress
    from reconciler.demo.story import Scene

    said = set[tuple[str, Mark]]()

    def show(scene: Scene, progress: Progress) -> None:
        for chapter in progress.chapters:
            if chapter[1] is not Mark.TODO and chapter not in said:
                said.add(chapter)
                why = scene.status.rollout.reason if scene.status and scene.status.rollout else ""
                typer.echo(f"{progress.elapsed:5.1f} s  {chapter[1]} {chapter[0]}")
                if chapter[1] is not Mark.NOW and why:
                    typer.echo(f"           {why}")

    stack.prepare()
    stack.start()
    return play(stack, show, began)


def _shown(stack: "Stack", began: float) -> "Review":
    """Play with a live picture on a terminal."""
    from rich.console import Console
    from rich.live import Live

    from reconciler.demo.play import play
    from reconciler.demo.screen import Progress, render
    from reconciler.demo.story import Scene

    console = Console()
    if not sys.stdout.isatty():
        return _told(stack, began)
    with console.status("Making keys, a signed tree, a repository and the devices"):
        stack.prepare()
        stack.start()
    with Live(console=console, refresh_per_second=4) as live:

        def show(scene: Scene, progress: Progress) -> None:
            live.update(render(scene, progress))

        return play(stack, show, began)


def _summary(review: "Review", seconds: float) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print()
    for name, holds in review.expectations.items():
        console.print(f"  [{'green' if holds else 'red'}]{'✓' if holds else '✗'}[/] {name}")
    verdict = "[green]All went as told[/]" if review.good else "[red]Not as told[/]"
    console.print(f"\n{verdict} in {seconds:.0f} seconds.")
