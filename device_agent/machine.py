"""How this machine restarts, and what time it has."""

import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from device_agent.errors import InstallFailed
from device_agent.exit_codes import ExitCode
from device_agent.ports import Sleep
from schemas.wire.report import FailureClass

COMMAND_TIMEOUT = 60.0  # seconds that the reboot command itself may take
DEATH_WITHIN = 600.0  # seconds until the restart must have ended this process (Mender's 10 minutes)


class RebootCommand:
    """Runs a command such as `systemctl reboot` and waits to be ended by it."""

    def __init__(
        self, argv: Sequence[str], sleep: Sleep = time.sleep, *, death_within: float = DEATH_WITHIN
    ) -> None:
        self._argv, self._sleep, self._death_within = tuple(argv), sleep, death_within

    def reboot(self) -> None:
        command = " ".join(self._argv)
        try:
            subprocess.run(self._argv, check=True, timeout=COMMAND_TIMEOUT)
        except (OSError, subprocess.SubprocessError) as error:
            raise InstallFailed(f"{command!r}: {error}", FailureClass.REBOOT) from error
        self._sleep(self._death_within)
        raise InstallFailed(
            f"{command!r} did not restart the machine within {self._death_within:.0f} s",
            FailureClass.REBOOT,
        )


class ExitToReboot:
    """Ends this process with status 75; a supervisor plays the bootloader and starts it again."""

    def reboot(self) -> None:
        sys.exit(ExitCode.REBOOT)


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
