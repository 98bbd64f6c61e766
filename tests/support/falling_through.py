"""The file bootloader's firmware with slots that cannot be loaded. As in boot.cmd and grub.cfg,
such a slot makes way for the other one in the same boot."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from device_agent.boot.environment import load, save
from device_agent.boot.firmware import boot

OTHER = {"a": "b", "b": "a"}


def start(directory: Path, loads: Callable[[str], bool]) -> str:
    """Boot; return the slot that runs. The variables do not tell that another one should."""
    chosen = boot(directory).slot
    if loads(chosen):
        return chosen
    running = OTHER[chosen]
    assert loads(running), "neither slot starts"
    variables = load(directory)
    assert variables
    save(directory, replace(variables, running=running))
    return running
