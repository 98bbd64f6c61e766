"""GRUB's environment block as GRUB and grub-editenv read it, and when a copy of it counts. Pure.

Two copies are kept (docs/adr/grub-environment.md). What GRUB decides by is told twice in each of
them: GRUB's scripts cannot compute a checksum, but they can compare two texts. `fleetcd_seq` opens
the block and `fleetcd_check` closes it, so that a half-written block contradicts itself.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SIGNATURE = "# GRUB Environment Block\n"
SIZE = 1024  # bytes; what `grub-editenv FILE create` makes
SEQUENCE, CHECK = "fleetcd_seq", "fleetcd_check"
CHECKED = ("fleetcd_primary", "fleetcd_trial", "fleetcd_left")  # as in grub.cfg

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")  # without leading zeros, which make it octal for GRUB
_LINE = re.compile(r"(?:#(?:\\.|[^\\\n])*|(?!#)([^=]*)=((?:\\.|[^\\\n])*))\n", re.DOTALL)
_SPECIAL = re.compile(r"([\\\n])")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Copy:
    """An intact block: its sequence number, and its variables without the two that guard it."""

    sequence: int
    variables: Mapping[str, str]


def parse(block: bytes) -> Mapping[str, str] | None:
    """Return the variables of `block`, None without GRUB's signature. It ends where GRUB stops."""
    text = block.decode("latin-1")
    if not text.startswith(SIGNATURE):
        return None
    found: dict[str, str] = {}
    position = len(SIGNATURE)
    while line := _LINE.match(text, position):
        if line[1] is not None:
            found[line[1]] = _ESCAPED.sub(r"\1", line[2])
        position = line.end()
    return found


def encode(variables: Mapping[str, str]) -> bytes:
    """Return the block of `variables`, in their order. Raises ValueError when it cannot be one."""
    lines = [SIGNATURE]
    for name, value in variables.items():
        if not name or name.startswith("#") or "=" in name or "\n" in name:
            raise ValueError(f"{name!r} cannot name a variable")
        escaped = _SPECIAL.sub(r"\\\1", value)
        lines.append(f"{name}={escaped}\n")
    block = "".join(lines).encode("latin-1")
    if len(block) > SIZE:
        raise ValueError(f"the variables need {len(block)} of {SIZE} bytes; remove some")
    return block.ljust(SIZE, b"#")


def unseal(block: bytes) -> Copy | None:
    """Return what `block` holds, None when it is not intact."""
    variables = parse(block)
    if variables is None or not _NUMBER.fullmatch(sequence := variables.get(SEQUENCE, "")):
        return None
    if variables.get(CHECK) != _check(sequence, variables):
        return None
    kept = {name: value for name, value in variables.items() if name not in (SEQUENCE, CHECK)}
    return Copy(int(sequence), kept)


def seal(copy: Copy) -> bytes:
    """Return the block that unseal() makes `copy` of. Raises ValueError when it cannot be one."""
    others = {name: value for name, value in copy.variables.items() if name not in CHECKED}
    checked = {name: copy.variables[name] for name in CHECKED if name in copy.variables}
    sequence = str(copy.sequence)
    guarded = {SEQUENCE: sequence} | others | checked
    return encode(guarded | {CHECK: _check(sequence, checked)})


def newest(copies: Sequence[Copy | None]) -> int | None:
    """Return the place of the copy that counts: of equal ones the first, which GRUB saves first."""
    intact = [place for place, copy in enumerate(copies) if copy is not None]
    return max(intact, key=lambda place: _sequence(copies[place]), default=None)


def _sequence(copy: Copy | None) -> int:
    return copy.sequence if copy else 0


def _check(sequence: str, variables: Mapping[str, str]) -> str:
    return ":".join((sequence, *(variables.get(name, "") for name in CHECKED)))
