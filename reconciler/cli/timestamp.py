"""`fleetcd refresh-timestamp`: keeps the tree fresh without database, Git or the online key."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def refresh_timestamp(
    config: Annotated[Path, typer.Option("--config", help="fleetcd.toml.")] = Path("fleetcd.toml"),
) -> None:
    """Sign the timestamp anew (every 6 hours; it expires after 7 days).

    Needs the timestamp key and the tree only, and may run beside the reconciler.
    """
    from reconciler.adapters.dir_layout import Layout
    from reconciler.adapters.signers import load_signer
    from reconciler.adapters.tuf_timestamp import refresh_timestamp as refresh
    from reconciler.settings import Settings

    settings = Settings.load(config)
    version = refresh(
        Layout(settings.tree.directory), load_signer(settings.keys.timestamp), datetime.now(UTC)
    )
    typer.echo(f"timestamp {version} signed")
