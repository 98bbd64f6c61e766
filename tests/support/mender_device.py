"""A device with modules that a test writes in shell, and an installer for artifacts on it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from device_agent.artifact.policy import ArtifactPolicy
from device_agent.core.component import Component, Contents, payloads
from device_agent.modules.installer import ModuleSettings
from device_agent.modules.mender import Installed, MenderInstaller
from device_agent.modules.program import Limits
from schemas.artifact.header import Script
from schemas.wire.descriptor import MENDER
from tests.support.artifacts import Build
from tests.support.installing import BytesSource, component

SMALL = Build(payloads=({"rootfs": b"content"},), kinds=("m",))
Step = Callable[[MenderInstaller, Component], object]
STEPS: dict[str, Step] = {
    "ArtifactInstall": MenderInstaller.install,
    "NeedsArtifactReboot": MenderInstaller.reboot_need,
    "ArtifactVerifyReboot": MenderInstaller.verify,
    "ArtifactCommit": MenderInstaller.commit,
    "SupportsRollback": MenderInstaller.supports_rollback,
    "ArtifactRollback": MenderInstaller.rollback,
    "ArtifactRollbackReboot": MenderInstaller.rollback_reboot,
    "ArtifactVerifyRollbackReboot": MenderInstaller.verify_rollback,
    "ArtifactFailure": MenderInstaller.failure,
    "Cleanup": MenderInstaller.cleanup,
}

START = """#!/bin/sh
tree="${2%/tree}"
echo "${0##*/} $1 ${tree##*/}" >> "$RECORD/calls"
"""
STREAM = """
while next="$(cat stream-next)"; [ -n "$next" ]; do
    echo "$next" >> "$RECORD/offered"
    file="${next%% *}"
    cat "$file" > "$RECORD/${tree##*/}-${file#streams/}"
done
"""


class MenderDevice:
    """`module` writes a module; `calls` says which module was called to what, for which part."""

    def __init__(
        self, root: Path, *, policy: ArtifactPolicy | None = None, timeout: float = 20.0
    ) -> None:
        self.root, self.record, self.modules = root, root / "record", root / "modules"
        self.record.mkdir()
        self.modules.mkdir()
        self.provides: dict[str, str] = {"artifact_name": "kiosk-1.4"}
        self.kept: list[tuple[str, list[str]]] = []
        self.policy = policy or ArtifactPolicy()
        self.settings = ModuleSettings(
            directories=(self.modules,),
            state_dir=root / "state",
            device_type="kiosk",
            environment={"PATH": "/usr/bin:/bin", "RECORD": str(self.record)},
            limits=Limits(timeout=timeout, termination=1.0),
        )

    @property
    def installer(self) -> MenderInstaller:
        """A new one each time, as after a restart of the agent."""
        installed = Installed(lambda: self.provides, {"app": "kiosk-app@1.4.2"}.get)
        return MenderInstaller(self.settings, self.policy, installed, self._keep)

    def _keep(self, name: str, scripts: Sequence[Script]) -> None:
        self.kept.append((name, [script.name for script in scripts]))

    def module(self, name: str, answers: Mapping[str, str] | None = None) -> Path:
        """Write the module `name`: what it does by call, in shell, after it noted the call."""
        cases = "".join(f"{call})\n{text}\n;;\n" for call, text in (answers or {}).items())
        path = self.modules / name
        path.write_text(f"{START}case $1 in\n{cases}esac\n")
        path.chmod(0o755)
        return path

    @property
    def calls(self) -> list[str]:
        path = self.record / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def tree(self, part: str = "app") -> Path:
        return self.settings.tree(part).path

    def read(self, name: str) -> bytes:
        return (self.record / name).read_bytes()

    def download(self, build: Build) -> tuple[Component, ...]:
        """Download `build` as the component `app`, and return what it turned out to hold."""
        data = build.bytes()
        whole = app(data)
        return payloads(whole, self.contents(data))

    def contents(self, data: bytes) -> Contents:
        return self.installer.download(app(data), BytesSource(data))


def app(data: bytes) -> Component:
    """Return the component `app` over the bytes of an artifact, before anybody has opened it."""
    return component(data, name="app", installer=MENDER)


@dataclass(frozen=True, slots=True)
class Ready:
    """A device on which an artifact is downloaded, to be the component `part`."""

    device: MenderDevice
    part: Component

    def hurry(self, timeout: float, termination: float) -> None:
        """From now on a call has `timeout` seconds, and `termination` after TERM."""
        limits = Limits(timeout, termination)
        self.device.settings = replace(self.device.settings, limits=limits)

    def take(self, call: str) -> object:
        return STEPS[call](self.device.installer, self.part)


def ready(root: Path, answers: Mapping[str, str], *, build: Build = SMALL) -> Ready:
    """Return a device whose module `m` has got `build`, and answers so to the other calls."""
    device = MenderDevice(root)
    device.module("m", answers)
    [part] = device.download(build)
    return Ready(device, part)


def left_running(device: MenderDevice) -> bool:
    """Say whether the process that a module noted as `pid` still runs after ten seconds.

    One that was ended before it could note anything does not.
    """
    note = device.record / "pid"
    pid = note.read_text().strip() if note.exists() else ""
    if not pid:
        return False
    stat, until = Path("/proc", pid, "stat"), time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except OSError:
            return False
    return True
