"""The installer `rootfs-ab`: a root filesystem streamed into the slot that does not run."""

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent import durable
from device_agent.background import disk_as_usual, in_background
from device_agent.core.component import Component, RebootNeed
from device_agent.errors import InstallFailed, UpdateRejected
from device_agent.install.decompress import decompress
from device_agent.install.slot_writer import SlotWriter, Written
from device_agent.install.slots import Kernel, capacity, digest_of, open_slot
from device_agent.ports import ArtifactSource, Bootloader, ResumableSource
from schemas.refusal import Code, Refusal
from schemas.wire.decode import decode, encode
from schemas.wire.descriptor import Artifact, Encoding
from schemas.wire.report import FailureClass
from schemas.wire.types import Positive, Sha256

if TYPE_CHECKING:
    from hashlib import _Hash

TRIES = 2  # starts of a new slot: one power cut during a healthy trial does not cost the update

_MARKER_LIMIT = 4096

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Marker:
    """What download() wrote so far: `length` bytes with digest `sha256`, made from `artifact`.

    They are on the device since before the marker was. The download is complete when they are all.
    """

    slot: str
    sha256: Sha256
    length: Positive
    artifact: Sha256


@dataclass(frozen=True, slots=True)
class _Prefix:
    """Bytes of the image that are in the slot already: `length` of them, seen by `digest`."""

    length: int = 0
    digest: "_Hash" = field(default_factory=hashlib.sha256)


