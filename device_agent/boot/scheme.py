"""What boot variables mean: our own names here, Mender's in `mender_scheme`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from device_agent.errors import InstallFailed
from schemas.wire.report import FailureClass

MOST_TRIES = 9  # one digit: bootloaders count in decimal or hexadecimal, or compare digits

PRIMARY, TRIAL, LEFT = "fleetcd_primary", "fleetcd_trial", "fleetcd_left"
NO_TRIAL = "none"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the bootloader starts: `trial` for the next `tries` boots if any, else `primary`.

    A trial without tries has had its last start, and may run.
    """

    primary: str
    trial: str | None = None
    tries: int = 0


class Scheme(Protocol):
    """Names and values of boot variables. Both methods are pure."""

    def choice(self, variables: Mapping[str, str]) -> Choice:
        """Raises InstallFailed (REBOOT), saying what to set, when they name no primary slot."""
        ...

    def changes(self, variables: Mapping[str, str], choice: Choice) -> Mapping[str, str]:
        """Return what to write beside `variables` so that they mean `choice`.

        Raises InstallFailed (REBOOT) when the bootloader would not see or not heed it.
        """
        ...


class FleetcdScheme:
    """Our own: `fleetcd_primary` (a|b), `fleetcd_trial` (a|b|none), `fleetcd_left` (0 to 9).

    The boot script takes one off `fleetcd_left`, and saves it, before it starts the trial. What it
    cannot understand it takes for no trial, and so does this.
    """

    def __init__(self, slots: tuple[str, ...] = ("a", "b")) -> None:
        self._slots = slots

    def choice(self, variables: Mapping[str, str]) -> Choice:
        primary = variables.get(PRIMARY, "")
        if primary not in self._slots:
            raise InstallFailed(
                f"boot variable {PRIMARY} is {primary!r}, not {' or '.join(self._slots)}: restart"
                f" the device so that its boot script sets it, or set it to the slot that runs",
                FailureClass.REBOOT,
            )
        trial, left = variables.get(TRIAL), variables.get(LEFT, "")
        if trial is None or trial == primary or trial not in self._slots:
            return Choice(primary)
        return Choice(primary, trial, int(left) if left in set("0123456789") else 0)

    def changes(
        self,
        variables: Mapping[str, str],  # noqa: ARG002 - the protocol's shape
        choice: Choice,
    ) -> Mapping[str, str]:
        return {
            PRIMARY: choice.primary,
            TRIAL: choice.trial or NO_TRIAL,
            LEFT: str(choice.tries),
        }
