"""GRUB's environment: two files on a filesystem that GRUB can write (docs/integration/grub/)."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from device_agent import durable
from device_agent.boot.grub_block import CHECKED, Copy, encode, newest, seal, unseal
from device_agent.errors import InstallFailed
from schemas.wire.report import FailureClass

LIMIT = 64 * 1024  # bytes read of a copy; GRUB itself reads a file of any size

_EMPTY = encode({})
_ANEW = re.compile(r"(?<!\S)fleetcd\.anew=([ab])(?!\S)")

Overwrite = Callable[[Path, bytes], None]


def overwrite(path: Path, block: bytes) -> None:
    """Put `block` where `path` lies on the disk already, durably. Raises OSError.

    No rename: GRUB saves into the very blocks that the file has, and replays no journal.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(block)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    durable.sync_directory(path.parent)  # for a copy that was missing


def begun_anew(command_line: Path = Path("/proc/cmdline")) -> str | None:
    """Return the slot that the boot script made the primary, for want of an intact copy.

    None when it found one, or says nothing.
    """
    text = _read(command_line) or b""
    found = _ANEW.search(text.decode("latin-1"))
    return found[1] if found else None


class GrubVariables:
    """The variables in two copies, of which the boot script takes the same one as we do.

    `copies` are in the boot script's order. A copy that is lost is written anew with the next
    change. With both lost nothing is invented. Where the boot script was the first to see it, what
    it decided is saved: GRUB can save only into a block that it understands. Else both are emptied,
    and the boot script begins anew at the next start.
    """

    def __init__(
        self,
        copies: tuple[Path, Path],
        overwrite: Overwrite = overwrite,
        begun: Callable[[], str | None] = begun_anew,
    ) -> None:
        self._copies, self._overwrite, self._begun = copies, overwrite, begun

    def read(self) -> Mapping[str, str]:
        return self._load()[1].variables

    def write(self, changes: Mapping[str, str]) -> None:
        """The copy that counts is overwritten last: until then the other one is whole, or not."""
        place, now, settled = self._load()
        wanted = {name: value for name, value in {**now.variables, **changes}.items() if value}
        if settled and wanted == now.variables:
            return
        try:
            block = seal(Copy(now.sequence + 1, wanted))
            for path in (self._copies[1 - place], self._copies[place]):
                self._overwrite(path, block)
        except ValueError as error:
            raise self._failed(str(error)) from error
        except OSError as error:
            raise self._failed(f"cannot be saved: {error.strerror}") from error

    def _load(self) -> tuple[int, Copy, bool]:
        """Return the place of the copy that counts, what it holds, and whether the other agrees."""
        blocks = [_read(path) for path in self._copies]
        found = _counting(blocks)
        if found is None:
            slot = self._begun()
            self._replace(blocks, _first(slot) if slot else _EMPTY)
            found = _counting([_read(path) for path in self._copies]) if slot else None
        if found is None:
            raise self._failed(
                "no copy is intact; mount the boot partition if it is not, then restart the device"
                " so that its boot script begins anew"
            )
        return found

    def _replace(self, damaged: Sequence[bytes | None], new: bytes) -> None:
        """Nothing is lost by it. Not a copy that cannot be read, or is just being written."""
        for path, block in zip(self._copies, damaged, strict=True):
            if block not in (None, new) and _read(path) == block:
                with suppress(OSError):  # whoever asked is told in any case
                    self._overwrite(path, new)

    def _failed(self, what: str) -> InstallFailed:
        names = " and ".join(map(str, self._copies))
        return InstallFailed(f"GRUB environment {names}: {what}", FailureClass.REBOOT)


def _counting(blocks: Sequence[bytes | None]) -> tuple[int, Copy, bool] | None:
    """Return what _load() does, None when no copy is intact."""
    first, second = (unseal(block) if block is not None else None for block in blocks)
    place = newest((first, second))
    counting = (first, second)[place] if place is not None else None
    return None if place is None or counting is None else (place, counting, first == second)


def _first(slot: str) -> bytes:
    """Return the block that the boot script begins anew with."""
    return seal(Copy(1, dict(zip(CHECKED, (slot, "none", "0"), strict=True))))


def _read(path: Path) -> bytes | None:
    """Return the block in `path`; None for one that is missing or cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(LIMIT)
    except OSError:
        return None
