"""Reads what git says about a commit's tree and blobs, and refuses what must not be there. Pure."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reconciler.domain.problems import Problem
from reconciler.errors import TreeRefused
from reconciler.ports import RepoFile
from schemas.refusal import Code

MAX_FILES = 50_000
MAX_FILE = 1024 * 1024  # bytes of one file that is read
MAX_TOTAL = 64 * 1024 * 1024  # bytes of all YAML files together
MAX_LISTING = 32 * 1024 * 1024  # bytes that `git ls-tree` may write
MAX_PROBLEMS = 100

_ENTRY = re.compile(rb"(\d{6}) (\w+) ([0-9a-f]{40,64}) +(\d+|-)\t(.+)", re.DOTALL)
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Unreadable(Exception):
    """What git wrote is not what it writes for an intact repository."""


def parse_listing(listing: bytes) -> tuple[RepoFile, ...]:
    """Return the files of `git ls-tree -r -z -l`, in git's order.

    Raises TreeRefused with every symlink, submodule, impossible name and oversized YAML file
    (at most MAX_PROBLEMS of them), and Unreadable.
    """
    entries = [_entry(line) for line in listing.split(b"\0") if line]
    if len(entries) > MAX_FILES:
        raise TreeRefused((too_many_files(),))
    problems = [problem for entry in entries for problem in _problems(*entry)]
    files = tuple(
        RepoFile(path.decode("utf-8", "replace"), blob, size) for _, blob, size, path in entries
    )
    total = sum(file.size for file in files if is_yaml(file.path))
    if total > MAX_TOTAL:
        message = f"its YAML files have {total} bytes, {MAX_TOTAL} are allowed"
        problems.append(_problem(".", Code.LIMIT, message, "split the repository"))
    if problems:
        raise TreeRefused(_bounded(problems))
    return files


def is_yaml(path: str) -> bool:
    return path.endswith((".yaml", ".yml"))


def too_many_files() -> Problem:
    return _problem(
        ".",
        Code.LIMIT,
        f"the commit has more than {MAX_FILES} files, or their names are too long",
        "keep what is no fleet configuration in another repository",
    )


def _entry(line: bytes) -> tuple[bytes, str, int, bytes]:
    """Return (mode, object id, size, path). A submodule has no size: 0."""
    match = _ENTRY.fullmatch(line)
    if match is None:
        raise Unreadable(f"a tree entry that makes no sense: {line[:80]!r}")
    mode, _, object_id, size, path = match.groups()
    return mode, object_id.decode("ascii"), 0 if size == b"-" else int(size), path


def _problems(mode: bytes, object_id: str, size: int, raw: bytes) -> Iterator[Problem]:
    path = raw.decode("utf-8", "backslashreplace")
    if mode == b"120000":
        yield _problem(
            path, Code.MODE, "is a symbolic link", "put the file itself there, or remove the link"
        )
    elif mode == b"160000":
        yield _problem(
            path,
            Code.MODE,
            f"is a submodule (at {object_id[:12]})",
            "copy its files into this repository and `git rm` the submodule",
        )
    elif not mode.startswith(b"100"):
        yield _problem(path, Code.MODE, f"has the unknown mode {mode.decode('ascii')}", "remove it")
    elif size > MAX_FILE and is_yaml(path):
        yield _problem(
            path,
            Code.LIMIT,
            f"has {size} bytes, {MAX_FILE} are allowed",
            "split it: several files may declare the same kinds",
        )
    yield from _name_problems(raw, path)


def _name_problems(raw: bytes, path: str) -> Iterator[Problem]:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        yield _problem(path, Code.ENCODING, "its name is not UTF-8", "rename it with `git mv`")
        return
    if any(map(_invisible, name)):
        yield _problem(
            path,
            Code.CHAR,
            "its name has control or text direction characters",
            "rename it with `git mv`",
        )


def _invisible(character: str) -> bool:
    return character in _BIDI or unicodedata.category(character) in {"Cc", "Zl", "Zp"}


def _problem(path: str, code: Code, message: str, remedy: str) -> Problem:
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in path
    )
    return Problem(shown, 0, 0, "", code, message, remedy)


def _bounded(problems: list[Problem]) -> tuple[Problem, ...]:
    kept = tuple(problems[:MAX_PROBLEMS])
    more = len(problems) - len(kept)
    if not more:
        return kept
    return (*kept, _problem(".", Code.LIMIT, f"{more} more files like these are not shown", ""))


def parse_sizes(output: bytes, blobs: Sequence[str]) -> int:
    """Return how many bytes `git cat-file --batch` will write for `blobs`, whose sizes
    `git cat-file --batch-check` wrote. Raises TreeRefused over a limit, Unreadable for others."""
    headers = output.splitlines()
    if len(headers) != len(blobs):
        raise Unreadable("git answered about other objects")
    sizes = {blob: _size(header, blob) for blob, header in zip(blobs, headers, strict=True)}
    large = [blob for blob, size in sizes.items() if size > MAX_FILE]
    if large:
        problems = [
            _problem(
                f"blob {blob}",
                Code.LIMIT,
                f"has {sizes[blob]} bytes, {MAX_FILE} are allowed",
                "`git log --all --find-object` names the file; make it smaller",
            )
            for blob in large
        ]
        raise TreeRefused(_bounded(problems))
    total = sum(sizes.values())
    if total > MAX_TOTAL:
        message = f"the files to read have {total} bytes, {MAX_TOTAL} are allowed"
        raise TreeRefused((_problem(".", Code.LIMIT, message, "make them smaller"),))
    return total + sum(len(header) + 2 for header in headers)


def parse_batch(output: bytes, blobs: Iterable[str]) -> Mapping[str, bytes]:
    """Return the contents that `git cat-file --batch` wrote, each checked against its id.

    Raises Unreadable when something is missing, cut short or altered.
    """
    contents = {}
    position = 0
    for blob in blobs:
        end = output.find(b"\n", position)
        if end < 0:
            raise Unreadable(f"blob {blob} is missing")
        size = _size(output[position:end], blob)
        content = output[end + 1 : end + 1 + size]
        if object_id(content, like=blob) != blob:
            raise Unreadable(f"blob {blob} is not what its id says")
        contents[blob] = content
        position = end + 1 + size + 1
    return contents


def object_id(content: bytes, *, like: str) -> str:
    """Return the id git gives a blob, by SHA-1 or SHA-256 as the id `like`."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    digest = hashlib.new(algorithm, b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()


def _size(header: bytes, blob: str) -> int:
    words = header.decode("ascii", "replace").split(" ")
    if len(words) != 3 or words[:2] != [blob, "blob"] or not words[2].isdecimal():
        raise Unreadable(f"blob {blob} is missing or is no file")
    return int(words[2])
