"""A device for updates by hand: `fleetcd-agent`'s commands, each in a forked child, over a
directory with a configuration, a module, scripts and an artifact."""

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from device_agent import cli
from device_agent.journal import Journal
from reconciler.adapters.artifact_writer import (
    NewArtifact,
    NewPayload,
    software,
    write_artifact,
)
from schemas.wire.descriptor import Encoding
from tests.support.conformance_device import in_child
from tests.support.fault_server import FaultServer, files

OLD, NEW = "previous", "test"
DEVICE_TYPE, MODULE = "test", "rootfs-image"

_CONFIG = """
[device]
name = "by-hand"
state = "{root}/state"
facts = {{ hardware = "{device_type}" }}

[modules]
directories = ["{root}/modules"]
timeout = 2.0

[scripts]
directory = "{root}/scripts"

[artifacts]
unsigned_bootstrap = "accept"
"""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What one command said on standard output, and its exit status."""

    status: int
    stdout: str


@dataclass
class StandaloneDevice:
    """`run` runs one command; the words ARTIFACT and HOST stand for what they say."""

    root: Path
    payload: NewPayload = field(default_factory=lambda: NewPayload(MODULE))
    artifact_scripts: list[Path] = field(default_factory=list)

    @property
    def artifact(self) -> Path:
        return self.root / "served" / "artifact.mender"

    def prepare(self) -> None:
        """Write the configuration and the artifact, and let the device have the old one."""
        (self.root / "state").mkdir()
        self._config.write_text(_CONFIG.format(root=self.root, device_type=DEVICE_TYPE))
        payload = self.payload
        if payload.type is not None:
            file = self.root / "payload"
            file.write_bytes(b"test\n")
            payload = replace(payload, files=(file,))
        self.artifact.parent.mkdir()
        new = NewArtifact(NEW, (DEVICE_TYPE,), (payload,), scripts=tuple(self.artifact_scripts))
        write_artifact(new, self.artifact, Encoding.GZIP)
        journal = self._journal()
        journal.drop_standalone({"artifact_name": OLD})
        journal.close()

    def run(self, arguments: Sequence[str]) -> Spoken:
        if any("HOST" in each for each in arguments):
            return self._run_with_a_server(arguments)
        argv = self._argv([str(self.artifact) if a == "ARTIFACT" else a for a in arguments])
        said = self.root / "stdout"
        status = in_child(lambda: _command(argv, said), self.root / "agent.log")
        return Spoken(status, said.read_text())

    def _run_with_a_server(self, arguments: Sequence[str]) -> Spoken:
        """Run a program of its own: nothing is forked while a server's threads run here."""
        with FaultServer(files(self.artifact.parent)) as server:
            address = f"{server.url}/{self.artifact.name}"
            argv = self._argv([address if "HOST" in a else a for a in arguments])
            program = [sys.executable, "-m", "device_agent", *argv]
            done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
        return Spoken(done.returncode, done.stdout)

    def artifact_name(self) -> str:
        return self._journal().provides()["artifact_name"]

    def is_in_progress(self) -> bool:
        return self._journal().standalone() is not None

    def _argv(self, arguments: Sequence[str]) -> list[str]:
        name, *rest = arguments
        return [name, "--config", str(self._config), *rest]

    @property
    def _config(self) -> Path:
        return self.root / "agent.toml"

    def _journal(self) -> Journal:
        return Journal(self.root / "state" / "journal.db", id=secrets.token_hex(16))


def _command(argv: Sequence[str], said: Path) -> int:
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stdout:
        sys.stdout = stdout
        return cli.main(argv)


def with_provides() -> NewPayload:
    """Return a payload that says what a root filesystem of mender-artifact says."""
    provides, clears = software(MODULE, NEW)
    return NewPayload(MODULE, provides=provides, clears=clears)
