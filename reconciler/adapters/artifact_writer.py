"""Writes artifacts of Mender's format 3, and signs those that exist; the same input, same bytes."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.adapters.artifact_packing import PIECE, packing
from reconciler.adapters.artifact_signing import ArtifactSigner
from reconciler.adapters.durable import flush_directory
from reconciler.errors import ReleaseRefused, Unavailable
from schemas.artifact import header, manifest, names, ustar
from schemas.artifact.archive import Archive
from schemas.artifact.reader import FORMAT, SIGNATURE_LIMIT
from schemas.artifact.ustar import END, Member
from schemas.canonical import sha256_hex
from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import Encoding

_SCRIPT_MODE = 0o755
_MEMBERS = 64  # of the outer archive, at most


@dataclass(frozen=True, slots=True)
class NewPayload:
    """`type` None: an empty payload, which only provides. `clears` None: say nothing of it."""

    type: str | None
    files: tuple[Path, ...] = ()
    provides: Mapping[str, str] = field(default_factory=dict)
    depends: Mapping[str, str] = field(default_factory=dict)
    clears: tuple[str, ...] | None = None
    meta_data: bytes = b""


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """What to write. `scripts` are files named as state scripts are."""

    name: str
    device_types: tuple[str, ...]
    payloads: tuple[NewPayload, ...]
    group: str | None = None
    depends_name: tuple[str, ...] = ()
    depends_group: tuple[str, ...] = ()
    scripts: tuple[Path, ...] = ()


def software(kind: str, version: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return the provides and clears by which a device knows a payload of `kind`, as Mender's."""
    if kind == names.ROOTFS_IMAGE:
        clears = ("artifact_group", "rootfs_image_checksum", "rootfs-image.*")
        return {"rootfs-image.version": version}, clears
    return {f"rootfs-image.{kind}.version": version}, (f"rootfs-image.{kind}.*",)


def write_artifact(
    new: NewArtifact, output: Path, encoding: Encoding, signer: ArtifactSigner | None = None
) -> None:
    """Write `new` to `output`, whole or not at all. An existing file is replaced.

    Raises ReleaseRefused for what could not be read again, Unavailable (disk, zstd).
    """
    with (
        _refusing(output),
        tempfile.TemporaryDirectory(dir=output.parent, prefix=".artifact.") as made,
    ):
        folder = Path(made)
        data = [folder / f"{index}" for index in range(len(new.payloads))]
        sums = [
            (names.data_folder(index) + name, checksum)
            for index, (payload, path) in enumerate(zip(new.payloads, data, strict=True))
            for name, checksum in _write_data(payload, path, encoding)
        ]
        head = folder / "header"
        _write_header(new, sums, head, encoding)
        version = json.dumps(FORMAT, separators=(",", ":")).encode()
        stem = names.packed(names.HEADER, encoding)
        sums += [(names.VERSION, sha256_hex(version)), (stem, sha256_hex(head.read_bytes()))]
        signed = manifest.encode(sums)
        with _replacing(output) as write:
            _bytes(write, names.VERSION, version)
            _bytes(write, names.MANIFEST, signed)
            if signer:
                _bytes(write, names.SIGNATURE, signer.sign(signed))
            _file(write, stem, head)
            for index, path in enumerate(data):
                _file(write, names.packed(names.data_stem(index), encoding), path)
            write(2 * END)


def sign_artifact(path: Path, output: Path, signer: ArtifactSigner) -> None:
    """Write to `output` the artifact at `path`, with `signer`'s signature instead of any other.

    Everything else stays byte for byte. `output` may be `path`. Raises ReleaseRefused, Unavailable.
    """
    with _refusing(path), path.open("rb") as file, _replacing(output) as write:
        outer = Archive(_pieces(file.read), str(path), _MEMBERS)
        _bytes(write, names.VERSION, _small(outer, names.VERSION))
        signed = _small(outer, names.MANIFEST)
        manifest.parse(signed)
        _bytes(write, names.MANIFEST, signed)
        _bytes(write, names.SIGNATURE, signer.sign(signed))
        if (member := outer.peek()) and member.name == names.SIGNATURE:
            outer.leave()
        while member := outer.peek():
            write(ustar.build(member))
            for piece in outer.content():
                write(piece)
            write(bytes(ustar.padding(member.size)))
            outer.leave()
        write(2 * END)


