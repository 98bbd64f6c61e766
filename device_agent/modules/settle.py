"""Brings to the disk what a module wrote, before anything depends on it."""

import logging
from collections.abc import Mapping

from device_agent.process import run

TIMEOUT = 60.0  # seconds; a file system that hangs, of a server that is away, must not hang us

log = logging.getLogger(__name__)


def settle(environment: Mapping[str, str]) -> None:
    """Sync all disks. Mender leaves that to its modules, many of which do not.

    In a child, since sync(2) cannot be interrupted. When it fails the update goes on: without a
    power cut just now nothing is lost.
    """
    try:
        done = run(["sync"], timeout=TIMEOUT, environment=environment)
    except OSError as error:
        log.warning("the disks were not synced: sync: %s", error.strerror)
        return
    if not done.ok:
        log.warning("the disks were not synced: sync %s", done)
