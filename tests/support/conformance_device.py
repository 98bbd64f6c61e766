"""A device for conformance cases: the real agent, in a forked child that may be killed and that is
started again, over a directory; around it a manifest, a source and a machine that are not real."""

import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from device_agent.artifact.policy import ArtifactPolicy, UnsignedBootstrap
from device_agent.boot.none import NoBootloader
from device_agent.core.record import Record
from device_agent.core.states import State
from device_agent.errors import TransientError
from device_agent.exit_codes import ExitCode
from device_agent.journal import Journal, JournalUnavailable
from device_agent.machine import ExitToReboot
from device_agent.modules.installer import ModuleSettings
from device_agent.modules.mender import Installed, MenderInstaller
from device_agent.modules.program import Limits as ModuleLimits
from device_agent.ports import Component, Ports, Trusted
from device_agent.scripts.executor import Limits as ScriptLimits
from device_agent.scripts.state_scripts import StateScripts
from device_agent.step import Agent
from reconciler.adapters.artifact_writer import (
    NewArtifact,
    NewPayload,
    software,
    write_artifact,
)
from schemas.canonical import sha256_hex
from schemas.wire.descriptor import MENDER, Artifact, Descriptor, Encoding, Health, Scope
from schemas.wire.report import Event, EventKind
from tests.support.agent_fakes import (
    FakeClock,
    FakeHealth,
    FakeOwner,
    a_component,
    a_manifest,
    a_set,
    a_trusted,
)
from tests.support.conformance_faults import Log

OLD_NAME, NEW_NAME = "old_name", "artifact-name"
DEVICE_TYPE, MODULE = "test-type", "test-module"
CHILD_TIMEOUT = 60.0  # seconds
MAX_LIVES = 100  # of the agent in one case
MAX_POLLS = 40  # of one life
UNSAVED_LIVES = 3  # lives that find the journal read-only before we believe that it stays so

_NEWER = (  # a field that this agent does not know
    "UPDATE record SET document = CAST(json_set(CAST(document AS TEXT), '$.newer', 1) AS BLOB)"
)

MODULE_LIMITS = ModuleLimits(timeout=1.0, termination=0.5)  # seconds
SCRIPT_LIMITS = ScriptLimits(timeout=1.0, retry_interval=0.01, retry_timeout=1.0, termination=0.5)


@dataclass(frozen=True, slots=True)
class World:
    """What is not as it should be around the agent.

    `withdrawn_at` is the state whose fresh check finds that something else is wanted; `writes` how
    often the journal can be written; `updated_at` the life before which a newer agent has written
    the record. With `polls`, that many polls are all that is looked at.
    """

    broken_download: bool = False
    empty_payload: bool = False
    device_type: str = DEVICE_TYPE
    withdrawn_at: State | None = None
    writes: int | None = None
    updated_at: int | None = None
    polls: int | None = None
    boots: Callable[[], None] = lambda: None  # what the firmware does at each start


@dataclass(frozen=True, slots=True)
class Ended:
    """How it all ended. `events` are what the agent would report, `calls` what was called until
    the last of them: afterwards the agent is idle, and that has scripts too."""

    events: tuple[Event, ...]
    artifact_name: str
    calls: tuple[str, ...]

    @property
    def last_word(self) -> Event | None:
        words = [event for event in self.events if event.kind is EventKind.FINISHED]
        return words[-1] if words else None