def _small(outer: Archive, name: str) -> bytes:
    outer.expect(name)
    data = outer.small(max(manifest.LIMIT, SIGNATURE_LIMIT))
    outer.leave()
    return data


def _write_data(payload: NewPayload, path: Path, encoding: Encoding) -> list[tuple[str, str]]:
    """Write the archive of a payload's files; return their names and checksums, in order."""
    sums = []
    with packing(path, encoding) as write:
        for file in payload.files:
            name = names.file_name(file.name, "")
            sums.append((name, _file(write, name, file, mode=0o644)))
        write(2 * END)
    return sums


def _write_header(
    new: NewArtifact, sums: list[tuple[str, str]], path: Path, encoding: Encoding
) -> None:
    """Write the header archive, after reading it as a device will."""
    parts: list[bytes] = []
    _bytes(parts.append, names.HEADER_INFO, _header_info(new))
    for script in sorted(new.scripts, key=lambda each: each.name):
        content = _limited(script, header.MAX_DOCUMENT)
        _bytes(parts.append, names.SCRIPTS + script.name, content, mode=_SCRIPT_MODE)
    for index, payload in enumerate(new.payloads):
        _bytes(parts.append, names.type_info(index), _type_info(payload, index, sums))
        if payload.meta_data:
            _bytes(parts.append, names.meta_data(index), payload.meta_data)
    parts.append(2 * END)
    header.read(Archive(parts, names.HEADER, header.MAX_MEMBERS))
    with packing(path, encoding) as write:
        for part in parts:
            write(part)


def _header_info(new: NewArtifact) -> bytes:
    provides = {"artifact_name": new.name}
    if new.group is not None:
        provides["artifact_group"] = new.group
    depends: dict[str, tuple[str, ...]] = {"device_type": new.device_types}
    if new.depends_name:
        depends["artifact_name"] = new.depends_name
    if new.depends_group:
        depends["artifact_group"] = new.depends_group
    return _json(
        {
            "payloads": [{"type": payload.type} for payload in new.payloads],
            "artifact_provides": provides,
            "artifact_depends": depends,
        }
    )


def _type_info(payload: NewPayload, index: int, sums: list[tuple[str, str]]) -> bytes:
    provides = dict(payload.provides)
    if payload.type == names.ROOTFS_IMAGE:
        folder = names.data_folder(index)
        images = [checksum for name, checksum in sums if name.startswith(folder)]
        if len(images) != 1:
            raise Refusal(Code.SCHEMA, "a rootfs-image payload is exactly one file")
        provides.setdefault("rootfs-image.checksum", images[0])
    info: dict[str, object] = {"type": payload.type}
    if provides:
        info["artifact_provides"] = provides
    if payload.depends:
        info["artifact_depends"] = dict(payload.depends)
    if payload.clears is not None:
        info["clears_artifact_provides"] = payload.clears
    return _json(info)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _bytes(write: Callable[[bytes], object], name: str, data: bytes, mode: int = 0o600) -> None:
    write(ustar.build(Member(name, len(data)), mode))
    write(data)
    write(bytes(ustar.padding(len(data))))


def _file(write: Callable[[bytes], object], name: str, path: Path, mode: int = 0o600) -> str:
    """Write the member `name` with the content of `path`; return its checksum."""
    digest, written = hashlib.sha256(), 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        write(ustar.build(Member(name, size), mode))
        for piece in _pieces(file.read):
            digest.update(piece)
            written += len(piece)
            write(piece)
    if written != size:
        raise Unavailable(f"{path} changed while it was read; run it again")
    write(bytes(ustar.padding(size)))
    return digest.hexdigest()


def _limited(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Refusal(Code.LIMIT, f"{path} has over {limit} bytes")
    return data


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while piece := read(PIECE):
        yield piece


@contextmanager
def _replacing(output: Path) -> Iterator[Callable[[bytes], object]]:
    """Put what is written in place of `output` durably, or leave everything as it was."""
    fd, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=output.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file.write
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(name).replace(output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    flush_directory(output.parent)


@contextmanager
def _refusing(file: Path) -> Iterator[None]:
    try:
        yield
    except Refusal as refusal:
        raise ReleaseRefused(str(refusal)) from refusal
    except OSError as error:
        raise Unavailable(f"{error.filename or file}: {error.strerror}") from error
