"""One run of the TUF client workflow, and the only place that knows python-tuf's client.

tuf is pinned (>= 7.0.1, < 8) because two things have no public name there: the time that expiry is
judged by, and the metadata that was verified. `_trusted_set` alone reaches for them, and
tests/unit/test_trust_session.py fails when an upgrade moves them.
"""

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from tuf.api import exceptions
from tuf.api.metadata import Root, TargetFile, Targets
from tuf.api.serialization import DeserializationError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from device_agent import durable
from device_agent.errors import UpdateRejected
from device_agent.fetch.rejections import class_of, network, rejected
from device_agent.trust.fetcher import METADATA, TARGETS, TreeFetcher
from device_agent.trust.floor import Mark
from schemas.canonical import sha256_hex
from schemas.refusal import Code
from schemas.wire.decode import utc

LIMITS: Final = UpdaterConfig(
    max_root_rotations=1024,
    max_delegations=8,
    root_max_length=64 * 1024,
    timestamp_max_length=4 * 1024,
    snapshot_max_length=64 * 1024,
    targets_max_length=256 * 1024,
)
TUF_CACHE: Final = "tuf"  # beside documents/, under the state directory
MAX_DOCUMENTS: Final = 64  # kept on disk, by digest
_TOP_LEVEL: Final = ("timestamp", "snapshot", "targets")
_CODES: Final = (
    (exceptions.UnsignedMetadataError, Code.SIGNATURE),
    (exceptions.BadVersionNumberError, Code.ROLLBACK),
    (exceptions.ExpiredMetadataError, Code.EXPIRED),
    (exceptions.LengthOrHashMismatchError, Code.HASH),
    (DeserializationError, Code.FORMAT),
)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _trusted_set(updater: Updater) -> TrustedMetadataSet:
    """Return what `updater` has verified so far (private in tuf 7)."""
    trusted = updater._trusted_set
    if not isinstance(trusted.reference_time, datetime):
        raise TypeError("tuf judges expiry by something else than reference_time now")
    return trusted


class Session:
    """An Updater over `directory`, anchored in the root that the image carries.

    Every method raises TransientError (network), or UpdateRejected: what was wrong, or E_STATE
    when the disk did not take it.
    """

    def __init__(self, directory: Path, root: bytes, fetcher: TreeFetcher, now: datetime) -> None:
        self._documents, self._fetcher = directory / "documents", fetcher
        self._anchor = sha256_hex(root)
        with _translated("the trusted root"):
            durable.make_directory(directory / TUF_CACHE)
            durable.make_directory(self._documents)
            _sweep(directory / TUF_CACHE)
            self._updater = Updater(
                str(directory / TUF_CACHE),
                METADATA,
                target_base_url=TARGETS,
                fetcher=fetcher,
                config=LIMITS,
                bootstrap=root,
            )
        self.judge_by(now)

    def judge_by(self, now: datetime) -> None:
        """Judge expiry by `now` from here on."""
        _trusted_set(self._updater).reference_time = now

    def refresh(self) -> None:
        """Fetch and verify root, timestamp, snapshot and targets."""
        with _translated("the tree's metadata", otherwise=Code.ROLLBACK):
            self._updater.refresh()
            self._fetcher.remember_timestamp()

    def refuse_expired(self, now: datetime) -> None:
        """Raise UpdateRejected (E_EXPIRED) if any top-level role is expired at `now`."""
        trusted = _trusted_set(self._updater)
        for role in ("root", *_TOP_LEVEL):
            signed = trusted[role]
            if signed.is_expired(now):
                raise rejected(
                    Code.EXPIRED, f"{role}.json expired at {signed.expires:%Y-%m-%d %H:%M}"
                )

    def find(self, path: str) -> TargetFile | None:
        """Return what the responsible role says of target `path`, None if it knows no such."""
        with _translated(path, otherwise=Code.NOT_FOUND):
            return self._updater.get_targetinfo(path)

    def read(self, target: TargetFile, limit: int) -> bytes:
        """Return a target's bytes, verified, from disk where they were before."""
        if target.length > limit:
            raise rejected(
                Code.LENGTH, f"{target.path} has {target.length} bytes, not over {limit}"
            )
        file = self._documents / digest_of(target)
        with _translated(target.path):
            if self._updater.find_cached_target(target, str(file)) is None:
                self._make_room()
                self._updater.download_target(target, str(file))
            return file.read_bytes()

    def marks(self) -> Mapping[str, Mark]:
        """Return version and key set of every verified role.

        After refresh(); delegated roles are among them once find() has been through them. For root
        the image's root stands in for the key set: its versions count on through every rotation,
        and an older one would bring back keys that were taken away.
        """
        trusted = _trusted_set(self._updater)
        marks = {"root": Mark(self._anchor, trusted.root.version)}
        for role in _TOP_LEVEL:
            marks[role] = Mark(_key_set(trusted.root, role), trusted[role].version)
        for name, parent in _delegated(trusted):
            marks[name] = Mark(_key_set(parent, name), trusted[name].version)
        return marks

    def timestamp_keys(self) -> str:
        """Return the key set that the newest trusted root names for the timestamp."""
        return _key_set(_trusted_set(self._updater).root, "timestamp")

    def timestamp_version(self) -> int:
        return int(_trusted_set(self._updater).timestamp.version)

    def issued(self) -> datetime:
        """Return the timestamp's signed `issued`. Raises UpdateRejected (E_FORMAT) without one."""
        text = _trusted_set(self._updater).timestamp.unrecognized_fields.get("issued")
        try:
            return utc(str(text))
        except ValueError as error:
            raise rejected(
                Code.FORMAT, f"timestamp.json: issued: {str(text)[:40]!r} is not a UTC time"
            ) from error

    def signer_of(self, path: str) -> str:
        """Return the key set of the verified role that lists target `path`."""
        trusted = _trusted_set(self._updater)
        for name, parent in _delegated(trusted):
            if path in _targets(trusted, name).targets:
                return _key_set(parent, name)
        return _key_set(trusted.root, "targets")

    def _make_room(self) -> None:
        files = sorted(self._documents.iterdir(), key=lambda file: file.stat().st_mtime)
        for file in files[: max(0, len(files) - MAX_DOCUMENTS + 1)]:
            file.unlink()


