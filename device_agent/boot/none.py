"""The bootloader of a device without slots: containers, and boards updated by modules only."""

from pathlib import Path

from device_agent.errors import InstallFailed
from device_agent.ports import BootFacts
from schemas.wire.report import FailureClass

KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class NoBootloader:
    """Facts without slots; the boot id is the kernel's."""

    def __init__(self, boot_id: Path = KERNEL_BOOT_ID) -> None:
        self._boot_id = boot_id

    def facts(self) -> BootFacts:
        boot_id = self._boot_id.read_text(encoding="ascii").strip().replace("-", "")
        return BootFacts(boot_id=boot_id, running="", primary="", trial=None)

    def activate(self, slot: str, *, tries: int) -> None:
        raise InstallFailed(
            f"slot {slot} cannot be tried {tries} times: this device has no slots",
            FailureClass.REBOOT,
        )

    def commit(self) -> None:
        """No slot, nothing to commit."""

    def cancel(self) -> None:
        """No slot, no trial."""

    def adopt(self) -> None:
        """No slot, no primary."""
