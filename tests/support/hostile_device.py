"""A device for modules and state scripts that go wrong on purpose: real processes under the real
driver, journal and scripts, with limits of a second; only manifest, clock and health are fakes."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from device_agent.artifact.policy import ArtifactPolicy
from device_agent.boot.none import NoBootloader
from device_agent.journal import Journal
from device_agent.modules.installer import ModuleSettings
from device_agent.modules.mender import Installed, MenderInstaller
from device_agent.modules.program import Limits as ModuleLimits
from device_agent.ports import Ports
from device_agent.scripts.executor import Limits as ScriptLimits
from device_agent.scripts.state_scripts import StateScripts
from device_agent.step import Agent
from schemas.wire.descriptor import MENDER, Scope
from schemas.wire.report import Event, FailureClass, Outcome
from tests.support.agent_fakes import (
    FakeClock,
    FakeOwner,
    FakeTrust,
    a_component,
    a_descriptor,
    a_manifest,
    a_set,
    a_trusted,
    fake_ports,
)
from tests.support.artifacts import Build, as_json, member, tar
from tests.support.installing import BytesSource

OLD, NEW = b"the old content\n", b"the new content\n"
MODULE, GOOD_MODULE = "hostile", "good"
POLLS = 10  # within which a deployment is over

# It installs `new`, and what it does in a call beyond that comes last.
PROGRAM = """#!/bin/sh
echo "$1" >> "$RECORD/calls"
case $1 in
SupportsRollback) echo Yes ;;
ArtifactInstall) cp "$CONTENT" "$2/tmp/old" && cp "$2/files/new" "$CONTENT" ;;
ArtifactRollback) test ! -f "$2/tmp/old" || cp "$2/tmp/old" "$CONTENT" ;;
esac || exit 1
case $1 in
{cases}*) ;;
esac
"""


@dataclass(frozen=True)
class Update(Build):
    """An artifact that brings `content` by the module `kind`; `bodies` are state scripts."""

    kind: str = MODULE
    content: bytes = NEW
    bodies: Mapping[str, str] = field(default_factory=dict)

    def made(self) -> bytes:
        return replace(self, payloads=({"new": self.content},), kinds=(self.kind,)).bytes()

    def header_archive(self) -> bytes:
        scripts = [
            member(f"scripts/{name}", f"#!/bin/sh\n{body}\n".encode(), mode=0o755)
            for name, body in sorted(self.bodies.items())
        ]
        whole = super().header_archive()
        info = json_member(whole)
        kind = as_json({"type": self.kind})
        return tar(info, *scripts, member("headers/0000/type-info", kind))


def json_member(archive: bytes) -> bytes:
    """Return the first member of a header archive: its header-info."""
    return archive[: archive.index(b"headers/0000/type-info\0")]


class HostileDevice:
    """`content` is the file that updates bring, `calls` are those that the modules got."""

    def __init__(self, root: Path) -> None:
        self.root, self.state, self.record = root, root / "state", root / "record"
        self.modules, self.scripts = root / "modules", root / "scripts"
        for directory in (self.state, self.record, self.modules, self.scripts):
            directory.mkdir()
        self.content = root / "content"
        self.content.write_bytes(OLD)
        (root / "boot_id").write_text("0" * 32)
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "RECORD": str(self.record),
            "CONTENT": str(self.content),
        }
        self.clock, self.owner = FakeClock(), FakeOwner()
        self.updates = 0
        self.module(GOOD_MODULE)

    def module(self, name: str = MODULE, **does: str) -> None:
        """Write a module: what it does in a call, in shell, after the call's proper work."""
        cases = "".join(f"{call})\n{text}\n;;\n" for call, text in does.items())
        path = self.modules / name
        path.write_text(PROGRAM.replace("{cases}", cases))
        path.chmod(0o755)

    def image_script(self, name: str, body: str) -> None:
        path = self.scripts / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.record / "calls"
        return path.read_text().split() if path.exists() else []

    @property
    def tree(self) -> Path:
        return self.state / "modules" / "v3" / "payloads" / "app" / "tree"

    def journal(self) -> Journal:
        return Journal(self.state / "journal.db", id="0" * 32)

    def deploy(self, update: Update | None = None) -> Event:
        """Install `update`, which nobody has tried before, and return the last word about it."""
        poll = self.wanting(update or Update())
        journal = self.journal()
        try:
            for _ in range(POLLS):
                poll(journal)
                if journal.record() is None:
                    word = journal.last_outcome()
                    assert word
                    return word
            raise AssertionError(f"no end after {POLLS} polls: {journal.record()}")
        finally:
            journal.close()

    def life(self, poll: Callable[[Journal], None]) -> int:
        """Poll once in a process of its own; return its exit status, or minus a signal."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                poll(self.journal())
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def wanting(self, update: Update) -> Callable[[Journal], None]:
        """Return what polls once, in a world whose manifest wants `update`."""
        self.updates += 1
        data = update.made()
        descriptor = a_descriptor(
            "kiosk-app",
            str(self.updates),
            installer=MENDER,
            scope=Scope.DATA,
            image=data,
            checks=(),
        )
        component = a_component("app", descriptor)
        trusted = a_trusted(a_manifest(a_set(component), stable=None))
        trust = FakeTrust([trusted], {descriptor.release: descriptor})

        def poll(journal: Journal) -> None:
            ports = self._ports(journal, trust, data)
            Agent(journal, ports, None, heartbeat=3600.0, version="1").poll()

        return poll

    def _ports(self, journal: Journal, trust: FakeTrust, data: bytes) -> Ports:
        scripts = StateScripts(
            self.scripts,
            self.state / "scripts",
            environment=self.environment,
            limits=ScriptLimits(1.0, retry_interval=0.1, retry_timeout=0.5, termination=0.3),
            sleep=time.sleep,
            monotonic=time.monotonic,
        )
        settings = ModuleSettings(
            (self.modules,),
            self.state,
            "kiosk",
            self.environment,
            ModuleLimits(timeout=1.0, termination=0.3),
        )
        installed = Installed(journal.provides, lambda _: None)
        ports = fake_ports(
            NoBootloader(self.root / "boot_id"),
            trust=trust,
            installer=MenderInstaller(settings, ArtifactPolicy(), installed, scripts.keep),
            clock=self.clock,
            owner=self.owner,
        )
        return replace(ports, scripts=scripts, source=BytesSource(data, chunk=1 << 16))

    def running(self) -> dict[int, str]:
        """Return the command lines of all processes that modules and scripts of ours have left."""
        mark = f"RECORD={self.record}".encode()
        return {
            number: line
            for number, environment, line in processes()
            if mark in environment.split(b"\0")
        }

    def end_what_is_left(self) -> None:
        for number in self.running():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def processes() -> Iterator[tuple[int, bytes, str]]:
    """Yield number, environment and command line of every process that lives now."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                environment = (path / "environ").read_bytes()
                line = (path / "cmdline").read_bytes()
            except OSError:
                continue  # it ended meanwhile, or is another user's
            yield int(path.name), environment, line.replace(b"\0", b" ").decode(errors="replace")


def assert_failed(word: Event, failure: FailureClass, words: str = "") -> None:
    assert (word.outcome, word.failure) == (Outcome.FAILED, failure), word
    assert words in (word.message or ""), word


def assert_whole(device: HostileDevice, content: bytes = OLD) -> None:
    """Nothing is left, `content` is there, and the next update of a good module is installed."""
    assert device.running() == {}
    assert not device.tree.exists()
    assert not device.tree.is_symlink()
    assert device.content.read_bytes() == content
    better = b"better than that\n"
    word = device.deploy(Update(kind=GOOD_MODULE, content=better))
    assert word.outcome is Outcome.OK, word
    assert device.content.read_bytes() == better
    assert device.running() == {}
