"""Builds the agent from its configuration: the only place that knows every adapter.

Imports that cost memory are inside functions: the daemon's resident loop imports this module too.
"""

import logging
import os
import random
import secrets
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from device_agent import durable
from device_agent.core.schedule import Polling
from device_agent.errors import AgentError, TransientError, UpdateRejected
from device_agent.exit_codes import ExitCode
from device_agent.fetch.http import HttpClient, Network
from device_agent.fetch.paced import Limits
from device_agent.journal import Journal, JournalDamaged, JournalUnavailable, open_journal
from device_agent.lock import Busy, locked
from device_agent.outlook import Outlook, outlook, report_due
from device_agent.settings import Misconfigured, Settings
from device_agent.trust.http_tree import HttpTree
from schemas.refusal import Code, Refusal
from schemas.wire.report import Event, EventKind, FailureClass

if TYPE_CHECKING:
    from device_agent.identity import Identity
    from device_agent.ports import Bootloader, Installer, Machine, Ports, Trust
    from device_agent.reporter import Reporter
    from device_agent.step import Agent

AGENT_VERSION = "fleetcd-agent/0.1.0"
ROOT_LIMIT = 512 * 1024  # bytes of root.json
FACTS_LIMIT = 8 * 1024  # bytes of a facts file: all of it has to fit into a report
MODULE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The daemon hears no signal while it asks; a request to end must not wait long.
PROBE_LIMITS = Limits(connect=5.0, headers=10.0, stall=5.0, total=15.0)

log = logging.getLogger(__name__)


def network(settings: Settings) -> Network:
    server = settings.server
    return Network(server.ca, server.proxy, frozenset(server.http_hosts))


def tree(settings: Settings, limits: Limits | None = None) -> HttpTree:
    """Return the published tree; every user of it gets a connection of its own."""
    return HttpTree(settings.server.tree, HttpClient(network(settings), limits or Limits()))


def journal(settings: Settings) -> Journal:
    """Open the journal. A damaged one is set aside and reported. Raises JournalUnavailable."""
    durable.make_directory(settings.device.state)
    opened, damage = open_journal(settings.journal, id=secrets.token_hex(16))
    if damage:
        log.error("a new journal was begun: %s", damage)
        event = Event(
            id=secrets.token_hex(16),
            kind=EventKind.REFUSED,
            at=datetime.now(UTC),
            boot_id=bootloader(settings).facts().boot_id,
            failure=FailureClass.UNKNOWN,
            code=Code.STATE,
            message=damage[:1000],
        )
        opened.refuse(damage, event)
    return opened


def agent(settings: Settings, opened: Journal) -> "Agent":
    """Build everything that a poll needs. Raises Misconfigured."""
    from device_agent.identity import Identity
    from device_agent.step import Agent

    _check_authority(settings)
    identity = Identity.load_or_create(settings.device.state / "device.key")
    return Agent(
        journal=opened,
        ports=_ports(settings, opened, identity),
        reporter=_reporter(settings, opened, identity) if settings.server.gateway else None,
        heartbeat=settings.reports.heartbeat,
        version=AGENT_VERSION,
    )


def _check_authority(settings: Settings) -> None:
    path = settings.server.ca
    if path is None:
        return  # the system's store; reading it takes time
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # of which SSLError is one
        why = "no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise Misconfigured(f"server.ca: {path}: {why}; name a PEM file of authorities") from error


def bootloader(settings: Settings) -> "Bootloader":
    if settings.boot.bootloader == "file" and settings.boot.directory:
        from device_agent.boot.file import FileBootloader

        return FileBootloader(settings.boot.directory)
    from device_agent.boot.none import NoBootloader

    return NoBootloader()


def facts(settings: Settings) -> dict[str, str]:
    """Return the device's facts: the configuration's, and those of its facts file."""
    found: dict[str, str] = {}
    path = settings.device.facts_file
    if path:
        try:
            with path.open("rb") as file:
                data = file.read(FACTS_LIMIT + 1)
            lines = data.decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"device.facts_file: {path}: {error}") from error
        if len(data) > FACTS_LIMIT:
            raise Misconfigured(f"device.facts_file: {path}: more than {FACTS_LIMIT} bytes")
        pairs = (line.partition("=") for line in lines if "=" in line and line[0] != "#")
        found = {key.strip(): value.strip() for key, _, value in pairs}
    return found | dict(settings.device.facts)


def step(settings: Settings) -> ExitCode:
    """One poll with everything it leads to, as the daemon's child runs it."""
    try:
        with locked(settings.device.state / "agent.lock"):
            done = agent(settings, journal(settings)).poll()
    except Busy as error:
        log.warning("%s", error)
        return ExitCode.LOCKED
    except (AgentError, Refusal, Misconfigured, OSError) as error:
        log.error("nothing can be done now: %s", error)
        return ExitCode.UNAVAILABLE
    if done.trouble:
        return ExitCode.UNAVAILABLE
    if done.result == "waiting":
        return ExitCode.WAITING
    return ExitCode.AGAIN if done.worked else ExitCode.DONE


