"""The Update Module `deb`: installs Debian packages with dpkg, and can go back to what was there.

Payload: one or more packages. dpkg and not apt-get: it needs no network and no package lists, and
touches no package but those of the payload. Going back needs the former version's file: it is
looked for before anything changes, first in the cache of what this module installed last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import dpkg, files
from .protocol import Module, Refused, Tree

APT_ARCHIVES = Path("/var/cache/apt/archives")
CACHE = Path("/var/lib/fleetcd/deb-cache")  # for a tree that does not lie where trees lie

_NOTE, _FORMER = "before", "former"


class Before(NamedTuple):
    """One package before the update. `version` None: its files were not there.

    `former` is the name of the file in the tree's `tmp/former` that brings it back, None without.
    """

    name: str
    architecture: str
    status: str
    version: str | None
    former: str | None


def install(tree: Tree) -> None:
    debs = _debs(tree)
    with dpkg.locked():
        dpkg.repair()
        _before(tree)
        dpkg.install(map(str, debs))


def supports_rollback(tree: Tree) -> bool:
    """Can every package be brought back to its version, or be removed again?"""
    try:
        return not _lost(_before(tree))
    except Refused:
        return True  # install() refuses it as well, before it changes anything


def rollback(tree: Tree) -> None:
    """Remove what was not there, then install what was. Before install(): no effect.

    In this order, since a package that is new may have taken over files of one that is old.
    """
    if tree.note(_NOTE) is None:
        return
    before = _before(tree)
    if _lost(before):
        raise Refused(f"there is no file to bring back {', '.join(_lost(before))}; install it")
    with dpkg.locked():
        _remove([one for one in before if one.version is None])
        formers = [str(tree.tmp / _FORMER / one.former) for one in before if one.former]
        if formers:
            dpkg.install(formers)
    _check(before)


def cleanup(tree: Tree) -> None:
    """Keep the files of what is installed now, for the next update's rollback; drop others."""
    cache = _cache(tree)
    files.make(files.missing(cache))
    for deb in (*_in(tree.files), *_in(tree.tmp / _FORMER)):
        package = _read(deb)
        if package is not None and dpkg.is_installed(package):
            files.place(deb, cache / package.file_name)
    for deb in _in(cache):
        package = _read(deb)
        if package is None or not dpkg.is_installed(package):
            deb.unlink()
    files.sync_directory(cache)


def _before(tree: Tree) -> list[Before]:
    """Return what was there at first, however often it is asked for."""
    note = tree.note(_NOTE)
    if note is not None:
        return [Before(*one) for one in note]
    (tree.tmp / _FORMER).mkdir(exist_ok=True)
    before = [_one_before(tree, dpkg.package_of(deb)) for deb in _debs(tree)]
    files.sync_directory(tree.tmp)
    tree.write_note(_NOTE, before)
    return before


def _one_before(tree: Tree, package: dpkg.Package) -> Before:
    status, old = dpkg.present(package)
    if old is None:
        return Before(package.name, package.architecture, status, None, None)
    former = _former(tree, old)
    return Before(old.name, old.architecture, status, old.version, former)


def _former(tree: Tree, old: dpkg.Package) -> str | None:
    """Bring the file of the package `old` into the tree, and return its name there."""
    kept = tree.tmp / _FORMER / old.file_name
    named = [directory / old.file_name for directory in (_cache(tree), APT_ARCHIVES)]
    for deb in (*named, *_in(tree.files)):
        if _read(deb) == old:
            files.place(deb, kept)
            return kept.name
    dpkg.fetch(old, kept.parent)
    return kept.name if _read(kept) == old else None


def _read(deb: Path) -> dpkg.Package | None:
    """Return which package the file is, None for no file and for a damaged one."""
    try:
        return dpkg.package_of(deb)
    except Refused:
        return None


def _lost(before: Sequence[Before]) -> list[str]:
    return [f"{one.name} {one.version}" for one in before if one.version and not one.former]


def _remove(added: Sequence[Before]) -> None:
    """Leave configuration files where there were some before."""
    for act, statuses in (("--purge", ("not-installed",)), ("--remove", ("config-files",))):
        names = [
            one.name
            for one in added
            if one.status in statuses and dpkg.present(_any(one)).status != one.status
        ]
        if names:
            dpkg.work("--force-depends", "--force-remove-reinstreq", act, *names)


def _check(before: Sequence[Before]) -> None:
    for one in before:
        now = dpkg.present(_any(one))
        version = now.package.version if now.package else None
        if version != one.version or (version and now.status != "installed"):
            raise Refused(
                f"{one.name} is {version or 'absent'} ({now.status}) after the rollback,"
                f" it was {one.version or 'absent'}; see dpkg's words above"
            )


def _any(one: Before) -> dpkg.Package:
    return dpkg.Package(one.name, one.version or "", one.architecture)


def _debs(tree: Tree) -> list[Path]:
    """Return the payload's files that end in .deb; if none does, all of them."""
    payload = _in(tree.files)
    debs = [path for path in payload if path.suffix == ".deb"] or payload
    if not debs:
        raise Refused("the payload has no package; add a .deb file to the artifact")
    return debs


def _in(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _cache(tree: Tree) -> Path:
    """Return the cache beside all trees, which outlives them: STATE/modules/v3/deb-cache."""
    payloads = tree.path.parent.parent
    return payloads.with_name("deb-cache") if payloads.name == "payloads" else CACHE


MODULE = Module(
    "deb",
    actions={"ArtifactInstall": install, "ArtifactRollback": rollback, "Cleanup": cleanup},
    supports_rollback=supports_rollback,
)
