"""What a device is made of, as its configuration says: its journal, its bootloader, its facts."""

import logging
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from device_agent import durable
from device_agent.journal import Journal, open_journal
from device_agent.settings import Boot, Local, Misconfigured, Server
from schemas.refusal import Code
from schemas.wire.report import Event, EventKind, FailureClass

if TYPE_CHECKING:
    from device_agent.boot.scheme import Scheme
    from device_agent.boot.variables import Variables
    from device_agent.fetch.http import Network
    from device_agent.ports import Bootloader

FACTS_LIMIT = 8 * 1024  # bytes of a facts file: all of it has to fit into a report
MODULE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The agent's own interpreter, and what systemd tells the agent alone: sd_notify(3),
# sd_watchdog_enabled(3), sd_listen_fds(3).
_OURS = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "NOTIFY_SOCKET"})
_OURS_BY_PREFIX = ("WATCHDOG_", "LISTEN_")

log = logging.getLogger(__name__)


def network(server: Server | None) -> "Network":
    from device_agent.fetch.http import Network

    if server is None:
        return Network()
    return Network(server.ca, server.proxy, frozenset(server.http_hosts))


def journal(settings: Local) -> Journal:
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


def bootloader(settings: Local) -> "Bootloader":
    """Return the bootloader's adapter. Raises InstallFailed for slots that say no partition."""
    boot = settings.boot
    if boot.bootloader == "file" and boot.directory:
        from device_agent.boot.file import FileBootloader

        return FileBootloader(boot.directory)
    if boot.bootloader == "none":
        from device_agent.boot.none import NoBootloader

        return NoBootloader()
    from device_agent.boot.environment_bootloader import EnvironmentBootloader
    from device_agent.boot.running import MountedRoot, boot_id

    return EnvironmentBootloader(_variables(boot), _scheme(boot), MountedRoot(boot.slots), boot_id)


def _variables(boot: Boot) -> "Variables":
    if boot.bootloader == "uboot":
        from device_agent.boot.uboot import UBootVariables

        return UBootVariables(boot.environments, environment())
    from device_agent.boot.grub import GrubVariables

    first, second = boot.environments
    return GrubVariables((first, second))


def _scheme(boot: Boot) -> "Scheme":
    if boot.variables == "mender":
        from device_agent.boot.mender_scheme import MenderScheme

        return MenderScheme.of_devices({name: path.resolve() for name, path in boot.slots.items()})
    from device_agent.boot.scheme import FleetcdScheme

    return FleetcdScheme()


def facts(settings: Local) -> dict[str, str]:
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


def environment() -> Mapping[str, str]:
    """Return what modules, state scripts and the owner's programs get: ours, as with Mender,
    but for what is meant for the agent's process alone."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _OURS and not name.startswith(_OURS_BY_PREFIX)
    }
    return {"PATH": MODULE_PATH, "LANG": "C.UTF-8"} | inherited
