"""A fleet repository that lies in a directory, as `fleetcd validate` reads it: what is refused in a
commit, such as a symbolic link, is refused here too."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from reconciler.adapters.yaml_text import MAX_BYTES
from reconciler.domain.problems import Problem
from reconciler.errors import Unavailable
from reconciler.ports import RepoFile
from schemas.refusal import Code

MAX_FILES = 100_000


class Directory:
    """The regular files below `root`. Hidden directories are not entered, links not followed."""

    def __init__(self, root: Path) -> None:
        """Look at every entry once. Raises Unavailable for a directory that cannot be read."""
        self._root = root
        files, problems = list[RepoFile](), list[Problem]()
        for entry in _entries(root):
            path = os.path.relpath(entry.path, root)
            problem = _problem(entry, path)
            if problem:
                problems.append(problem)
            elif entry.is_file(follow_symlinks=False):
                files.append(RepoFile(path, path, entry.stat(follow_symlinks=False).st_size))
        self.files, self.problems = tuple(files), tuple(problems)

    def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """Return the bytes of `paths`, at most one more than the loader reads."""
        return {path: self._read(path) for path in paths}

    def _read(self, path: str) -> bytes:
        try:
            with (self._root / path).open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise Unavailable(f"{self._root / path}: {error.strerror}") from error


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    waiting, seen = [str(root)], 0
    while waiting:
        for entry in _listed(waiting.pop()):
            seen += 1
            if seen > MAX_FILES:
                raise Unavailable(f"{root}: more than {MAX_FILES} files; is it a fleet repository?")
            if entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                continue
            yield entry
            if entry.is_dir(follow_symlinks=False) and not _is_repository(entry.path):
                waiting.append(entry.path)


def _listed(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise Unavailable(f"{directory}: {error.strerror}") from error


def _is_repository(directory: str) -> bool:
    return (Path(directory) / ".git").exists()


def _problem(entry: os.DirEntry[str], path: str) -> Problem | None:
    if not path.isprintable():
        shown = path.encode("unicode_escape", "surrogatepass").decode("ascii")
        what = "a file name with invisible characters or not in UTF-8"
        return Problem(shown, 0, 0, "", Code.PATH, what, "rename it")
    if entry.is_symlink():
        return Problem(
            path, 0, 0, "", Code.MODE, "a symbolic link", "copy the file: links are not followed"
        )
    if entry.is_dir(follow_symlinks=False) and _is_repository(entry.path):
        what = "a repository inside the repository (a submodule)"
        return Problem(path, 0, 0, "", Code.MODE, what, "copy its files: submodules are not read")
    return None
