"""Unpacks a tar archive below one directory, and writes nothing anywhere else.

Own code, since tarfile's filters are missing from the older Pythons that devices have. A symbolic
link may lead anywhere, as in a root filesystem, since nothing is written through one: every
directory above a member is a real one.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import tarfile
from functools import lru_cache
from pathlib import Path, PurePosixPath

from . import files
from .protocol import Refused

MEMBERS = 1_000_000
_CHUNK = 1 << 20


def unpack(archive: Path, root: Path, look: files.Look) -> None:
    """Make `root` from `archive`, on the disk before this returns.

    `root` looks as the archive's entry `.` says, or as `look` without one. Owners are found by
    name, then by number, as tar does it; a caller who is not root owns everything. Raises Refused,
    OSError.
    """
    root.mkdir(mode=0o700)
    os.chown(root, look.uid, look.gid)
    root.chmod(look.mode)
    try:
        with tarfile.open(archive, "r|*") as tar:
            _members(tar, root)
    except (tarfile.TarError, EOFError) as error:
        raise Refused(f"{archive.name} cannot be read: {error}; make the artifact anew") from error
    _sync(root)


def _members(tar: tarfile.TarFile, root: Path) -> None:
    directories: list[tuple[tarfile.TarInfo, Path]] = []
    for number, member in enumerate(tar):
        if number >= MEMBERS:
            raise Refused(f"the archive has more than {MEMBERS} entries; make several artifacts")
        tar.members.clear()  # type: ignore[attr-defined]  # a million of them are too much memory
        parts = _plain(member.name, member)
        path = _directory(root, parts[:-1]).joinpath(*parts[-1:])
        if member.isdir():
            _directory(root, parts)
            directories.append((member, path))
        else:
            _leaf(tar, member, path, root)
    for member, path in reversed(directories):  # their times last, and what is below first
        _dress(member, path)


def _leaf(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, root: Path) -> None:
    if path == root or (path.is_dir() and not path.is_symlink()):
        raise Refused(f"{member.name} is both a directory and something else in the archive")
    path.unlink(missing_ok=True)  # a later entry of the same name counts, as with tar
    if member.isreg():
        content = tar.extractfile(member)
        if content is None:
            raise Refused(f"{member.name} has no content")
        with files.create(path) as file:
            shutil.copyfileobj(content, file, _CHUNK)
        _dress(member, path)
    elif member.issym():
        path.symlink_to(member.linkname)
        _own(member, path)
    elif member.islnk():
        os.link(_linked(member, root), path, follow_symlinks=False)
    else:
        raise Refused(f"{member.name} is a device, a pipe or unknown; only files and links unpack")


def _plain(path: str, member: tarfile.TarInfo) -> tuple[str, ...]:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise Refused(f"{member.name} leads out of the archive; make it with `tar -C DIRECTORY .`")
    return pure.parts


def _directory(root: Path, parts: tuple[str, ...]) -> Path:
    """Return the directory `parts` below `root`, made if need be. Raises Refused on a link."""
    path = root
    for part in parts:
        path /= part
        try:
            kind = path.lstat().st_mode
        except FileNotFoundError:
            path.mkdir(mode=0o755)
        else:
            if not stat.S_ISDIR(kind):
                raise Refused(f"{'/'.join(parts)} lies below a link or a file in the archive")
    return path


def _linked(member: tarfile.TarInfo, root: Path) -> Path:
    parts = _plain(member.linkname, member)
    path = _directory(root, parts[:-1]).joinpath(*parts[-1:])
    if not path.is_symlink() and not path.is_file():
        raise Refused(f"{member.name} links to {member.linkname}, not an earlier file")
    return path


def _dress(member: tarfile.TarInfo, path: Path) -> None:
    _own(member, path)  # before the mode: chown takes the set-user-id bit away
    path.chmod(stat.S_IMODE(member.mode))
    os.utime(path, (member.mtime, member.mtime))


def _own(member: tarfile.TarInfo, path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, _uid(member), _gid(member), follow_symlinks=False)


def _uid(member: tarfile.TarInfo) -> int:
    named = _named_user(member.uname)
    return member.uid if named is None else named


def _gid(member: tarfile.TarInfo) -> int:
    named = _named_group(member.gname)
    return member.gid if named is None else named


@lru_cache(maxsize=256)
def _named_user(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


@lru_cache(maxsize=256)
def _named_group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _sync(root: Path) -> None:
    for directory, _, names in os.walk(root, topdown=False):
        for path in (Path(directory, name) for name in names):
            if not path.is_symlink():
                with files.read(path) as file:
                    os.fsync(file.fileno())
        files.sync_directory(Path(directory))
