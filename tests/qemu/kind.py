"""What differs between boards: the processor, the bootloader, and where its variables lie."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from tests.qemu.init import Init
from tests.qemu.partitions import Disk


class Kind(Protocol):
    """One kind of board. Names are Debian's where Debian has some."""

    @property
    def name(self) -> str: ...

    @property
    def architecture(self) -> str: ...

    @property
    def packages(self) -> tuple[str, ...]:
        """What a root filesystem needs besides what every board needs."""
        ...

    @property
    def programs(self) -> tuple[str, ...]:
        """Those of its packages that it needs."""
        ...

    @property
    def init(self) -> Init: ...

    @property
    def boot_partition(self) -> str:
        """The partition type of the one that the bootloader comes from."""
        ...

    def machine(self, disk: Disk) -> tuple[str, ...]:
        """Return QEMU's program and the arguments for processor, firmware and memory."""
        ...

    def image_files(self) -> Mapping[str, bytes]:
        """Return files of a root filesystem, by path. Of them, `/etc/board` is run by init."""
        ...

    def boot_section(self) -> str:
        """Return the section `[boot]` of agent.toml."""
        ...

    def install(self, disk: Disk, scratch: Path) -> None:
        """Put the bootloader and its variables on a new disk whose slots are filled: slot a runs.

        `scratch` is an empty directory.
        """
        ...

    def variables(self, disk: Disk) -> list[Mapping[str, str] | None]:
        """Return both copies of the boot variables, None for one that is not intact."""
        ...

    def spoil(self, disk: Disk, copy: int) -> None:
        """Let the sector with the first variables of `copy` (0 or 1) hold noise."""
        ...