class RootfsAB:
    """Two slots by name, one of which runs. The slot that runs is never written to."""

    def __init__(
        self,
        slots: Mapping[str, Path],
        bootloader: Bootloader,
        state_dir: Path,
        kernel: Kernel | None = None,
    ) -> None:
        self._slots, self._bootloader = dict(slots), bootloader
        self._marker_path = state_dir / "rootfs-ab.json"
        self._kernel = kernel or Kernel()

    def download(self, component: Component, source: ArtifactSource) -> None:
        """Stream the image into the inactive slot, and remember what was written.

        The old content is gone from the first byte on, hence nothing may start it from then on.
        Goes on where it was interrupted, if the slot still holds what the marker says.
        """
        artifact = component.artifact
        name = self._inactive_slot()
        with self._failing(FailureClass.INSTALL, f"slot {name}"):
            self._refuse_in_use(name)
            slot = open_slot(self._slots[name])
            try:
                _refuse_too_large(artifact, capacity(slot), name)
                self._bootloader.cancel()
                with in_background():
                    self._fill(name, slot, artifact, source)
            finally:
                os.close(slot)

    def install(self, component: Component) -> None:
        """Read the slot back from the device, and compare it with what was written."""
        marker = self._marker(component)
        with self._failing(FailureClass.INSTALL, f"slot {marker.slot}"), in_background():
            found = _read_back(self._slots[marker.slot], marker.length)
        if found != marker.sha256:
            raise InstallFailed(
                f"slot {marker.slot} does not hold what was written to it: sha256 {found},"
                f" not {marker.sha256}; the storage may be failing",
                FailureClass.CHECKSUM,
            )

    def reboot_need(self, component: Component) -> RebootNeed:  # noqa: ARG002 - the port's shape
        return RebootNeed.AGENT

    def activate(self, component: Component) -> None:
        self._bootloader.activate(self._marker(component).slot, tries=TRIES)

    def verify(self, component: Component) -> None:
        self._require_running(component, FailureClass.REBOOT)

    def commit(self, component: Component) -> None:
        self._require_running(component, FailureClass.COMMIT)
        self._bootloader.commit()

    def supports_rollback(self, component: Component) -> bool:  # noqa: ARG002 - the port's shape
        return True

    def rollback(self, component: Component) -> None:  # noqa: ARG002 - the port's shape
        self._bootloader.cancel()

    def rollback_reboot(self, component: Component) -> None:
        """The agent reboots; rollback() has told the bootloader what starts then."""

    def verify_rollback(self, component: Component) -> None:
        """Raises InstallFailed unless the primary runs, and is not the slot that was installed."""
        facts = self._bootloader.facts()
        marker = self._read_marker()
        if facts.running != facts.primary or facts.trial is not None:
            raise InstallFailed(
                f"slot {facts.running} runs after the rollback of {component.ref.release},"
                f" not the primary {facts.primary}",
                FailureClass.ROLLBACK,
            )
        if marker and marker.slot == facts.running:
            raise InstallFailed(
                f"{component.ref.release} is committed in slot {facts.running}: not rolled back",
                FailureClass.ROLLBACK,
            )

    def failure(self, component: Component) -> None:
        """Nothing to do: a slot that failed is overwritten by the next download."""

    def cleanup(self, component: Component) -> None:
        with self._failing(FailureClass.INSTALL, f"cleanup of {component.name}"):
            durable.remove(self._marker_path)

    def _fill(self, name: str, slot: int, artifact: Artifact, source: ArtifactSource) -> None:
        """Fetch what is missing. A beginning that turns out not to be of the signed image, perhaps
        as another server sent it, costs a second download, not the update."""
        kept = self._kept(name, slot, artifact, source)
        if kept.length == artifact.uncompressed_size:
            log.info("slot %s holds the image already", name)
            return
        try:
            self._write(name, slot, artifact, source, kept)
        except UpdateRejected as refused:
            if not kept.length or refused.code is not Code.HASH:
                raise
            log.warning("slot %s: its first %d bytes are wrong, again", name, kept.length)
            self._write(name, slot, artifact, source, _Prefix())

    def _write(
        self, name: str, slot: int, artifact: Artifact, source: ArtifactSource, kept: _Prefix
    ) -> None:
        """In this order: the marker claims no more than `kept`, bytes are written and synced, the
        marker claims them."""

        def claim(length: int, sha256: str) -> None:
            marker = Marker(name, sha256, length, artifact.sha256)
            with disk_as_usual():
                durable.write(self._marker_path, encode(marker) + b"\n")

        if not kept.length:
            durable.remove(self._marker_path)
        resumable = _resumable(artifact, source) is not None
        written = _written(slot, artifact, source, kept, claim if resumable else _claim_nothing)
        claim(written.length, written.sha256)
        log.info(
            "slot %s: %d bytes from byte %d on, of which %d were changed",
            name,
            written.length - kept.length,
            kept.length,
            written.changed,
        )

    def _kept(self, name: str, slot: int, artifact: Artifact, source: ArtifactSource) -> _Prefix:
        """Return what an interrupted download of this artifact left, by what the slot holds."""
        marker = None
        with suppress(InstallFailed):  # a damaged one
            marker = self._read_marker()
        if marker is None or (marker.slot, marker.artifact) != (name, artifact.sha256):
            return _Prefix()
        complete = marker.length == artifact.uncompressed_size
        if not complete and _resumable(artifact, source) is None:
            return _Prefix()
        digest = digest_of(slot, marker.length)
        if digest.hexdigest() != marker.sha256:
            log.warning("slot %s was changed since its download: from the start", name)
            return _Prefix()
        return _Prefix(marker.length, digest)

    def _inactive_slot(self) -> str:
        """Return the slot to write to. Raises InstallFailed while the running one is on trial."""
        facts = self._bootloader.facts()
        others = [name for name in self._slots if name != facts.running]
        if facts.running not in self._slots or len(others) != 1:
            raise InstallFailed(
                f"the bootloader runs slot {facts.running!r}, configured are"
                f" {', '.join(sorted(self._slots))}: exactly one other slot is needed",
                FailureClass.PREINSTALL,
            )
        if facts.running != facts.primary:
            raise InstallFailed(
                f"slot {facts.running} is not committed; writing to slot {others[0]} would"
                " destroy what the device falls back to",
                FailureClass.PREINSTALL,
            )
        return others[0]

    def _refuse_in_use(self, name: str) -> None:
        path = self._slots[name]
        if any(path.samefile(other) for slot, other in self._slots.items() if slot != name):
            raise InstallFailed(
                f"slot {name} ({path}) is the same as the running one; correct the configuration",
                FailureClass.PREINSTALL,
            )
        mount = self._kernel.mount_of(path)
        if mount:
            raise InstallFailed(
                f"slot {name} ({path}) is mounted on {mount.point}; unmount it",
                FailureClass.PREINSTALL,
            )

    def _require_running(self, component: Component, failure: FailureClass) -> None:
        marker, facts = self._marker(component), self._bootloader.facts()
        if facts.running != marker.slot or marker.slot not in (facts.trial, facts.primary):
            raise InstallFailed(
                f"slot {facts.running} runs, not slot {marker.slot} with {component.ref.release}:"
                " it did not start",
                failure,
            )

    def _marker(self, component: Component) -> Marker:
        marker, artifact = self._read_marker(), component.artifact
        wanted = (artifact.sha256, artifact.uncompressed_size)
        if marker is None or (marker.artifact, marker.length) != wanted:
            raise InstallFailed(
                f"no slot holds a complete download of {component.ref.release}",
                FailureClass.INSTALL,
            )
        return marker

    def _read_marker(self) -> Marker | None:
        """Return what the last download left, or None."""
        try:
            with self._marker_path.open("rb") as file:
                marker = decode(Marker, file.read(_MARKER_LIMIT + 1), limit=_MARKER_LIMIT)
        except FileNotFoundError:
            return None
        except (OSError, Refusal) as error:
            raise InstallFailed(f"{self._marker_path}: {error}", FailureClass.INSTALL) from error
        return marker if marker.slot in self._slots else None

    @contextmanager
    def _failing(self, failure: FailureClass, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise InstallFailed(
                f"{what}: {error.strerror}", FailureClass.SPACE if full else failure
            ) from error


def _refuse_too_large(artifact: Artifact, room: int, slot: str) -> None:
    if artifact.uncompressed_size > room:
        raise UpdateRejected(
            Code.SPACE,
            f"the image has {artifact.uncompressed_size} bytes, slot {slot} holds {room}",
            FailureClass.SPACE,
        )


def _resumable(artifact: Artifact, source: ArtifactSource) -> ResumableSource | None:
    """Return `source` if it can go on in the middle of the image. No decompressor can."""
    raw = artifact.encoding is Encoding.RAW
    return source if raw and isinstance(source, ResumableSource) else None


def _claim_nothing(_length: int, _sha256: str) -> None:
    """What is compressed is fetched again after an interruption, though not written again."""


def _written(
    slot: int,
    artifact: Artifact,
    source: ArtifactSource,
    kept: _Prefix,
    synced: Callable[[int, str], None],
) -> Written:
    """Write the image after `kept`, and return what the device holds then."""
    resumable = _resumable(artifact, source) if kept.length else None
    chunks = (
        resumable.resume(artifact, kept.length, kept.digest.copy())
        if resumable
        else source.stream(artifact)
    )
    length = kept.length
    with (
        SlotWriter(slot, kept.length, kept.digest, synced) as writer,
        closing(decompress(artifact.encoding, chunks)) as pieces,
    ):
        for piece in pieces:
            length += len(piece)
            if length > artifact.uncompressed_size:
                raise _wrong_length(artifact, "more")
            writer.write(piece)
        if length < artifact.uncompressed_size:
            raise _wrong_length(artifact, f"{length}")
        return writer.finish()


def _wrong_length(artifact: Artifact, found: str) -> UpdateRejected:
    return UpdateRejected(
        Code.LENGTH,
        f"the image was signed as {artifact.uncompressed_size} bytes, but there are {found}",
        FailureClass.DOWNLOAD,
    )


def _read_back(path: Path, length: int) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return digest_of(descriptor, length).hexdigest()
    finally:
        os.close(descriptor)
