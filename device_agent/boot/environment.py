"""The file bootloader's variables, in two copies with sequence numbers and checksums.

Two copies as in U-Boot's redundant environment: each save writes the older copy first and then the
other, so that one intact copy always exists, and a copy that rots costs nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from device_agent import durable
from schemas.canonical import sha256_hex
from schemas.refusal import Refusal
from schemas.wire.decode import Matching, decode, encode
from schemas.wire.types import Count, Sha256

COPIES = ("env.0.json", "env.1.json")
LIMIT = 4096  # bytes of a copy

Slot = Annotated[str, Matching(r"[a-z0-9][a-z0-9_-]{0,31}")]
BootId = Annotated[str, Matching(r"[0-9a-f]{32}")]


@dataclass(frozen=True, slots=True)
class Environment:
    """What the bootloader knows. `tries` counts the starts that `trial` still has."""

    primary: Slot
    trial: Slot | None
    tries: Count
    running: Slot
    boot_id: BootId
    boots: Count


@dataclass(frozen=True, slots=True)
class Copy:
    """One file. `checksum` is over the canonical JSON of `variables`."""

    sequence: Count
    checksum: Sha256
    variables: Environment


def load(directory: Path) -> Environment | None:
    """Return the newest intact variables in `directory`, or None when no copy is intact."""
    newest = _newest(_read_both(directory))
    return newest.variables if newest else None


def save(directory: Path, variables: Environment) -> None:
    """Store `variables` durably, twice. Raises OSError; then the old or the new ones hold."""
    copies = _read_both(directory)
    newest = _newest(copies)
    copy = Copy(
        sequence=newest.sequence + 1 if newest else 1,
        checksum=sha256_hex(encode(variables)),
        variables=variables,
    )
    older_first = sorted(copies, key=lambda name: _sequence(copies[name]))
    for name in older_first:
        durable.write(directory / name, encode(copy) + b"\n")


def _read_both(directory: Path) -> dict[str, Copy | None]:
    return {name: _read(directory / name) for name in COPIES}


def _newest(copies: dict[str, Copy | None]) -> Copy | None:
    return max(copies.values(), key=_sequence)


def _sequence(copy: Copy | None) -> int:
    return copy.sequence if copy else -1


def _read(path: Path) -> Copy | None:
    """Return the copy in `path`, or None for one that is missing or not intact."""
    try:
        with path.open("rb") as file:
            copy = decode(Copy, file.read(LIMIT + 1), limit=LIMIT)
    except (OSError, Refusal):
        return None
    if copy.checksum != sha256_hex(encode(copy.variables)):
        return None
    return copy
