"""The bootloader contract's rig for GRUB: the adapter, a board, and grub.cfg told in Python."""

from collections.abc import Callable, Iterator
from pathlib import Path

from device_agent.boot.environment_bootloader import EnvironmentBootloader
from device_agent.boot.grub import GrubVariables, Overwrite, overwrite
from device_agent.boot.scheme import FleetcdScheme
from device_agent.ports import Bootloader
from tests.support.boot_board import Board, Disk, put_back, take, torn
from tests.support.grub_device import BOTH, NAMES, boot, settled


class Grub:
    """A device whose boot partition is a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._board = Board(directory)
        self._partition = directory / "boot"
        self._partition.mkdir()
        self._copies = self._partition / NAMES[0], self._partition / NAMES[1]
        for path in self._copies:
            path.write_bytes(settled())
        self.unloadable: set[str] = set()
        self.power_cycle()

    @property
    def bootloader(self) -> Bootloader:
        return self._adapter(overwrite)

    def power_cycle(self) -> str:
        slot = boot(self._copies, BOTH - self.unloadable)
        assert slot is not None
        return self._board.start(slot)

    def cuts(self, act: Callable[[Bootloader], object]) -> Iterator[None]:
        """Every overwrite cut short, after some of its bytes."""
        states: list[Disk] = []
        running = self._board.running()

        def recording(path: Path, block: bytes) -> None:
            states.append(take(self._partition))
            overwrite(path, block)

        act(self._adapter(recording))
        for state in torn([*states, take(self._partition)]):
            put_back(self._partition, state)
            self._board.start(running)
            yield

    def damage(self, copy: int) -> None:
        self._copies[copy].write_bytes(bytes(len(settled())))

    def _adapter(self, overwrite: Overwrite) -> Bootloader:
        return EnvironmentBootloader(
            GrubVariables(self._copies, overwrite),
            FleetcdScheme(),
            self._board.running,
            self._board.boot_id,
        )
