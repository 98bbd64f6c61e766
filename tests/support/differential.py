"""Two devices side by side: one runs Debian's mender-client, the other fleetcd-agent.

Each command runs in a mount namespace of its own, in which the directories that an update may touch
are the device's own and have the same names on both. Nothing of the real system changes.
"""

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support.differential_modules import Plan, program, write_modules, write_scripts

MODULES = Path("/usr/share/mender/modules/v3")
ETC, DPKG, LOG = Path("/etc/mender"), Path("/var/lib/dpkg"), Path("/var/log")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEVICE_TYPE = "kiosk"
WITHIN = 60.0  # seconds for one command


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: its exit status, what it printed, and its complaints."""

    status: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Step:
    """What a command did, and the device after it.

    `target`: mode and content of each file, mode and end of each link. `provides` is empty where
    nobody looked.
    """

    command: str
    status: int
    calls: tuple[str, ...]
    provides: Mapping[str, str]
    target: Mapping[str, tuple[str, bytes]]
    packages: str


class Agent(Protocol):
    """A program that installs artifacts, and what it wants to find on its device."""

    name: str

    def prepare(self, own: Path) -> None:
        """Write into `own`, the device's directory."""
        ...

    def argv(self, own: Path, command: Sequence[str]) -> Sequence[str]: ...


class MenderClient:
    name = "mender"

    def prepare(self, own: Path) -> None:
        (own / "state").mkdir()
        (own / "state" / "device_type").write_text(f"device_type={DEVICE_TYPE}\n")
        (own / "etc" / "artifact_info").write_text("artifact_name=base-1\n")
        (own / "etc" / "mender.conf").write_text("{}")

    def argv(self, own: Path, command: Sequence[str]) -> Sequence[str]:
        return ("mender", "--no-syslog", "--log-level", "error", "--data", f"{own}/state", *command)


class FleetcdAgent:
    name = "fleetcd"

    def prepare(self, own: Path) -> None:
        (own / "agent.toml").write_text(
            f"""
            [device]
            name = "kiosk-1"
            state = "{own}/state"
            facts = {{ hardware = "{DEVICE_TYPE}" }}
            [modules]
            directories = ["{MODULES}"]
            """
        )

    def argv(self, own: Path, command: Sequence[str]) -> Sequence[str]:
        config = ("--config", f"{own}/agent.toml")
        return (sys.executable, "-m", "device_agent", command[0], *config, *command[1:])


class Device:
    """A device as `agent` keeps it, below `place`. Both devices of a test have the same `place`."""

    def __init__(self, agent: Agent, place: Path, plan: Plan, modules: Path) -> None:
        self._agent, self._own, self._common = agent, place / agent.name, place / "device"
        self._common.mkdir(exist_ok=True)
        for name in ("etc/scripts", "modules", "log", "dpkg/info", "dpkg/updates", "device"):
            (self._own / name).mkdir(parents=True)
        (self._own / "dpkg" / "status").touch()
        self._target.mkdir()
        write_modules(self._own / "modules", modules, self._common, plan)
        agent.prepare(self._own)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PATH": PATH, "LANG": "C.UTF-8"}

    @property
    def _target(self) -> Path:
        return self._own / "device" / "target"

    @property
    def _calls(self) -> Path:
        return self._own / "device" / "calls"

    def steps(self, commands: Sequence[Sequence[str | Path]]) -> Sequence[Step]:
        """Run `commands`, and look at the device after each.

        What it provides is looked at after the last, and after those that end an update.
        """
        last = len(commands) - 1
        return [
            self._step(command, look=number == last or command[0] != "install")
            for number, command in enumerate(commands)
        ]

    def _step(self, command: Sequence[str | Path], *, look: bool) -> Step:
        ran = self.run(*command)
        calls = tuple(self._calls.read_text().splitlines()) if self._calls.exists() else ()
        self._calls.unlink(missing_ok=True)
        return Step(
            command=str(command[0]),
            status=ran.status,
            calls=calls,
            provides=_pairs(self.run("show-provides").output) if look else {},
            target=dict(_files(self._target)),
            packages=(self._own / "dpkg" / "status").read_text(),
        )

    def run(self, *command: str | Path) -> Ran:
        done = subprocess.run(
            self.argv(*command),
            capture_output=True,
            text=True,
            timeout=WITHIN,
            env=self.environment,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def argv(self, *command: str | Path) -> Sequence[str]:
        """Return what runs a command of the agent on this device."""
        argv = self._agent.argv(self._own, list(map(str, command)))
        mounts = {
            self._own / "etc": ETC,
            self._own / "modules": MODULES,
            self._own / "log": LOG,
            self._own / "dpkg": DPKG,
            self._own / "device": self._common,
        }
        script = "".join(
            f"mount --bind {shlex.quote(str(own))} {shlex.quote(str(point))} && "
            for own, point in mounts.items()
        )
        return ("unshare", "--mount", "sh", "-c", f'{script} exec "$@"', "sh", *argv)

    def tree(self, call: str) -> Mapping[str, tuple[str, bytes]]:
        """Return the module's tree as it was at the last `call` of the module `recorder`."""
        return dict(_files(self._own / "device" / f"tree.{call}"))

    def add_module(self, name: str, text: str) -> None:
        program(self._own / "modules" / name, text)

    def add_image_scripts(self, failing: str = "") -> None:
        """Write the state scripts that belong to the device, not to an artifact."""
        states = ("Idle", "Sync", "Download")
        write_scripts(self._own / "etc" / "scripts", self._common, states, failing)

    def put(self, name: str, content: bytes) -> None:
        """Write a file that is there before an update."""
        path = self._target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def both(
    place: Path, plan: Plan | None = None, *, modules: Path = MODULES
) -> tuple[Device, Device]:
    """Return a device of each kind, Debian's first, with `modules`: Debian's, or others."""
    theirs, ours = (
        Device(agent, place, plan or Plan(), modules) for agent in (MenderClient(), FleetcdAgent())
    )
    return theirs, ours


def target(place: Path) -> Path:
    """Return where artifacts install to: the name that both devices know their own place by."""
    return place / "device" / "target"


def _pairs(output: str) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)


def _files(directory: Path) -> Sequence[tuple[str, tuple[str, bytes]]]:
    """Return what lies below `directory`: name, mode as octal digits, content."""
    found = []
    for path in sorted(directory.rglob("*")):
        name, mode = str(path.relative_to(directory)), f"{path.lstat().st_mode:o}"
        if path.is_symlink():
            content = str(path.readlink()).encode()
        else:
            content = path.read_bytes() if path.is_file() else b""
        found.append((name, (mode, content)))
    return found
