"""Trust by TUF: the only maker of Trusted and of trusted descriptors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tuf.api.metadata import TargetFile

from device_agent.errors import UpdateRejected
from device_agent.fetch.rejections import from_refusal, rejected
from device_agent.ports import Clock, Trusted
from device_agent.trust.clock import Reading, judge
from device_agent.trust.fetcher import TreeFetcher
from device_agent.trust.floor import Floor, FloorFile, Mark
from device_agent.trust.paths import descriptor_path, device_path, fleet_path
from device_agent.trust.session import TUF_CACHE, Session, digest_of
from device_agent.trust.source import TreeSource
from schemas.refusal import Code, Refusal
from schemas.wire.decode import decode
from schemas.wire.descriptor import DESCRIPTOR_LIMIT, Descriptor
from schemas.wire.manifest import MANIFEST_LIMIT, Manifest
from schemas.wire.shard import SHARD_LIMIT, Shard, ShardEntry
from schemas.wire.types import ComponentRef

Document = TypeVar("Document")


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """`state` is a directory of our own (0700); `root` the bytes of a root.json that the read-only
    image carries; `device_key` the id of this device's key (`sha256:…`)."""

    state: Path
    root: bytes
    device_key: str


class TufTrust:
    """A Trust (device_agent.ports). One process at a time; nothing here locks.

    The order in refresh() makes it safe to cut anywhere: tuf's cache first, which may be lost at
    any time; the floor, durably, once everything was found good; and only then the answer.
    """

    def __init__(self, settings: TrustSettings, source: TreeSource, clock: Clock) -> None:
        self._settings, self._source, self._clock = settings, source, clock
        self._floors = FloorFile(settings.state / "floor.json")
        self._tree: _VerifiedTree | None = None

    def refresh(self) -> Trusted:
        """Fetch and verify. Raises TransientError (network) or UpdateRejected (bad metadata)."""
        self._tree = None
        try:
            return self._refresh()
        finally:
            self._source.close()

    def descriptor(self, ref: ComponentRef) -> Descriptor:
        """Return the release-signed descriptor whose digest is the manifest's. After refresh().

        Raises UpdateRejected: E_NOT_RELEASED, E_MISMATCH, E_PATH; and as refresh().
        """
        tree = self._tree
        if tree is None:
            raise RuntimeError("descriptor() comes after a refresh() that succeeded")
        try:
            descriptor = tree.descriptor(ref)
            self._keep(tree.floor)
            return descriptor
        finally:
            self._source.close()

    def _refresh(self) -> Trusted:
        wall, old = self._clock.now(), self._floors.load()
        session, fetcher = self._top_level(wall, old)
        tree = _VerifiedTree(session, old)
        reading = tree.tell_time(wall)
        entry = tree.entry(self._settings.device_key)
        manifest = tree.manifest(entry.fleet) if entry and entry.fleet else None
        self._keep(tree.floor)
        self._tree = tree
        return Trusted(
            entry=entry,
            manifest=manifest,
            timestamp_version=session.timestamp_version(),
            issued=session.issued(),
            fetched=fetcher.timestamp_fetched,
            clock_trusted=reading.trusted,
        )

    def _top_level(self, wall: datetime, floor: Floor) -> tuple[Session, TreeFetcher]:
        session, fetcher = self._begin(judge(wall, floor.issued).now)
        try:
            session.refresh()
        except UpdateRejected as rejection:
            keys = session.timestamp_keys()
            if rejection.code is not Code.EXPIRED or floor.issued == floor.issued_under(keys):
                raise
            # Who steals the timestamp key can sign a time far ahead, and all is expired for ever.
            # The rotation that took the key away takes its time away too.
            session, fetcher = self._begin(wall)
            session.refresh()
        return session, fetcher

    def _begin(self, now: datetime) -> tuple[Session, TreeFetcher]:
        state = self._settings.state
        fetcher = TreeFetcher(self._source, state / TUF_CACHE, self._clock.monotonic)
        return Session(state, self._settings.root, fetcher, now), fetcher

    def _keep(self, floor: Floor) -> None:
        if floor != self._floors.load():
            self._floors.save(floor)


class _VerifiedTree:
    """A session that has refreshed, and the floor that rises with what is read from it."""

    def __init__(self, session: Session, floor: Floor) -> None:
        self._session, self.floor = session, floor
        self._pass_roles()

    def tell_time(self, wall: datetime) -> Reading:
        """Return the time by the timestamp just fetched, and judge expiry by it again.

        It was judged by an older `issued` before, and by that one a year-old tree may pass.
        """
        known = self.floor.issued_under(self._session.timestamp_keys())
        issued = self._session.issued()
        newest = issued if known is None else max(known, issued)
        self.floor = replace(self.floor, issued=newest)
        reading = judge(wall, newest)
        self._session.refuse_expired(reading.now)
        self._session.judge_by(reading.now)
        return reading

    def entry(self, key: str) -> ShardEntry | None:
        """Return the entry of device key id `key`, None where the tree has none."""
        path = _checked_path(lambda: device_path(key))
        target = self._find(path)
        if target is None:
            return None
        return self._decoded(Shard, target, SHARD_LIMIT).entries.get(key)

    def manifest(self, fleet: str) -> Manifest | None:
        """Return the fleet's manifest, None where there is none (yet)."""
        path = _checked_path(lambda: fleet_path(fleet))
        target = self._find(path)
        if target is None:
            return None
        manifest = self._decoded(Manifest, target, MANIFEST_LIMIT)
        if manifest.fleet != fleet:
            raise rejected(Code.FLEET, f"{path} is a manifest of fleet {manifest.fleet}")
        mark = Mark(self._session.signer_of(path), manifest.generation)
        try:
            self.floor.check_generation(fleet, mark)
        except Refusal as refusal:
            raise from_refusal(refusal, path) from refusal
        self.floor = self.floor.raised_generation(fleet, mark)
        return manifest

    def descriptor(self, ref: ComponentRef) -> Descriptor:
        path = _checked_path(lambda: descriptor_path(ref))
        target = self._find(path)
        if target is None:
            raise rejected(Code.NOT_RELEASED, f"{ref.release} is in no release role")
        if f"sha256:{digest_of(target)}" != ref.descriptor:
            raise rejected(
                Code.MISMATCH,
                f"the manifest names {ref.release} by {ref.descriptor},"
                f" release keys signed sha256:{digest_of(target)}",
            )
        descriptor = self._decoded(Descriptor, target, DESCRIPTOR_LIMIT)
        if descriptor.release != ref.release:
            raise rejected(Code.MISMATCH, f"{path} describes {descriptor.release}")
        return descriptor

    def _find(self, path: str) -> TargetFile | None:
        target = self._session.find(path)
        self._pass_roles()
        return target

    def _pass_roles(self) -> None:
        """Compare every role verified so far with the floor, and raise it."""
        marks = self._session.marks()
        try:
            self.floor.check_roles(marks)
        except Refusal as refusal:
            raise from_refusal(refusal, "the tree") from refusal
        # `issued` falls with the key set that signed it.
        known = self.floor.issued_under(self._session.timestamp_keys())
        self.floor = replace(self.floor.raised(marks), issued=known)

    def _decoded(self, kind: type[Document], target: TargetFile, limit: int) -> Document:
        try:
            return decode(kind, self._session.read(target, limit), limit=limit)
        except Refusal as refusal:
            raise from_refusal(refusal, target.path) from refusal


def _checked_path(make: Callable[[], str]) -> str:
    try:
        return make()
    except Refusal as refusal:
        raise from_refusal(refusal, "a path in the tree") from refusal
