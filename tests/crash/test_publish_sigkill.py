"""A real reconciler process, killed with SIGKILL at each named step of a publish."""

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.dir_initialise import Initialised, initialise
from reconciler.adapters.dir_release import NewRelease, add_release, signed_files
from reconciler.adapters.signers import load_signer
from reconciler.adapters.tuf_tree import PUBLISH_STEPS, DirectoryTree
from reconciler.ports import Publication
from reconciler.settings import Settings
from tests.support.signed_tree import NOW
from tests.support.tuf_client import StockClient

RENEWAL = NOW + timedelta(days=61)  # so late that every step has something to write

_VICTIM = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from tests.crash.test_publish_sigkill import publication, writer

directory, name, now = sys.argv[1:]

def step(reached):
    if reached == name:
        os.kill(os.getpid(), signal.SIGKILL)

tree = writer(Path(directory), step=step)
tree.publish(publication(Path(directory)), datetime.fromisoformat(now))
"""


def writer(directory: Path, **options: object) -> DirectoryTree:
    settings = Settings.load(directory / "fleetcd.toml")
    return DirectoryTree(
        settings.tree.directory,
        online=load_signer(settings.keys.online),
        timestamp=load_signer(settings.keys.timestamp),
        **options,  # type: ignore[arg-type]  # a step, or nothing
    )


def publication(directory: Path) -> Publication:
    return Publication({"project.json": b"{}"}, signed_files(directory / "fleet"))


def installed(directory: Path) -> Initialised:
    """Return an installation whose Git holds a signed release that is not published yet."""
    (directory / "example").mkdir()
    (directory / "image").write_bytes(b"an image")
    made = initialise(directory / "fleetcd", NOW, example=directory / "example")
    add_release(
        NewRelease("kiosk-os", "1.0.0", directory / "image"),
        repository=made.clone,
        tree=made.tree,
        signers=(load_signer(f"file:{made.keys}/release.pem"),),
        now=NOW,
    )
    return made


@pytest.mark.parametrize("name", PUBLISH_STEPS)
def test_a_reconciler_killed_at_a_named_step_is_followed_by_one_that_finishes(
    tmp_path: Path, name: str
) -> None:
    made = installed(tmp_path)
    client = StockClient(made.tree, made.root.read_bytes(), tmp_path / "memory")
    victim = subprocess.run(
        [sys.executable, "-c", _VICTIM, str(made.directory), name, RENEWAL.isoformat()],
        timeout=60,
        check=False,
    )
    assert victim.returncode == -signal.SIGKILL
    assert client.read("project.json", now=NOW) == [None]
    successor = writer(made.directory)
    assert successor.publish(publication(made.directory), RENEWAL)
    assert successor.publish(publication(made.directory), RENEWAL) is False
    assert client.read("project.json", now=RENEWAL) == [b"{}"]