@dataclass
class ConformanceDevice:
    """Modules and image scripts are in `modules` and `scripts`; `run` installs one artifact."""

    root: Path
    world: World = field(default_factory=World)
    artifact_scripts: list[Path] = field(default_factory=list)

    @property
    def modules(self) -> Path:
        return self.root / "modules"

    @property
    def scripts(self) -> Path:
        return self.root / "scripts"

    @property
    def kept_scripts(self) -> Path:
        return self.root / "state" / "scripts"

    @property
    def artifact(self) -> Path:
        return self.root / "artifact.mender"

    def write_artifact(self) -> Component:
        """Write the artifact, and return the component that the manifest wants."""
        payload_file = self.root / "rootfs"
        payload_file.write_bytes(bytes(1000))
        provides, clears = software(MODULE, NEW_NAME)
        payload = NewPayload(MODULE, (payload_file,), provides, clears=clears)
        if self.world.empty_payload:
            payload = NewPayload(None)
        new = NewArtifact(
            NEW_NAME, (DEVICE_TYPE,), (payload,), scripts=tuple(self.artifact_scripts)
        )
        write_artifact(new, self.artifact, Encoding.RAW)
        data = self.artifact.read_bytes()
        stored = Artifact("hardware=x86", sha256_hex(data), len(data), len(data), Encoding.RAW)
        descriptor = Descriptor(
            "kiosk-app", "2", MENDER, Scope.DATA, 0, (stored,), health=Health(within=5, checks=())
        )
        return a_component("app", descriptor)

    def run(self) -> Ended:
        """Let the agent live, die and live again until it has had its last word."""
        (self.root / "state").mkdir()
        component = self.write_artifact()
        journal = self._journal()
        journal.drop_standalone({"artifact_name": OLD_NAME})
        journal.close()
        self._live_and_die(component)
        journal = self._journal()
        events, provides = journal.batch(room=1 << 22).events, journal.provides()
        journal.close()
        length = self.root / "state" / "calls"
        calls = list(Log(self.root).calls())
        if length.exists():
            calls = calls[: int(length.read_text())]
        while calls and calls[-1].startswith("Idle_Enter"):
            calls.pop()  # of the next round
        return Ended(events, provides["artifact_name"], tuple(calls))

    def _live_and_die(self, component: Component) -> None:
        unsaved = 0
        for life in range(MAX_LIVES):
            (self.root / "boot_id").write_text(secrets.token_hex(16))
            self.world.boots()
            if life == self.world.updated_at:
                self._newer_agent_was_here()
            status = in_child(lambda: self._life(component), self.root / "agent.log")
            unsaved += status == ExitCode.UNAVAILABLE
            if status == ExitCode.DONE or unsaved == UNSAVED_LIVES:
                return
            if status not in (-signal.SIGKILL, ExitCode.REBOOT, ExitCode.UNAVAILABLE):
                raise AssertionError(
                    f"the agent ended with status {status}:\n"
                    + (self.root / "agent.log").read_text()[-3000:]
                )
        raise AssertionError(f"no end after {MAX_LIVES} lives")

    def _newer_agent_was_here(self) -> None:
        journal = self._journal()
        with journal._transaction():
            journal._db.execute(_NEWER)
        journal.close()

    def _journal(self) -> Journal:
        return Journal(self.root / "state" / "journal.db", id="0" * 32)

    def _life(self, component: Component) -> int:
        journal = _WatchedJournal(self.root, self.world.writes)
        agent = Agent(journal, self._ports(journal, component), None, 3600, "1")
        try:
            for _ in range(self.world.polls or MAX_POLLS):
                agent.poll()
                if journal.last_outcome() is not None:
                    return ExitCode.DONE
        except JournalUnavailable:
            return ExitCode.UNAVAILABLE
        if self.world.polls:
            return ExitCode.DONE
        raise AssertionError(f"no end after {MAX_POLLS} polls: {journal.record()}")

    def _ports(self, journal: Journal, component: Component) -> Ports:
        environment = {"PATH": "/usr/bin:/bin"}
        scripts = StateScripts(
            self.scripts,
            self.kept_scripts,
            environment=environment,
            limits=SCRIPT_LIMITS,
            sleep=time.sleep,
            monotonic=time.monotonic,
        )
        policy = ArtifactPolicy(unsigned_bootstrap=UnsignedBootstrap.ACCEPT)
        settings = ModuleSettings(
            (self.modules,),
            self.root / "state",
            self.world.device_type,
            environment,
            MODULE_LIMITS,
        )
        installer = MenderInstaller(
            settings, policy, Installed(journal.provides, lambda _: None), scripts.keep
        )
        return Ports(
            trust=_Manifest(component, journal, self.world.withdrawn_at),
            source=_File(self.artifact, broken=self.world.broken_download),
            installer=lambda _: installer,
            bootloader=NoBootloader(self.root / "boot_id"),
            machine=ExitToReboot(),
            health=FakeHealth(),
            scripts=scripts,
            owner=FakeOwner(),
            clock=FakeClock(),
            attributes={"hardware": "x86"},
            new_id=lambda: secrets.token_hex(16),
        )


class _WatchedJournal(Journal):
    """A journal whose disk becomes read-only after `writes` records, whatever life writes them; it
    notes how many calls there were when the deployment ended."""

    def __init__(self, root: Path, writes: int | None) -> None:
        super().__init__(root / "state" / "journal.db", id="0" * 32)
        self._root, self._writes = root, writes

    def enter(self, record: Record, events: Iterable[Event] = ()) -> None:
        if self._writes is not None:
            self._wear_out(self._writes)
        super().enter(record, events)
        if record.state is State.IDLE:
            (self._root / "state" / "calls").write_text(str(len(Log(self._root).calls())))

    def _wear_out(self, writes: int) -> None:
        written = self._root / "state" / "writes"
        before = written.stat().st_size if written.exists() else 0
        if before >= writes:
            raise JournalUnavailable("the disk is read-only")
        written.write_bytes(b"." * (before + 1))


@dataclass
class _Manifest:
    """A Trust whose manifest wants the component, until it is withdrawn."""

    component: Component
    journal: Journal
    withdrawn_at: State | None

    def refresh(self) -> Trusted:
        manifest = a_manifest(a_set(self.component), stable=None)
        record = self.journal.record()
        if record is not None and record.state is self.withdrawn_at:
            manifest = replace(manifest, next=None)
        return a_trusted(manifest)

    def descriptor(self, _: object) -> Descriptor:
        return self.component.descriptor


@dataclass
class _File:
    """An ArtifactSource over a file."""

    path: Path
    broken: bool

    def stream(self, _: Artifact) -> Iterator[bytes]:
        if self.broken:
            raise TransientError("E_NOT_FOUND: http://127.0.0.1/nonexisting.mender answers 404")
        with self.path.open("rb") as file:
            while chunk := file.read(1 << 16):
                yield chunk


def in_child(work: Callable[[], int], log: Path) -> int:
    """Do `work` in a forked child; return its exit status, or minus the signal that killed it.

    Call only while single-threaded. A child that hangs is killed after a minute.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _work(work, log)
    deadline = time.monotonic() + CHILD_TIMEOUT
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"the agent hung: {log.read_text()[-3000:]}")


def _work(work: Callable[[], int], log: Path) -> NoReturn:
    status = 70
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        logging.basicConfig(filename=log, level=logging.INFO, force=True)
        status = work()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        logging.exception("the agent crashed")
    finally:
        os._exit(status)
