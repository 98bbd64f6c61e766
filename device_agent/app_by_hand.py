"""Builds what an update by hand needs, and loads no more: it is a process of its own."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from device_agent.app_device import network
from device_agent.app_installing import (
    artifact_keys,
    artifact_policy,
    mender,
    module_settings,
    scripts,
)
from device_agent.journal import Journal
from device_agent.settings import Local

if TYPE_CHECKING:
    from device_agent.standalone import Standalone
    from device_agent.standalone_source import Incoming


def standalone(settings: Local, opened: Journal, say: Callable[[str], None]) -> "Standalone":
    """Return the commands for an update by hand. Raises Misconfigured."""
    from device_agent.standalone import Standalone
    from device_agent.standalone_steps import World
    from device_agent.standalone_trees import preparing

    modules = module_settings(settings)
    world = World(
        installer=mender(settings, opened),
        scripts=scripts(settings),
        prepare=preparing(modules, opened.provides),
        policy=artifact_policy(settings),
        device_type=modules.device_type,
        say=say,
    )
    return Standalone(opened, world)


def incoming(settings: Local, text: str) -> "Incoming":
    """Return where an update by hand comes from: a file, an address, or standard input (`-`)."""
    from device_agent.standalone_source import source

    return source(text, lambda: network(settings.server), artifact_keys(settings))
