"""The same artifact made twice: by Debian's mender-artifact, and by `fleetcd artifact write`."""

import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from typer.testing import CliRunner

from reconciler.cli.artifact import artifact
from tests.support.differential import DEVICE_TYPE
from tests.support.differential_modules import write_scripts

ARTIFACT_STATES = ("ArtifactInstall", "ArtifactCommit", "ArtifactRollback", "ArtifactFailure")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What goes into an artifact. `provides` and `depends`: KEY:VALUE."""

    module: str
    files: tuple[Path, ...] = ()
    name: str = "app-2"
    scripts: tuple[Path, ...] = ()
    provides: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    clears: tuple[str, ...] = ()
    depends_name: tuple[str, ...] = ()
    group: str = ""
    meta_data: Path | None = None
    device_type: str = DEVICE_TYPE


Writer = Callable[[Recipe, str, Path], None]
"""Writes a recipe, packed as none, gzip or lzma, to a path."""


def by_mender_artifact(recipe: Recipe, compression: str, output: Path) -> None:
    options = _common(recipe) + list(_each("-f", recipe.files))
    options += ["-g", recipe.group] if recipe.group else []
    argv = ["mender-artifact", "write", "module-image", *options, "-o", str(output)]
    done = subprocess.run(
        [*argv, "--compression", compression], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def by_fleetcd(recipe: Recipe, compression: str, output: Path) -> None:
    names = {"none": "raw", "gzip": "gzip", "lzma": "xz"}
    options = ["write", *_common(recipe), "-o", str(output), "--compression", names[compression]]
    options += ["--group", recipe.group] if recipe.group else []
    arguments = [*options, "--", *map(str, recipe.files)]
    done = CliRunner().invoke(artifact, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


WRITERS: Mapping[str, Writer] = {"mender-artifact": by_mender_artifact, "fleetcd": by_fleetcd}
COMPRESSIONS = ("none", "gzip", "lzma")


def _common(recipe: Recipe) -> list[str]:
    """Return the options that both writers have."""
    options = ["-n", recipe.name, "-t", recipe.device_type, "-T", recipe.module]
    options += chain(
        _each("-s", recipe.scripts),
        _each("-p", recipe.provides),
        _each("-d", recipe.depends),
        _each("--clears-provides", recipe.clears),
        _each("-N", recipe.depends_name),
    )
    return options + (["-m", str(recipe.meta_data)] if recipe.meta_data else [])


def _each(option: str, values: tuple[str | Path, ...]) -> Iterator[str]:
    for value in values:
        yield from (option, str(value))


def single_file(place: Path, target: Path, content: bytes, *, mode: str = "640") -> Recipe:
    files = _files(place, dest_dir=f"{target}/app", filename="hello.txt", permissions=mode)
    (place / "hello.txt").write_bytes(content)
    return Recipe("single-file", (*files, place / "hello.txt"))


def directory(place: Path, target: Path, content: Mapping[str, bytes]) -> Recipe:
    """A link and a program are in it as well as the files of `content`."""
    inside = place / "inside"
    inside.mkdir(parents=True)
    for name, data in content.items():
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_bytes(data)
    (inside / "program").write_bytes(b"#!/bin/sh\n")
    (inside / "program").chmod(0o755)
    (inside / "link").symlink_to("program")
    (dest_dir,) = _files(place, dest_dir=f"{target}/app")
    with tarfile.open(place / "update.tar", "w") as archive:
        archive.add(inside, ".")
    return Recipe("directory", (dest_dir, place / "update.tar"))


def deb(place: Path, target: Path, version: str) -> Recipe:
    root = place / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: kiosk-app\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.com>\nDescription: a test's package\n"
    )
    inside = root / str(target).lstrip("/") / "app"
    inside.mkdir(parents=True)
    (inside / "version").write_text(version)
    package = place / f"kiosk-app_{version}_all.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-b", str(root), str(package)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return Recipe("deb", (package,), name=f"app-{version}")


def scripts(place: Path, target: Path, *, exits: int = 0) -> Recipe:
    """Three programs in one payload; the last one exits with status `exits`."""
    place.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(3):
        path = place / f"{number}-step.sh"
        path.write_text(
            f'#!/bin/sh\necho step {number} >>"{target}/steps"\n'
            f"exit {exits if number == 2 else 0}\n"
        )
        files.append(path)
    return Recipe("script", tuple(files))


def artifact_scripts(place: Path, common: Path, failing: str = "") -> tuple[Path, ...]:
    """Return state scripts for an artifact that note that they ran; `failing` exits with 1."""
    place.mkdir(parents=True, exist_ok=True)
    write_scripts(place, common, ARTIFACT_STATES, failing)
    return tuple(path for path in sorted(place.iterdir()) if path.name != "version")


def _files(place: Path, **contents: str) -> tuple[Path, ...]:
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (place / name).write_text(content)
    return tuple(place / name for name in contents)
