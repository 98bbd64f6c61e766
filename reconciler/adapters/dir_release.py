"""`fleetcd release add`: a file becomes a signed release in a working clone, and a blob."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from securesystemslib.signer import Signer

from reconciler.adapters import tuf_signing
from reconciler.adapters.artifact_files import ReadArtifact, is_artifact, read_releasable
from reconciler.adapters.dir_blobs import Measured, measure, store
from reconciler.adapters.dir_layout import Layout, read_limited
from reconciler.adapters.durable import Disk, Medium
from reconciler.adapters.tuf_published import read_release_files
from reconciler.adapters.tuf_releases import SIGNED
from reconciler.adapters.yaml_loader import Loader
from reconciler.domain.build_document import Loaded
from reconciler.domain.problems import Problem
from reconciler.errors import ReleaseRefused, Unavailable
from reconciler.ports import RepoFile
from schemas.kinds.base import API_VERSION
from schemas.kinds.release import Release, descriptor
from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import MENDER, ROOTFS_AB, Descriptor, Encoding


@dataclass(frozen=True, slots=True)
class NewRelease:
    """What to release. `scope` None: slot for rootfs-ab, else data. `url` None: from the tree.

    `installer` empty: mender for an artifact of Mender's format, else rootfs-ab. `compatible` is a
    selector over labels and facts; empty fits every device. `within` is a duration as in YAML.
    `encoding` None: by the file's first bytes.
    """

    name: str
    version: str
    file: Path
    installer: str = ""
    scope: str | None = None
    compatible: str = ""
    checks: tuple[str, ...] = ()
    within: str = "10m"
    epoch: int = 0
    encoding: Encoding | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class AddedRelease:
    """`written` are the clone's files to commit; none when it was all there already.

    `inside` is what an artifact of Mender's format holds, None for any other.
    """

    descriptor: Descriptor
    written: tuple[Path, ...]
    blob: Path | None
    inside: ReadArtifact | None


def add_release(
    new: NewRelease,
    *,
    repository: Path,
    tree: Path | None,
    signers: tuple[Signer, ...],
    now: datetime,
    disk: Disk | None = None,
) -> AddedRelease:
    """Measure the file, copy it into `tree`, write the YAML and the signed metadata.

    Blob first, then the signature, then the YAML that names both. Nothing is committed to Git.
    Again: no effect. Raises ReleaseRefused (another content for this version, a file that devices
    would refuse), NotSigned (metadata of another release key), Unavailable, with nothing written.
    """
    new = _with_installer(new)
    measured = measure(new.file, new.encoding)
    mender = new.installer == MENDER
    inside = read_releasable(new.file, measured.encoding) if mender else None
    path = f"releases/{new.name}/{new.version}.yaml"
    text = release_yaml(new, measured)
    signed = descriptor(_checked(text))
    try:
        existing = _existing(repository / path, path)
        if existing and existing != signed:
            raise Refusal(
                Code.MISMATCH,
                f"{path} describes another content; a release never changes",
                remedy="choose a new version",
            )
        files = tuf_signing.add_descriptor(
            signed_files(repository), read_release_files(tree), signed, signers, now
        )
        blob = _stored(new, measured, tree)
        wanted = [(repository / SIGNED / name, data) for name, data in files.items()]
        if not existing:
            wanted.append((repository / path, text))
        (disk or Medium()).write(wanted)
    except Refusal as error:
        raise ReleaseRefused(str(error)) from error
    except OSError as error:
        raise Unavailable(f"{error.filename or repository}: {error.strerror}") from error
    return AddedRelease(signed, tuple(file for file, _ in wanted), blob, inside)


def _with_installer(new: NewRelease) -> NewRelease:
    """Return `new` with the installer that the file needs, if none is named."""
    mender = new.installer in ("", ROOTFS_AB) and is_artifact(new.file)
    if mender and new.installer:
        raise ReleaseRefused(
            f"{Code.FORMAT}: {new.file}: an artifact of Mender's format is no image of a root"
            f" filesystem; let its installer be {MENDER}"
        )
    return replace(new, installer=new.installer or (MENDER if mender else ROOTFS_AB))


def renew_releases(
    *, repository: Path, tree: Path | None, signers: tuple[Signer, ...], now: datetime
) -> tuple[Path, ...]:
    """Sign all release metadata anew, for its full time to live; return the files to commit."""
    try:
        files = tuf_signing.renew(signed_files(repository), read_release_files(tree), signers, now)
        wanted = [(repository / SIGNED / name, data) for name, data in files.items()]
        Medium().write(wanted)
    except Refusal as error:
        raise ReleaseRefused(str(error)) from error
    except OSError as error:
        raise Unavailable(f"{error.filename or repository}: {error.strerror}") from error
    return tuple(file for file, _ in wanted)


def signed_files(repository: Path) -> Mapping[str, bytes]:
    """Return the signed release metadata of a working clone by file name."""
    return {file.name: read_limited(file) for file in sorted((repository / SIGNED).glob("*.json"))}


def release_yaml(new: NewRelease, measured: Measured) -> bytes:
    """Return the Release document, every text quoted that could be read as something else."""
    health: dict[str, Any] = {"within": new.within} | (
        {"checks": list(new.checks)} if new.checks else {}
    )
    artifact = {
        "compatible": new.compatible,
        **({"url": new.url} if new.url else {}),
        "sha256": measured.sha256,
        "size": measured.size,
        "uncompressedSize": measured.uncompressed_size,
        "encoding": str(measured.encoding),
    }
    spec = {
        "version": _Quoted(new.version),
        "installer": _Quoted(new.installer),
        **({"scope": new.scope} if new.scope else {}),
        "epoch": new.epoch,
        "artifacts": [artifact | {"sha256": _Quoted(measured.sha256)}],
        "health": health,
    }
    document = {
        "apiVersion": API_VERSION,
        "kind": "Release",
        "metadata": {"name": _Quoted(new.name)},
        "spec": spec,
    }
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=4096).encode()


class _Quoted(str):
    """Text that could be read as a number or a truth: `1.10`, `0644`, `no`."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Quoted,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"'),
)


def _checked(text: bytes) -> Release:
    """Return what the command asks for. Its mistakes have a field, but no line in a file."""
    loaded = _loaded("release.yaml", text)
    if loaded.problems:
        raise ReleaseRefused("\n".join(map(_without_place, loaded.problems)))
    return read_release("release.yaml", text)


def _without_place(problem: Problem) -> str:
    remedy = f" ({problem.remedy})" if problem.remedy else ""
    return f"{problem.code}: {problem.field}: {problem.message}{remedy}"


def _loaded(path: str, text: bytes) -> Loaded:
    return Loader().load([RepoFile(path, path, len(text))], lambda _: {path: text})


def read_release(path: str, text: bytes) -> Release:
    """Return the one Release in `text`. Raises ReleaseRefused with every problem in it."""
    loaded = _loaded(path, text)
    if loaded.problems:
        raise ReleaseRefused("\n".join(map(str, loaded.problems)))
    models = [document.model for document in loaded.documents]
    if len(models) != 1 or not isinstance(models[0], Release):
        raise ReleaseRefused(f"{path}: exactly one Release belongs here")
    return models[0]


def _existing(file: Path, path: str) -> Descriptor | None:
    return descriptor(read_release(path, read_limited(file))) if file.is_file() else None


def _stored(new: NewRelease, measured: Measured, tree: Path | None) -> Path | None:
    if tree is None:
        return None
    place = Layout(tree).artifact(measured.sha256)
    store(new.file, place, measured.sha256)
    return place
