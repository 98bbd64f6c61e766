"""Mender's boot variables, so that a board integrated for Mender keeps its boot scripts. Pure.

`mender_boot_part` (and `mender_boot_part_hex`) is the partition that starts. With
`upgrade_available=1` it is on trial: the bootloader adds one to `bootcount` at each boot, and with
more than `bootlimit` goes back to the other partition and clears `upgrade_available`.

Mender itself never sets `bootlimit`, and its boards come with 1. Here it is set to the tries that
are asked for, where the board has the variable (U-Boot's own boot counter). A board without it
(Mender's GRUB scripts) gives every trial one start, whatever is asked for.
"""

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Self

from device_agent.boot.scheme import Choice
from device_agent.errors import InstallFailed
from schemas.wire.report import FailureClass

PART, PART_HEX = "mender_boot_part", "mender_boot_part_hex"
UPGRADE, COUNT, LIMIT = "upgrade_available", "bootcount", "bootlimit"
CHECK_CANARY, CANARY = "mender_check_saveenv_canary", "mender_saveenv_canary"

_PARTITION = re.compile(r"/dev/(?:[a-z0-9]*[0-9]p|(?:sd|hd|vd|xvd)[a-z]+)([1-9][0-9]{0,2})")


def partition_number(device: PurePath) -> int:
    """Return 2 for `/dev/mmcblk0p2` and `/dev/sda2`. Raises InstallFailed for other names."""
    found = _PARTITION.fullmatch(str(device))
    if not found:
        raise _failed(
            f"boot.slots: {device} does not end in a partition's number, which Mender's variables"
            " need: name the slots as /dev/mmcblk0p2 or /dev/sda2"
        )
    return int(found[1])


class MenderScheme:
    """`partitions` are the slots' partition numbers: exactly two."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        if len(partitions) != 2 or len(set(partitions.values())) != 2:
            raise _failed(f"boot.slots: Mender's variables need two partitions, not {partitions}")
        self._partitions = dict(partitions)

    @classmethod
    def of_devices(cls, slots: Mapping[str, PurePath]) -> Self:
        """Take the numbers from the slots' device names. Raises InstallFailed."""
        return cls({slot: partition_number(device) for slot, device in slots.items()})

    def choice(self, variables: Mapping[str, str]) -> Choice:
        chosen = self._slot(variables)
        if variables.get(UPGRADE) != "1":
            return Choice(chosen)
        limit, count = _number(variables, LIMIT, 1), _number(variables, COUNT, 0)
        return Choice(self._other(chosen), chosen, max(limit - count, 0))

    def changes(self, variables: Mapping[str, str], choice: Choice) -> Mapping[str, str]:
        if choice.trial is None:
            return self._starting(choice.primary) | {UPGRADE: "0"}
        _require_canary(variables)
        limit = {LIMIT: str(choice.tries)} if LIMIT in variables else {}
        return self._starting(choice.trial) | {UPGRADE: "1", COUNT: "0"} | limit

    def _starting(self, slot: str) -> dict[str, str]:
        number = self._partitions[slot]
        return {PART: str(number), PART_HEX: f"{number:x}"}

    def _slot(self, variables: Mapping[str, str]) -> str:
        part = variables.get(PART, "")
        for slot, number in self._partitions.items():
            if part == str(number):
                return slot
        expected = ", ".join(f"{slot} = {number}" for slot, number in self._partitions.items())
        raise _failed(
            f"boot variable {PART} is {part!r}, none of the slots' partitions ({expected}): correct"
            " boot.slots or boot.environments, or set it to the partition that runs"
        )

    def _other(self, slot: str) -> str:
        return next(other for other in self._partitions if other != slot)


def _require_canary(variables: Mapping[str, str]) -> None:
    """Refuse a trial of which U-Boot would not hear: it saved its own sign somewhere else."""
    if variables.get(CHECK_CANARY) == "1" and variables.get(CANARY) != "1":
        raise _failed(
            f"U-Boot did not set {CANARY} in this environment: make fw_env.config name the place"
            " where U-Boot saves its own, and its boot script run mender_setup"
        )


def _number(variables: Mapping[str, str], name: str, default: int) -> int:
    """Return a count as U-Boot reads it: decimal digits, anything else is not there."""
    text = variables.get(name, "")
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else default


def _failed(message: str) -> InstallFailed:
    return InstallFailed(message, FailureClass.REBOOT)
