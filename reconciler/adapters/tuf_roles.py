"""The roles of the published tree (DESIGN section 4): who signs, for how long, in which form."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    Root,
    Snapshot,
    SuccinctRoles,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from reconciler.errors import Unavailable
from schemas.wire.decode import utc, utc_text

ROOT_LASTS = timedelta(days=365)
TARGETS_LASTS = timedelta(days=365)
RELEASES_LAST = timedelta(days=180)
ONLINE_LASTS = timedelta(days=90)
TIMESTAMP_LASTS = timedelta(days=7)
TIMESTAMP_EVERY = timedelta(hours=6)  # how often it should be signed anew
RENEW_BEFORE = timedelta(days=30)  # online metadata with less than this left is signed anew

RELEASES = "releases"
RELEASE_PREFIX = "releases-"
ASSIGNMENTS = "assignments"
BIN_BITS = 8
BIN_PREFIX = "bin"
ASSIGNED = ("fleets/*", "devices/*", "status/*", "project.json")

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Who signs what. Several root, targets or release keys are a threshold of all of them."""

    root: tuple[Signer, ...]
    targets: tuple[Signer, ...]
    release: tuple[Signer, ...]
    online: Signer
    timestamp: Signer


def until(now: datetime, lasts: timedelta) -> datetime:
    """Return when something signed at `now` expires; TUF knows whole seconds only."""
    return (now + lasts).replace(microsecond=0)


def new_root(keys: RoleKeys, now: datetime) -> Root:
    root = Root(expires=until(now, ROOT_LASTS), consistent_snapshot=True)
    for signer in keys.root:
        root.add_key(signer.public_key, "root")
    for signer in keys.targets:
        root.add_key(signer.public_key, "targets")
    root.roles["root"].threshold = len(keys.root)
    root.roles["targets"].threshold = len(keys.targets)
    root.add_key(keys.online.public_key, "snapshot")
    root.add_key(keys.timestamp.public_key, "timestamp")
    return root


def new_targets(keys: RoleKeys, now: datetime) -> Targets:
    """Return the top-level targets: it lists nothing, and delegates to releases and assignments.

    TUF's `*` does not cross a slash, hence `releases/*/*`.
    """
    release = [signer.public_key for signer in keys.release]
    online = keys.online.public_key
    roles = {
        RELEASES: _delegated(RELEASES, release, ["releases/*/*"]),
        ASSIGNMENTS: _delegated(ASSIGNMENTS, [online], list(ASSIGNED)),
    }
    targets = Targets(expires=until(now, TARGETS_LASTS))
    targets.delegations = Delegations(_by_id([*release, online]), roles)
    return targets


def new_releases(keys: Iterable[Key], now: datetime) -> Targets:
    """Return a releases role without any release."""
    releases = Targets(expires=until(now, RELEASES_LAST))
    releases.delegations = Delegations(_by_id(keys), {})
    return releases


def delegate_release(releases: Targets, name: str, keys: list[Key]) -> None:
    """Let `releases-<name>` list releases of `name`, signed by all of `keys`."""
    role = RELEASE_PREFIX + name
    assert releases.delegations and releases.delegations.roles is not None  # noqa: S101 - new_releases
    releases.delegations.keys.update(_by_id(keys))
    releases.delegations.roles[role] = _delegated(role, keys, [f"releases/{name}/*"])


def new_assignments(online: Key, now: datetime) -> Targets:
    """Return the role between targets and the bins: a succinct delegation stands alone in TUF."""
    assignments = Targets(expires=until(now, ONLINE_LASTS))
    assignments.delegations = Delegations(
        {online.keyid: online},
        succinct_roles=SuccinctRoles([online.keyid], 1, BIN_BITS, BIN_PREFIX),
    )
    return assignments


def _delegated(name: str, keys: list[Key], paths: list[str]) -> DelegatedRole:
    ids = list(_by_id(keys))
    return DelegatedRole(name, ids, len(ids), True, paths=paths)


def _by_id(keys: Iterable[Key]) -> dict[str, Key]:
    return {key.keyid: key for key in keys}


def bin_of(path: str) -> str:
    """Return the bin role that lists target `path`."""
    return _BINS.get_role_for_target(path)


def bin_roles() -> tuple[str, ...]:
    return tuple(_BINS.get_roles())


_BINS = SuccinctRoles([], 1, BIN_BITS, BIN_PREFIX)


def signed_bytes(signed: S, signers: Iterable[Signer]) -> bytes:
    """Return the metadata file of `signed` with the signatures of all `signers`."""
    metadata = Metadata[S](signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(JSONSerializer(compact=True))


def read_own(kind: type[S], data: bytes, key: Key, where: str) -> S:
    """Return the signed part of `data`, which must bear a signature of `key`, one of our own.

    Nothing read back from the tree is believed without: who can write to the directory must not
    get the reconciler to sign his entries again. Raises Unavailable.
    """
    try:
        metadata = Metadata[S].from_bytes(data)
        key.verify_signature(metadata.signatures[key.keyid], metadata.signed_bytes)
    except (RepositoryError, UnverifiedSignatureError, KeyError) as error:
        raise Unavailable(
            f"{where} is damaged or not signed by this reconciler's key;"
            " restore the tree from a copy, or correct `keys` in fleetcd.toml"
        ) from error
    if not isinstance(metadata.signed, kind):
        raise Unavailable(f"{where} is not {kind.__name__.lower()} metadata; restore it")
    return metadata.signed


ISSUED = "issued"  # the signed field of the timestamp that devices take as their time floor


def issue(timestamp: Timestamp, now: datetime) -> None:
    """Write when `timestamp` is signed into it; the time never goes back."""
    before = timestamp.unrecognized_fields.get(ISSUED)
    floor = utc(before) if isinstance(before, str) else now
    timestamp.unrecognized_fields[ISSUED] = utc_text(max(now, floor))
    timestamp.expires = until(now, TIMESTAMP_LASTS)


def snapshot_versions(snapshot: Snapshot) -> Mapping[str, int]:
    """Return the version of every role, by role name."""
    return {name.removesuffix(".json"): meta.version for name, meta in snapshot.meta.items()}
