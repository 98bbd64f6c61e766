"""`fleetcd run`: reconciler, gateway and file server in one process, or each alone."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer


def run(
    parts: Annotated[
        list[str] | None,
        typer.Argument(help="reconciler, gateway, tree; default all three in one process."),
    ] = None,
    config: Annotated[Path, typer.Option("--config", help="fleetcd.toml.")] = Path("fleetcd.toml"),
) -> None:
    """Turn commits into published rollouts, take the devices' reports, serve the tree.

    Runs until SIGTERM or Ctrl-C. Logs go to standard error: lines for people on a terminal, JSON
    otherwise. A reconciler that finds another one at work on the same tree ends with status 2.
    """
    from reconciler.app import App, Part, run_until_signal
    from reconciler.settings import Settings

    known = {str(part): part for part in Part}
    unknown = sorted(set(parts or ()) - set(known))
    if unknown:
        raise typer.BadParameter(f"unknown part {unknown[0]!r}; known are {', '.join(known)}")
    settings = Settings.load(config)
    log_to_standard_error()
    run_until_signal(App(settings, frozenset(known[part] for part in parts or known)))


def log_to_standard_error() -> None:
    """Configure structured logs."""
    import structlog

    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