def _sweep(cache: Path) -> None:
    """Remove the temporary files that an agent left which was killed while tuf wrote one."""
    for file in cache.glob("tmp*"):
        if not file.suffix:  # metadata ends in .json
            file.unlink()


def digest_of(target: TargetFile) -> str:
    """Return a target's SHA-256 in hex. Raises UpdateRejected (E_FORMAT): it must have one."""
    digest = target.hashes.get("sha256", "")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise rejected(Code.FORMAT, f"target {target.path} has no sha256")
    return digest


def _targets(trusted: TrustedMetadataSet, role: str) -> Targets:
    signed = trusted[role]
    if not isinstance(signed, Targets):
        raise TypeError(f"{role} is not targets metadata")
    return signed


def _delegated(trusted: TrustedMetadataSet) -> Iterator[tuple[str, Targets]]:
    """Yield the verified delegated roles, each with the first role that delegates to it."""
    seen, parents = {"targets"}, ["targets"]
    while parents:
        parent = _targets(trusted, parents.pop())
        for child in _children(parent):
            if child in trusted and child not in seen:
                seen.add(child)
                parents.append(child)
                yield child, parent


def _children(parent: Targets) -> Iterator[str]:
    if parent.delegations is not None:
        yield from parent.delegations.roles or ()
        if parent.delegations.succinct_roles is not None:
            yield from parent.delegations.succinct_roles.get_roles()


def _key_set(delegator: Root | Targets, role: str) -> str:
    """Return a digest over the keys (not their names) and the threshold of `role`."""
    delegated = delegator.get_delegated_role(role)
    keys = []
    for key_id in delegated.keyids:
        with suppress(ValueError):  # named, but not there: tuf ignores it too
            key = delegator.get_key(key_id)
            keys.append([key.keytype, key.scheme, json.dumps(key.keyval, sort_keys=True)])
    return sha256_hex(json.dumps([delegated.threshold, sorted(keys)]).encode())


@contextmanager
def _translated(what: str, *, otherwise: Code = Code.FORMAT) -> Iterator[None]:
    """Turn what tuf raises into what the driver knows.

    `otherwise` is for tuf's plain RepositoryError, whose meaning depends on the step. Metadata
    whose version contradicts its file name is refused before tuf sees it (trust/shape.py), so that
    every bad version number that is left is a rollback.
    """
    try:
        yield
    except exceptions.DownloadHTTPError as error:
        raise network(Code.NOT_FOUND, f"{what}: {error}; is the tree's address right?") from error
    except exceptions.RepositoryError as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), otherwise)
        cause = f" ({error.__cause__})" if code is Code.FORMAT and error.__cause__ else ""
        raise rejected(code, f"{what}: {error}{cause}") from error
    except OSError as error:
        code = Code.SPACE if error.errno in _FULL else Code.STATE
        raise UpdateRejected(Code.STATE, f"{what}: not stored: {error}", class_of(code)) from error
