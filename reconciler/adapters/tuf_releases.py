"""Release-signed metadata from Git: verified before it is copied into the tree. Pure."""

from collections.abc import Mapping
from datetime import datetime

from tuf.api.metadata import Targets

from reconciler.adapters.tuf_published import Published, SignedRole, is_release_role, verified
from reconciler.adapters.tuf_roles import RELEASE_PREFIX, RELEASES
from reconciler.errors import NotSigned, Unavailable

SIGNED = "releases/.signed"  # where release metadata lies in a fleet repository


def accept_releases(
    published: Published, offered: Mapping[str, bytes], now: datetime
) -> Mapping[str, SignedRole]:
    """Return the release roles as they are with `offered` (file name → bytes) taken in.

    A lower version than the published one changes nothing: devices refuse to go back, and a
    reverted commit must not stop the fleet. The same version with other content, a missing
    signature or an expired role raises NotSigned.
    """
    accepted = dict(published.releases)
    by_role = {name.removesuffix(".json"): data for name, data in offered.items()}
    for role in sorted(by_role, key=lambda role: role != RELEASES):  # the delegating one first
        current = accepted.get(role)
        if current and current.raw == by_role[role]:
            continue
        parent = published.targets if role == RELEASES else accepted[RELEASES].targets
        candidate = _verified(parent, role, by_role[role])
        if _replaces(role, candidate, current, now):
            accepted[role] = candidate
    if accepted[RELEASES] is not published.releases[RELEASES]:
        for role in accepted.keys() - {RELEASES}:
            _verified(accepted[RELEASES].targets, role, accepted[role].raw)
    return accepted


def released(releases: Mapping[str, SignedRole]) -> Mapping[str, str]:
    """Return the SHA-256 of every signed descriptor by target path."""
    return {
        path: target.hashes["sha256"]
        for role, signed in releases.items()
        for path, target in signed.targets.targets.items()
        if path.startswith(f"releases/{role.removeprefix(RELEASE_PREFIX)}/")
    }


def _verified(parent: Targets, role: str, data: bytes) -> SignedRole:
    where = f"{SIGNED}/{role}.json"
    if not is_release_role(role):
        raise NotSigned(f"{where} is no release metadata; remove the file")
    try:
        return verified(parent, role, data, where)
    except Unavailable as error:
        raise NotSigned(
            f"{error}; sign it with the release key that this tree's targets role names"
            " (`fleetcd release add --key file:PATH`)"
        ) from error


def _replaces(role: str, candidate: SignedRole, current: SignedRole | None, now: datetime) -> bool:
    where, version = f"{SIGNED}/{role}.json", candidate.targets.version
    if current and version < current.targets.version:
        return False
    if current and version == current.targets.version:
        if candidate.targets == current.targets:
            return False  # one more signature over the same content
        raise NotSigned(
            f"{where}: version {version} is published already, with other content;"
            " run `fleetcd release add` again with --tree, so that it signs a later version"
        )
    if candidate.targets.is_expired(now):
        raise NotSigned(
            f"{where} expired at {candidate.targets.expires:%Y-%m-%d %H:%M} UTC;"
            " sign it again with `fleetcd release renew`"
        )
    return True