def daemon(settings: Settings) -> int:
    """Poll until asked to end. Raises Busy when another daemon runs; returns the exit status."""
    from device_agent.daemon import ForkedWork, Loop, Probe, Signals, notify

    durable.make_directory(settings.device.state)
    with locked(settings.device.state / "daemon.lock"):
        signals = Signals()
        poll = settings.poll
        loop = Loop(
            work=ForkedWork(lambda: step(settings), signals, poll.step_timeout),
            probe=Probe(tree(settings, PROBE_LIMITS)),
            outlook=lambda: _outlook(settings),
            pause=signals.pause,
            polling=Polling(poll.interval, poll.jitter, poll.initial_delay),
            uniform=random.SystemRandom().uniform,
        )
        notify("READY=1")
        log.info("%s polls %s", settings.device.name, settings.server.tree)
        status = loop.run()
        notify("STOPPING=1")
        return status


def _outlook(settings: Settings) -> Outlook:
    """Look into the journal; one that cannot be read needs the child's care."""
    try:
        with closing(Journal(settings.journal, id=secrets.token_hex(16))) as opened:
            due = report_due(opened, datetime.now(UTC), settings.reports.heartbeat)
            return outlook(opened, reports=due and settings.server.gateway is not None)
    except (JournalDamaged, JournalUnavailable):
        return Outlook(busy=True)


def _ports(settings: Settings, opened: Journal, identity: "Identity") -> "Ports":
    from device_agent.fetch.download import ARTIFACT_LIMITS, HttpArtifactSource
    from device_agent.health import HealthRunner, HealthSettings, health_environment
    from device_agent.machine import SystemClock
    from device_agent.ports import Ports

    loader = bootloader(settings)
    installers = _Installers(settings, opened, loader)
    slot = settings.boot.slots.get(loader.facts().running)
    environment = health_environment(MODULE_PATH, settings.device.state, slot)
    return Ports(
        trust=_trust(settings, identity),
        source=HttpArtifactSource(
            settings.server.tree, HttpClient(network(settings), ARTIFACT_LIMITS)
        ),
        installer=installers.find,
        bootloader=loader,
        machine=_machine(settings),
        health=HealthRunner(
            HealthSettings(environment), lambda: _reachable(settings), SystemClock(), time.sleep
        ),
        scripts=_NoScripts(),
        owner=_NoOwner(),
        clock=SystemClock(),
        attributes=facts(settings),
        new_id=lambda: secrets.token_hex(16),
    )


def _trust(settings: Settings, identity: "Identity") -> "Trust":
    from device_agent.machine import SystemClock
    from device_agent.trust.tuf_trust import TrustSettings, TufTrust

    path = settings.trust.root
    try:
        with path.open("rb") as file:
            root = file.read(ROOT_LIMIT)
    except OSError as error:
        raise Misconfigured(f"trust.root: {path}: {error.strerror}") from error
    state = settings.device.state / "trust"
    state.mkdir(mode=0o700, exist_ok=True)
    return TufTrust(TrustSettings(state, root, identity.key_id), tree(settings), SystemClock())


def _reporter(settings: Settings, opened: Journal, identity: "Identity") -> "Reporter":
    from device_agent.gateway_client import HttpsGateway
    from device_agent.machine import SystemClock
    from device_agent.reporter import Introduction, Reporter

    assert settings.server.gateway  # noqa: S101 - the caller has looked
    return Reporter(
        journal=opened,
        gateway=HttpsGateway(settings.server.gateway, network(settings)),
        identity=identity,
        clock=SystemClock(),
        introduction=Introduction(settings.device.name, facts(settings)),
    )


def _machine(settings: Settings) -> "Machine":
    from device_agent.machine import ExitToReboot, RebootCommand

    command = settings.machine.reboot
    return ExitToReboot() if command == "exit" else RebootCommand(command)


def _reachable(settings: Settings) -> bool:
    source = tree(settings)
    try:
        with source.open("metadata/timestamp.json", None):
            return True
    except (TransientError, UpdateRejected):  # also a captive portal's redirect
        return False
    finally:
        source.close()


class _Installers:
    """Finds the installer that a descriptor names: rootfs-ab, or an Update Module."""

    def __init__(self, settings: Settings, opened: Journal, loader: "Bootloader") -> None:
        self._settings, self._journal, self._loader = settings, opened, loader

    def find(self, name: str) -> "Installer":
        from device_agent.install.rootfs_ab import RootfsAB
        from device_agent.modules.installer import ModuleSettings, UpdateModuleInstaller
        from device_agent.modules.program import Limits as ModuleLimits
        from schemas.wire.descriptor import ROOTFS_AB

        settings = self._settings
        if name == ROOTFS_AB:
            return RootfsAB(settings.boot.slots, self._loader, settings.device.state)
        shared = ModuleSettings(
            directories=settings.modules.directories,
            state_dir=settings.device.state,
            device_type=facts(settings).get("hardware", ""),
            environment=_environment(),
            limits=ModuleLimits(timeout=settings.modules.timeout),
        )
        return UpdateModuleInstaller(name, shared, self._installed)

    def _installed(self, component: str) -> str | None:
        installed = self._journal.installed()
        ref = installed.running.content.components.get(component) if installed else None
        return ref.release if ref else None


def _environment() -> Mapping[str, str]:
    return {"PATH": MODULE_PATH, "LANG": os.environ.get("LANG", "C.UTF-8")}


class _NoScripts:
    def run(self, state: object, action: object, components: object) -> None:
        pass

    def check_image(self) -> None:
        pass

    def clear(self) -> None:
        pass


class _NoOwner:
    def objection(self, gate: object) -> str | None:
        return None
