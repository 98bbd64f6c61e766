"""The floor: below which version nothing is accepted any more, whatever became of the cache.

tuf keeps its rollback protection in cache files that it does not fsync; a lost timestamp.json makes
it accept any older one (measured). This record is ours, durable, and compared after every refresh.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from device_agent import durable
from device_agent.errors import UpdateRejected
from device_agent.fetch.rejections import rejected
from schemas.refusal import Code, Refusal
from schemas.wire.decode import AtLeast, Matching, decode, encode

FLOOR_LIMIT = 1024 * 1024  # bytes: 256 bins, the release roles and the fleets are a tenth of it

KeySet = Annotated[str, Matching(r"[0-9a-f]{64}")]


@dataclass(frozen=True, slots=True)
class Mark:
    """A version, and the key set it was signed by. A rotated key set starts again: who lost a
    key may have fast-forwarded its role to a version that nobody can follow."""

    keys: KeySet
    version: Annotated[int, AtLeast(1)]


@dataclass(frozen=True, slots=True)
class Floor:
    """`roles` by role, `generations` by fleet. `issued`: the newest signed time (of the timestamp).

    Floors of roles that are not seen any more stay.
    """

    roles: Mapping[str, Mark] = field(default_factory=dict)
    generations: Mapping[str, Mark] = field(default_factory=dict)
    issued: datetime | None = None
    type: Literal["fleetcd/floor"] = "fleetcd/floor"
    schema: Annotated[int, AtLeast(1)] = 1

    def check_roles(self, seen: Mapping[str, Mark]) -> None:
        """Raise Refusal (E_ROLLBACK) for a role below its floor."""
        for role, mark in seen.items():
            _check(f"{role}.json version", self.roles.get(role), mark)

    def check_generation(self, fleet: str, mark: Mark) -> None:
        """Raise Refusal (E_ROLLBACK) for a manifest below its fleet's floor."""
        _check(f"the generation of fleet {fleet}'s manifest", self.generations.get(fleet), mark)

    def issued_under(self, keys: str) -> datetime | None:
        """Return the floor of time, if the timestamp is still signed by the key set `keys`."""
        mark = self.roles.get("timestamp")
        return self.issued if mark is not None and mark.keys == keys else None

    def raised(self, roles: Mapping[str, Mark]) -> "Floor":
        """Return the floor at `roles`, which check_roles() has let pass."""
        return replace(self, roles={**self.roles, **roles})

    def raised_generation(self, fleet: str, mark: Mark) -> "Floor":
        """Return the floor at `mark`, which check_generation() has let pass."""
        return replace(self, generations={**self.generations, fleet: mark})


def _check(what: str, floor: Mark | None, seen: Mark) -> None:
    if floor is not None and floor.keys == seen.keys and seen.version < floor.version:
        raise Refusal(
            Code.ROLLBACK, f"{what} is {seen.version}, this device has seen {floor.version}"
        )


class FloorFile:
    """The floor on disk. Raises UpdateRejected (E_STATE) when it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Floor:
        """Return the floor; a device that never trusted anything has an empty one.

        A floor that cannot be read is not taken for an empty one: that would be the rollback.
        """
        try:
            return decode(Floor, self._path.read_bytes(), limit=FLOOR_LIMIT)
        except FileNotFoundError:
            return Floor()
        except OSError as error:
            raise self._broken(str(error.strerror)) from error
        except Refusal as refusal:
            raise self._broken(str(refusal)) from refusal

    def save(self, floor: Floor) -> None:
        try:
            durable.make_directory(self._path.parent)
            durable.write(self._path, encode(floor))
        except OSError as error:
            raise rejected(Code.STATE, f"{self._path} was not written: {error.strerror}") from error

    def _broken(self, why: str) -> UpdateRejected:
        return rejected(
            Code.STATE,
            f"{self._path} cannot be read: {why};"
            " restore it, or remove it if this device may forget which versions it has seen",
        )
