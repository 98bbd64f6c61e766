"""`fleetcd release add` and `renew`: what may ever run is signed here, by a person or by CI."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from reconciler.errors import Misconfigured
from schemas.wire.descriptor import Encoding

if TYPE_CHECKING:  # imported when the command runs: TUF costs more than the whole help text
    from securesystemslib.signer import Signer

    from reconciler.adapters.artifact_files import ReadArtifact
    from reconciler.adapters.dir_release import AddedRelease

release = typer.Typer(help="Releases: measured, described and signed.", no_args_is_help=True)

Repo = Annotated[Path, typer.Option("--repo", help="A working clone of the fleet repository.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="fleetcd.toml: names the tree and, beside it, keys.")
]
Tree = Annotated[
    Path | None, typer.Option("--tree", help="The published tree, if it lies on this machine.")
]
Key = Annotated[
    list[str] | None,
    typer.Option("--key", help="A release key, file:PATH; repeat it for a threshold."),
]


@release.command()
def add(
    name: Annotated[str, typer.Argument(help="Such as kiosk-os.")],
    version: Annotated[str, typer.Argument(help="Such as 1.5.0.")],
    file: Annotated[Path, typer.Argument(help="An image (or its gzip, xz, zstd); a .mender file.")],
    repo: Repo = Path(),
    installer: Annotated[
        str,
        typer.Option(
            help="rootfs-ab, mender, or the name of an Update Module that takes FILE itself;"
            " default by the file: mender for a .mender file, else rootfs-ab."
        ),
    ] = "",
    scope: Annotated[
        str, typer.Option(help="slot or data; default slot for rootfs-ab, else data.")
    ] = "",
    compatible: Annotated[
        str, typer.Option(help="A selector over labels and facts; default every device.")
    ] = "",
    health_check: Annotated[
        list[str] | None,
        typer.Option(help="network, systemd:UNIT, command:ARGV or a URL; may be repeated."),
    ] = None,
    health_within: Annotated[str, typer.Option(help="Time for the checks to pass.")] = "10m",
    epoch: Annotated[int, typer.Option(help="Security level; never goes down.", min=0)] = 0,
    encoding: Annotated[
        Encoding | None, typer.Option(help="Default: by the file's first bytes.")
    ] = None,
    url: Annotated[
        str, typer.Option(help="Where devices fetch it, if not from the published tree.")
    ] = "",
    tree: Tree = None,
    config: Config = None,
    key: Key = None,
) -> None:
    """Describe FILE as NAME@VERSION, sign it, and copy it into the published tree.

    A .mender file is read through first, as a device reads it, and what is in it is shown.

    Nothing is committed: the Git commands are shown. Again, with the same file: no effect.
    """
    from reconciler.adapters.dir_release import NewRelease, add_release

    place = _tree(tree, config)
    if place is None and not url:
        raise Misconfigured("devices must find the file: name --tree or --config, or its --url")
    _expect_clone(repo)
    added = add_release(
        NewRelease(
            name=name,
            version=version,
            file=file,
            installer=installer,
            scope=scope or None,
            compatible=compatible,
            checks=tuple(health_check or ()),
            within=health_within,
            epoch=epoch,
            encoding=encoding,
            url=url or None,
        ),
        repository=repo,
        tree=place,
        signers=_signers(key, config),
        now=datetime.now(UTC),
    )
    _tell(added, repo)


@release.command()
def renew(repo: Repo = Path(), tree: Tree = None, config: Config = None, key: Key = None) -> None:
    """Sign all release metadata anew: it expires after 180 days."""
    from reconciler.adapters.dir_release import renew_releases

    _expect_clone(repo)
    written = renew_releases(
        repository=repo,
        tree=_tree(tree, config),
        signers=_signers(key, config),
        now=datetime.now(UTC),
    )
    _tell_git(written, repo, "Renew the release signatures")


def _expect_clone(repo: Path) -> None:
    """Raise Misconfigured where nobody could commit what would be written."""
    if not (repo / ".git").exists():
        raise Misconfigured(
            f"{repo.resolve()} is not a clone of the fleet repository (it has no .git);"
            " go there, or name it with --repo"
        )


def _tree(tree: Path | None, config: Path | None) -> Path | None:
    from reconciler.settings import Settings

    return tree or (Settings.load(config).tree.directory if config else None)


def _signers(keys: list[str] | None, config: Path | None) -> tuple["Signer", ...]:
    """Return the release keys named, or the one that `fleetcd init` made beside `config`."""
    from reconciler.adapters.signers import load_signer

    if keys:
        return tuple(map(load_signer, keys))
    if config is None:
        raise Misconfigured("no release key: name it with --key file:PATH (or --config)")
    return (load_signer(f"file:{config.resolve().parent / 'keys' / 'release.pem'}"),)


def _tell(added: "AddedRelease", repo: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    descriptor, artifact = added.descriptor, added.descriptor.artifacts[0]
    state = "signed" if added.written else "unchanged: it was released already"
    console.print(f"[bold green]✓[/] [bold]{descriptor.release}[/] {state}")
    console.print(f"  descriptor  {descriptor.digest}")
    console.print(f"  artifact    {artifact.size} bytes, {artifact.encoding}", end="")
    console.print(f", {artifact.uncompressed_size} unpacked")
    if added.inside:
        _tell_inside(added.inside, console)
    _tell_git(added.written, repo, f"Release {descriptor.release}")


def _tell_inside(found: "ReadArtifact", console: Console) -> None:
    head = found.header
    console.print(f"  holds       {head.name}, for {', '.join(head.device_types)}", markup=False)
    for index, payload in enumerate(head.payloads):
        files = sum(file.payload == index for file in found.files)
        count = "1 file" if files == 1 else f"{files} files"
        what = f"{payload.type}, {count}" if payload.type else "empty: it only provides"
        console.print(f"  payload {index}   {what}", markup=False)
    if head.scripts:
        console.print(f"  scripts     {', '.join(script.name for script in head.scripts)}")
    signature = "there is one; not verified here" if found.has_signature else "none"
    console.print(f"  signature   {signature}")


def _tell_git(written: tuple[Path, ...], repo: Path, message: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if written:
        git = "git" if repo == Path() else f"git -C {shlex.quote(str(repo))}"
        console.print("\n[bold]Next[/]")
        console.print(f"  {git} add releases", markup=False)
        console.print(f"  {git} commit -m {shlex.quote(message)}", markup=False)
        console.print(f"  {git} push", markup=False)
