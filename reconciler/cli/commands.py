"""The `fleetcd` command line: puts the sub-commands together."""

from importlib.metadata import version
from typing import Annotated

import typer

from reconciler.cli.artifact import artifact
from reconciler.cli.demo import demo
from reconciler.cli.get import device_app, get_app, rollout_app
from reconciler.cli.init import init
from reconciler.cli.release import release
from reconciler.cli.run import run
from reconciler.cli.timestamp import refresh_timestamp
from reconciler.cli.validate import validate

app = typer.Typer(
    name="fleetcd",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # it fills the paragraphs of help texts to the terminal's width
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(init)
app.command()(run)
app.command()(validate)
app.command("refresh-timestamp")(refresh_timestamp)
app.add_typer(get_app, name="get")
app.add_typer(rollout_app, name="rollout")
app.add_typer(device_app, name="device")
app.add_typer(release, name="release")
app.add_typer(artifact, name="artifact")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fleetcd {version('fleetcd')}")
        raise typer.Exit


@app.callback()
def _fleetcd(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and end."
        ),
    ] = False,
) -> None:
    """The desired state of a fleet in Git; staged, gated rollouts as signed static files."""
