"""Release metadata as it travels in Git: a descriptor added, and signed. Pure."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import DelegatedRole, TargetFile, Targets

from reconciler.adapters.tuf_published import SignedRole, refuse_delegation
from reconciler.adapters.tuf_roles import (
    RELEASE_PREFIX,
    RELEASES,
    RELEASES_LAST,
    delegate_release,
    new_releases,
    read_own,
    signed_bytes,
    until,
)
from reconciler.errors import NotSigned, Unavailable
from schemas.refusal import Code, Refusal
from schemas.wire.decode import encode
from schemas.wire.descriptor import Descriptor

Files = Mapping[str, bytes]
"""Metadata files by name (`releases.json`, `releases-<name>.json`), without versions."""


def add_descriptor(
    git: Files, tree: Files, descriptor: Descriptor, signers: tuple[Signer, ...], now: datetime
) -> Files:
    """Return the files of `releases/.signed/` that must be written to release `descriptor`.

    `tree` holds what is published already: versions go on from the higher of the two, so that a
    reverted commit never signs the same version twice. Again, for the same descriptor: none.
    Raises Refusal (E_MISMATCH) when the version was released with other content, and NotSigned
    for metadata that none of `signers` signed, or whose delegations devices refuse.
    """
    own = RELEASE_PREFIX + descriptor.name
    path = f"releases/{descriptor.name}/{descriptor.version}.json"
    target = TargetFile.from_data(path, encode(descriptor), ["sha256"])
    top = _known(RELEASES, git, tree, signers)
    role = _known(own, git, tree, signers)
    released = role.merged.targets.get(path, target) if role else target
    if released.hashes != target.hashes:
        raise Refusal(
            Code.MISMATCH,
            f"{descriptor.release} is released already with other content"
            f" (sha256:{released.hashes['sha256'][:12]}…); a release never changes",
            remedy="choose a new version",
        )
    new_top = deepcopy(top.merged) if top else new_releases(_public(signers), now)
    if own not in _roles(new_top):
        delegate_release(new_top, descriptor.name, _keys(new_top))
    new_role = deepcopy(role.merged) if role else Targets(expires=until(now, RELEASES_LAST))
    new_role.targets[path] = target
    return {
        **_update(RELEASES, top, new_top, git, signers, now),
        **_update(own, role, new_role, git, signers, now),
    }


def renew(git: Files, tree: Files, signers: tuple[Signer, ...], now: datetime) -> Files:
    """Return every file of `releases/.signed/`, signed anew with a full time to live."""
    written = dict[str, bytes]()
    for role in sorted({name.removesuffix(".json") for name in (*git, *tree)}):
        known = _known(role, git, tree, signers)
        if known:
            written |= _sign(role, known.merged, known, signers, now)
    return written


@dataclass(frozen=True, slots=True)
class _Known:
    """A role as Git and the tree have it: the newer file, and what either lists."""

    newest: SignedRole
    merged: Targets


def _known(role: str, git: Files, tree: Files, signers: tuple[Signer, ...]) -> _Known | None:
    name = f"{role}.json"
    found = [_read(name, files[name], signers) for files in (git, tree) if name in files]
    if not found:
        return None
    newest = max(found, key=lambda signed: signed.targets.version)
    merged = deepcopy(newest.targets)
    for other in found:
        _merge(merged, other.targets)
    return _Known(newest, merged)


def _merge(into: Targets, other: Targets) -> None:
    for path, target in other.targets.items():
        if into.targets.setdefault(path, target).hashes != target.hashes:
            raise Refusal(
                Code.MISMATCH,
                f"{path} differs between Git and the published tree; a release never changes",
                remedy="restore releases/.signed/ from the branch that is published",
            )
    if into.delegations and into.delegations.roles is not None:
        for name, delegated in _roles(other).items():
            into.delegations.roles.setdefault(name, delegated)


def _update(
    role: str,
    known: _Known | None,
    new: Targets,
    git: Files,
    signers: tuple[Signer, ...],
    now: datetime,
) -> Files:
    """Return the file of `role` if Git must get one: a new version, or the tree's newer one."""
    if known is None or new != known.newest.targets:
        return _sign(role, new, known, signers, now)
    name = f"{role}.json"
    return {} if git.get(name) == known.newest.raw else {name: known.newest.raw}


def _sign(
    role: str, new: Targets, known: _Known | None, signers: tuple[Signer, ...], now: datetime
) -> Files:
    new.version = known.newest.targets.version + 1 if known else 1
    new.expires = until(now, RELEASES_LAST)
    return {f"{role}.json": signed_bytes(new, signers)}


def _read(name: str, data: bytes, signers: tuple[Signer, ...]) -> SignedRole:
    problem: Unavailable | None = None
    for signer in signers:
        try:
            targets = read_own(Targets, data, signer.public_key, name)
        except Unavailable as error:
            problem = error
        else:
            refuse_delegation(targets, f"releases/.signed/{name}")
            return SignedRole(targets, data)
    raise NotSigned(
        f"releases/.signed/{name} was not signed with this release key; name the right one with"
        " --key, or restore the file from Git"
    ) from problem


def _roles(targets: Targets) -> Mapping[str, DelegatedRole]:
    return (targets.delegations.roles if targets.delegations else None) or {}


def _keys(targets: Targets) -> list[Key]:
    return list(targets.delegations.keys.values()) if targets.delegations else []


def _public(signers: tuple[Signer, ...]) -> list[Key]:
    return [signer.public_key for signer in signers]
