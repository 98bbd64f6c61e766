"""The `fleetcd` command: puts the sub-commands together and turns errors into words."""

import sys

import typer

from reconciler.cli.demo import demo
from reconciler.cli.get import device_app, get_app, rollout_app
from reconciler.cli.init import init
from reconciler.cli.release import release
from reconciler.cli.run import run
from reconciler.cli.timestamp import refresh_timestamp
from reconciler.cli.validate import validate
from reconciler.errors import ReconcilerError

app = typer.Typer(
    name="fleetcd",
    help="The desired state of a fleet in Git; staged, gated rollouts as signed static files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
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


def main() -> None:
    """Run the command line. Exit status 2 for what a person must change."""
    try:
        app()
    except ReconcilerError as error:
        typer.echo(f"fleetcd: {error}", err=True)
        sys.exit(2)
