"""`fleetcd init DIRECTORY`: everything a first installation needs, in one command."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:  # imported when the command runs: TUF costs more than the whole help text
    from reconciler.adapters.dir_initialise import Initialised


def init(
    directory: Annotated[Path, typer.Argument(help="A new or empty directory.")],
    listen: Annotated[
        str, typer.Option(help="Where the gateway listens, HOST:PORT.")
    ] = "127.0.0.1:8443",
    url: Annotated[
        str, typer.Option(help="Where devices reach it; default https://localhost:PORT.")
    ] = "",
    name: Annotated[
        list[str] | None,
        typer.Option(help="A host name or address for the TLS certificate; may be repeated."),
    ] = None,
) -> None:
    """Make keys, the signed tree, certificates, configuration and an example repository.

    A directory that is not empty is refused.
    """
    from reconciler.adapters.dir_initialise import initialise

    made = initialise(
        directory, datetime.now(UTC), listen=listen, url=url or None, names=tuple(name or ())
    )
    _tell(made)


def _tell(made: "Initialised") -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold green]✓[/] fleetcd is set up in [bold]{made.directory}[/]\n")
    for what, where in (
        ("configuration", made.config),
        ("fleet repository", f"{made.repository}  (a working clone: {made.clone})"),
        ("signed tree", f"{made.tree}  (any web server can serve it)"),
        ("for device images", f"{made.root} and {made.ca}"),
    ):
        console.print(f"  {what:<18}", end="")
        console.print(str(where), markup=False)
    console.print("  operator token    ", end="")
    console.print(made.operator_token, markup=False, end="")
    console.print("  [dim](shown only now)[/]\n")
    console.print("[bold]Next[/]")
    config = shlex.quote(str(made.config))
    for command in (
        f"fleetcd run --config {config}",
        f"export FLEETCD_URL={made.url} FLEETCD_CA={shlex.quote(str(made.ca))}",
        f"export FLEETCD_TOKEN={made.operator_token}",
        f"cd {shlex.quote(str(made.clone))}",
        f"fleetcd release add NAME VERSION FILE --config {config}",
    ):
        console.print(f"  {command}", markup=False)
    keys = ", ".join(str(made.keys / f"{role}.pem") for role in ("root", "targets", "release"))
    console.print("\nMove these keys to a safe place, away from this machine:")
    console.print(f"  {keys}", markup=False)
