"""The command line where something that it needs is missing: words and status 2, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

START = "import sys; {}; from reconciler.cli.main import main; main()"


def run(before: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START.format(before), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_the_extra_it_says_which_one_to_install() -> None:
    ended = run("sys.modules['typer'] = None")
    assert ended.returncode == 2
    assert ended.stderr.startswith("fleetcd: the Python package typer is missing")
    assert 'pip install "fleetcd[reconciler]"' in ended.stderr


def test_without_git_it_says_what_to_install(tmp_path: Path) -> None:
    ended = run("pass", "init", str(tmp_path / "new"), PATH=str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr == ("fleetcd: the git program is not installed; install the package git\n")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run("pass", "demo", "--once", "--directory", str(tmp_path / "file" / "demo"))
    assert ended.returncode == 2
    assert ended.stderr == f"fleetcd: {tmp_path / 'file' / 'demo'}: Not a directory\n"


def test_the_version_is_shown() -> None:
    assert run("pass", "--version").stdout.startswith("fleetcd 0.")
