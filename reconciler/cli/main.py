"""Starts the `fleetcd` command line, and puts what goes wrong into words instead of a traceback."""

import shutil
import sys

from reconciler.errors import ReconcilerError

NO_RECONCILER = (
    'the Python package {} is missing: install with pip install "fleetcd[reconciler]"'
    " (without the extra, fleetcd is the device agent, `fleetcd-agent`)"
)


def main() -> None:
    """Run the command line. Exit status 2 for what a person must change."""
    try:
        from reconciler.cli.commands import app  # here: the base install has none of its packages

        app()
    except ReconcilerError as error:
        _end(str(error))
    except ModuleNotFoundError as error:
        _end(NO_RECONCILER.format(error.name))
    except ImportError:
        if shutil.which("git"):
            raise
        _end("the git program is not installed; install the package git")
    except OSError as error:
        _end(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _end(message: str) -> None:
    sys.stderr.write(f"fleetcd: {message}\n")
    sys.exit(2)
