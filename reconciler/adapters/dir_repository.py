"""The example fleet repository, and the bare Git repository with a working clone made from it."""

import importlib.resources
import shutil
from pathlib import Path

from git import Git
from git.exc import CommandError

from reconciler.errors import Misconfigured, Unavailable

TIMEOUT = 60.0  # seconds for one Git command
_ENVIRONMENT = {  # nobody's own settings: signing, templates and hooks must not interfere
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "fleetcd init",
    "GIT_AUTHOR_EMAIL": "fleetcd@localhost",
    "GIT_COMMITTER_NAME": "fleetcd init",
    "GIT_COMMITTER_EMAIL": "fleetcd@localhost",
}


def example_repository() -> Path:
    """Return the packaged example. Raises Misconfigured when this installation lacks it."""
    packaged = Path(str(importlib.resources.files("reconciler"))) / "example"
    source = Path(__file__).resolve().parents[2] / "fleet-repo-example"
    for directory in (packaged, source):
        if directory.is_dir():
            return directory
    raise Misconfigured("this installation has no example repository; install fleetcd again")


def copy_example(example: Path, clone: Path) -> None:
    """Copy the files of `example`. Raises OSError."""
    shutil.copytree(example, clone, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))


def make_repository(bare: Path, clone: Path, branch: str) -> None:
    """Make `bare`, and of the files that lie in `clone` its first commit on `branch`.

    Raises Unavailable with what Git said.
    """
    _git(bare.parent, "init", "--quiet", "--bare", f"--initial-branch={branch}", str(bare))
    _git(clone, "init", "--quiet", f"--initial-branch={branch}")
    _git(clone, "remote", "add", "origin", str(bare))
    _git(clone, "add", "--all")
    _git(clone, "commit", "--quiet", "--message=Begin with the example fleet")
    _git(clone, "push", "--quiet", "--set-upstream", "origin", branch)


def commit_and_push(clone: Path, message: str) -> str:
    """Commit everything in `clone`, push it, and return the commit id. Raises Unavailable."""
    _git(clone, "add", "--all")
    _git(clone, "commit", "--quiet", f"--message={message}")
    _git(clone, "push", "--quiet")
    return _git(clone, "rev-parse", "HEAD")


def _git(directory: Path, *arguments: str) -> str:
    try:
        return str(
            Git(str(directory)).execute(
                ["git", *arguments], env=_ENVIRONMENT, kill_after_timeout=TIMEOUT
            )
        )
    except CommandError as error:
        raise Unavailable(f"git {arguments[0]} in {directory}: {error.stderr.strip()}") from error
