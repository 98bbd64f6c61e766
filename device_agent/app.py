"""Builds the agent from its configuration: the only place that knows every adapter.

Imports that cost memory are inside functions: the daemon's resident loop imports this module too.
"""

import logging
import random
import secrets
import ssl
import time
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent import durable
from device_agent.app_device import MODULE_PATH, environment, facts, network
from device_agent.app_device import bootloader as bootloader
from device_agent.app_device import journal as journal
from device_agent.app_installing import Installers, artifact_policy, bootstrap, scripts
from device_agent.core.schedule import Polling
from device_agent.core.scripts import ScriptState
from device_agent.errors import AgentError, InstallFailed, TransientError, UpdateRejected
from device_agent.exit_codes import ExitCode
from device_agent.fetch.http import HttpClient
from device_agent.fetch.paced import Limits
from device_agent.journal import Journal, JournalDamaged, JournalUnavailable
from device_agent.lock import Busy, locked
from device_agent.outlook import Outlook, outlook, report_due
from device_agent.scripts.directory import has_any
from device_agent.settings import Local, Misconfigured, Settings
from device_agent.status import About, Reading, answering, look, to_bytes
from device_agent.trust.http_tree import HttpTree
from schemas.refusal import Refusal

if TYPE_CHECKING:
    from device_agent.identity import Identity
    from device_agent.ports import Machine, Ports, Trust
    from device_agent.reporter import Reporter
    from device_agent.step import Agent

AGENT_VERSION = "fleetcd-agent/0.1.0"
ROOT_LIMIT = 512 * 1024  # bytes of root.json


class Who(StrEnum):
    """Who reads the journal for a status."""

    DAEMON = "daemon"
    COMMAND = "command"


# The daemon hears no signal while it asks; a request to end must not wait long.
PROBE_LIMITS = Limits(connect=5.0, headers=10.0, stall=5.0, total=15.0)

log = logging.getLogger(__name__)


def tree(settings: Settings, limits: Limits | None = None) -> HttpTree:
    """Return the published tree; every user of it gets a connection of its own."""
    return HttpTree(settings.server.tree, HttpClient(network(settings.server), limits or Limits()))


def agent(settings: Settings, opened: Journal) -> "Agent":
    """Build everything that a poll needs. Raises Misconfigured."""
    from device_agent.identity import Identity
    from device_agent.step import Agent

    _check_authority(settings)
    if settings.artifacts.verify_keys:
        artifact_policy(settings)  # a key that cannot be read must not fail a deployment
    identity = Identity.load_or_create(settings.device.state / "device.key")
    return Agent(
        journal=opened,
        ports=_ports(settings, opened, identity),
        reporter=_reporter(settings, opened, identity) if settings.server.gateway else None,
        heartbeat=settings.reports.heartbeat,
        version=AGENT_VERSION,
        bootstrap=lambda: bootstrap(settings, opened),
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
    from device_agent.watchdog import guarding

    boot = settings.boot
    durable.make_directory(settings.device.state)
    with (
        locked(settings.device.state / "daemon.lock"),
        answering(socket_path(settings), lambda: to_bytes(status(settings, Who.DAEMON))) as answer,
        guarding(boot.watchdog, int(boot.watchdog_timeout)) as guard,
    ):

        def look() -> None:
            guard.ping()
            answer()

        def poll_in_child() -> int:
            guard.forget()
            return step(settings)

        signals = Signals(look)
        poll = settings.poll
        loop = Loop(
            work=ForkedWork(poll_in_child, signals, poll.step_timeout),
            probe=Probe(tree(settings, PROBE_LIMITS)),
            outlook=lambda: _outlook(settings),
            pause=signals.pause,
            polling=Polling(poll.interval, poll.jitter, poll.initial_delay),
            uniform=random.SystemRandom().uniform,
        )
        notify("READY=1")
        log.info("%s polls %s", settings.device.name, settings.server.tree)
        ended = loop.run()
        guard.stand_down(ended, lambda: bootloader(settings).facts())
        notify("STOPPING=1")
        return ended


def socket_path(settings: Local) -> Path | None:
    """Return where the daemon answers local applications, if it does."""
    return None if settings.owner.status == "none" else settings.owner.status


def status(settings: Local, who: Who) -> Reading:
    """Return how the device stands, as the journal and the bootloader say."""
    about = About(settings.device.name, AGENT_VERSION, who is Who.DAEMON)
    return look(about, settings.journal, lambda: bootloader(settings).facts(), datetime.now(UTC))


def _outlook(settings: Settings) -> Outlook:
    """Look into the journal; one that cannot be read needs the child's care."""
    try:
        with closing(Journal(settings.journal, id=secrets.token_hex(16))) as opened:
            due = report_due(opened, datetime.now(UTC), settings.reports.heartbeat)
            reports = due and settings.server.gateway is not None
            return outlook(opened, reports=reports, scripted=_scripted(settings))
    except (JournalDamaged, JournalUnavailable):
        return Outlook(busy=True)


def _scripted(settings: Local) -> bool:
    """Say whether a poll has to run state scripts. The child says what is wrong with them."""
    try:
        return has_any(settings.scripts.directory, (ScriptState.IDLE, ScriptState.SYNC))
    except InstallFailed:
        return True


def _ports(settings: Settings, opened: Journal, identity: "Identity") -> "Ports":
    from device_agent.fetch.download import ARTIFACT_LIMITS, HttpArtifactSource
    from device_agent.health import HealthRunner, HealthSettings, health_environment
    from device_agent.machine import SystemClock
    from device_agent.owner import InhibitDirectory
    from device_agent.ports import Ports

    loader = bootloader(settings)
    installers = Installers(settings, opened, loader)
    slot = settings.boot.slots.get(loader.facts().running)
    checks = health_environment(MODULE_PATH, settings.device.state, slot)
    return Ports(
        trust=_trust(settings, identity),
        source=HttpArtifactSource(
            settings.server.tree, HttpClient(network(settings.server), ARTIFACT_LIMITS)
        ),
        installer=installers.find,
        bootloader=loader,
        machine=_machine(settings),
        health=HealthRunner(
            HealthSettings(checks), lambda: _reachable(settings), SystemClock(), time.sleep
        ),
        scripts=scripts(settings),
        owner=InhibitDirectory(settings.owner.inhibit, environment()),
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
        gateway=HttpsGateway(settings.server.gateway, network(settings.server)),
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
