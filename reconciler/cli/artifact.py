"""`fleetcd artifact`: writes, reads, signs and checks artifacts of Mender's format."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from reconciler.errors import Misconfigured
from schemas.wire.descriptor import Encoding

if TYPE_CHECKING:  # imported when the command runs: cryptography costs more than the help text
    from reconciler.adapters.artifact_files import ReadArtifact
    from schemas.artifact.trusted_key import TrustedKey

artifact = typer.Typer(help="Artifacts of Mender's format (.mender).", no_args_is_help=True)

Artifact = Annotated[Path, typer.Argument(help="The artifact.")]
PublicKeys = Annotated[
    list[Path] | None,
    typer.Option("--key", help="A public key in PEM; one of those given must have signed it."),
]
Signer = Annotated[
    Path | None,
    typer.Option("--key", help="A private key in PEM: RSA, ECDSA P-256, or Ed25519 (ours only)."),
]


@artifact.command()
def write(
    files: Annotated[
        list[Path] | None, typer.Argument(help="The payload's files; none for an empty payload.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")] = Path(
        "artifact.mender"
    ),
    name: Annotated[str, typer.Option("--name", "-n", help="Such as kiosk-app-1.5.0.")] = "",
    kind: Annotated[
        str, typer.Option("--type", "-T", help="rootfs-image, or the name of an Update Module.")
    ] = "",
    device_type: Annotated[
        list[str] | None, typer.Option("--device-type", "-t", help="May be repeated.")
    ] = None,
    group: Annotated[str, typer.Option(help="The artifact group it provides.")] = "",
    script: Annotated[
        list[Path] | None,
        typer.Option("--script", "-s", help="Such as ArtifactInstall_Enter_00; may be repeated."),
    ] = None,
    meta_data: Annotated[
        Path | None, typer.Option("--meta-data", "-m", help="A JSON object for the module.")
    ] = None,
    provides: Annotated[
        list[str] | None, typer.Option("--provides", "-p", help="KEY:VALUE; may be repeated.")
    ] = None,
    depends: Annotated[
        list[str] | None, typer.Option("--depends", "-d", help="KEY:VALUE; may be repeated.")
    ] = None,
    depends_name: Annotated[
        list[str] | None,
        typer.Option("--artifact-name-depends", "-N", help="One of these is installed."),
    ] = None,
    depends_group: Annotated[
        list[str] | None,
        typer.Option("--depends-groups", "-G", help="One of these is the device's group."),
    ] = None,
    clears: Annotated[
        list[str] | None,
        typer.Option("--clears-provides", help="In addition; * matches anything; may be repeated."),
    ] = None,
    compression: Annotated[Encoding, typer.Option(help="zstd needs Mender 4.")] = Encoding.GZIP,
    key: Signer = None,
) -> None:
    """Write FILES as an artifact with one payload. The same input gives the same bytes."""
    from reconciler.adapters.artifact_signing import load_artifact_signer
    from reconciler.adapters.artifact_writer import (
        NewArtifact,
        NewPayload,
        software,
        write_artifact,
    )

    if not name or not device_type:
        raise Misconfigured("an artifact has a --name, and at least one --device-type")
    if files and not kind:
        raise Misconfigured("files are of a --type: rootfs-image, or an Update Module's name")
    said, cleared = software(kind, name) if kind else ({}, ())
    payload = NewPayload(
        type=kind or None,
        files=tuple(files or ()),
        provides={**said, **_pairs(provides)},
        depends=_pairs(depends),
        clears=(*cleared, *(clears or ())) or None,
        meta_data=_content(meta_data),
    )
    new = NewArtifact(
        name=name,
        device_types=tuple(device_type),
        payloads=(payload,),
        group=group or None,
        depends_name=tuple(depends_name or ()),
        depends_group=tuple(depends_group or ()),
        scripts=tuple(script or ()),
    )
    write_artifact(new, output, compression, load_artifact_signer(key) if key else None)
    typer.echo(f"{output} written")


@artifact.command()
def read(file: Artifact, key: PublicKeys = None) -> None:
    """Check FILE as a device does, and show what is in it."""
    _show(_read(file, key))


@artifact.command()
def sign(
    file: Artifact,
    key: Signer = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: FILE itself.")
    ] = None,
) -> None:
    """Sign FILE, instead of any signature that it has. Nothing else in it changes."""
    from reconciler.adapters.artifact_signing import load_artifact_signer
    from reconciler.adapters.artifact_writer import sign_artifact

    if key is None:
        raise Misconfigured("no private key: name it with --key PATH")
    target = output or file
    sign_artifact(file, target, load_artifact_signer(key))
    typer.echo(f"{target} signed")


@artifact.command()
def verify(file: Artifact, key: PublicKeys = None) -> None:
    """Check FILE, and that one of the keys has signed it; say which."""
    if not key:
        raise Misconfigured("no public key: name it with --key PATH")
    typer.echo(f"{file} is signed by {_read(file, key).signed_by}")


@artifact.command()
def validate(file: Artifact, key: PublicKeys = None) -> None:
    """Check every byte of FILE as a device does; with --key, its signature too."""
    found = _read(file, key)
    typer.echo(f"{file} is valid: {found.header.name}, {len(found.files)} files")


def _read(file: Path, keys: list[Path] | None) -> "ReadArtifact":
    from reconciler.adapters.artifact_files import read_artifact

    return read_artifact(file, _trusted(keys))


def _trusted(keys: list[Path] | None) -> tuple["TrustedKey", ...]:
    from reconciler.adapters.artifact_signing import load_trusted_key

    return tuple(map(load_trusted_key, keys or ()))


def _pairs(texts: list[str] | None) -> dict[str, str]:
    pairs = [text.partition(":") for text in texts or ()]
    if wrong := [key + value for key, colon, value in pairs if not (key and colon)]:
        raise Misconfigured(f"{wrong[0]!r} is not KEY:VALUE")
    return {key: value for key, _, value in pairs}


def _content(path: Path | None) -> bytes:
    from reconciler.adapters.dir_layout import read_limited
    from schemas.artifact.header import MAX_DOCUMENT

    return read_limited(path, MAX_DOCUMENT) if path else b""


def _show(found: "ReadArtifact") -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    head = found.header
    rows = [
        ("name", head.name),
        ("group", head.group or ""),
        ("device types", ", ".join(head.device_types)),
        ("after artifacts", ", ".join(head.depends_name)),
        ("after groups", ", ".join(head.depends_group)),
        ("scripts", ", ".join(script.name for script in head.scripts)),
        ("signed by", found.signed_by or ""),
    ]
    for index, payload in enumerate(head.payloads):
        rows.append((f"payload {index}", payload.type or "empty"))
        rows += [("  provides", f"{key}: {value}") for key, value in payload.provides.items()]
        rows += [("  depends", f"{key}: {', '.join(any)}") for key, any in payload.depends.items()]
        rows += [("  clears", ", ".join(payload.clears or ()))]
        files = [file for file in found.files if file.payload == index]
        rows += [("  file", f"{each.name}  {each.size}  {each.checksum}") for each in files]
    for name, value in rows:
        if value:
            console.print(f"{name:<16} {value}")
