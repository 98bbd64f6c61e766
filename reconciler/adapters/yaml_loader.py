"""From the files of a commit to documents and problems. A known blob is not parsed again."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from pydantic import ValidationError

from reconciler.adapters.yaml_errors import problems_of, suggestion
from reconciler.adapters.yaml_events import Read, read_documents
from reconciler.adapters.yaml_text import MAX_BYTES, text_of, too_large
from reconciler.domain.build_document import Document, Loaded, Path, Tree, field_text, place_of
from reconciler.domain.problems import Problem
from reconciler.ports import RepoFile
from schemas.kinds.base import API_VERSION
from schemas.kinds.base import Document as Written
from schemas.kinds.registry import KINDS, LATER
from schemas.kinds.values import shown
from schemas.refusal import Code

BATCH = 16 * 1024 * 1024  # bytes of blobs that are in memory at once

ReadBlobs = Callable[[Iterable[str]], Mapping[str, bytes]]
"""FleetSource.read: the bytes of blobs by id."""


def is_document(path: str) -> bool:
    """Return whether a file of this path is read: YAML, not hidden, not below `tests/`."""
    parts = PurePosixPath(path).parts
    hidden = any(part.startswith(".") for part in parts)
    return path.endswith((".yaml", ".yml")) and not hidden and parts[0] != "tests"


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What one blob holds, whatever its path."""

    documents: tuple[tuple[Written, Tree], ...]
    problems: tuple[Problem, ...]


class Loader:
    """Reads commits of one repository. It remembers the blobs of the last commit, and only those:
    so the memory is bounded by what one commit may hold, and a commit costs what it changed."""

    def __init__(self) -> None:
        self._cache: dict[str, _Parsed] = {}

    def load(self, files: Iterable[RepoFile], read: ReadBlobs) -> Loaded:
        """Return all documents and all problems of `files`, in the order of their paths.

        `read` is asked for unknown blobs only. Raises nothing but what `read` raises.
        """
        wanted = sorted((f for f in files if is_document(f.path)), key=lambda f: f.path)
        cache = {f.blob: self._cache[f.blob] for f in wanted if f.blob in self._cache}
        sizes = {f.blob: f.size for f in wanted if f.blob not in cache}
        large = {blob for blob, size in sizes.items() if size > MAX_BYTES}
        cache |= {blob: _Parsed((), (too_large(sizes.pop(blob)),)) for blob in large}
        for batch in _batches(sizes):
            blobs = read(batch)
            cache |= {blob: _parse(blobs[blob]) for blob in batch}
        self._cache = cache
        return _placed((f.path, cache[f.blob]) for f in wanted)


def _batches(sizes: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    batch, total = list[str](), 0
    for blob, size in sizes.items():
        if batch and total + size > BATCH:
            yield tuple(batch)
            batch, total = [], 0
        batch.append(blob)
        total += size
    if batch:
        yield tuple(batch)


def _placed(parsed: Iterable[tuple[str, _Parsed]]) -> Loaded:
    documents, problems = list[Document[Written]](), list[Problem]()
    for path, content in parsed:
        documents += (Document(path, model, tree) for model, tree in content.documents)
        problems += (replace(problem, file=path) for problem in content.problems)
    return Loaded(tuple(documents), tuple(sorted(problems)))


def _parse(data: bytes) -> _Parsed:
    text, problems = text_of(data)
    if problems:
        return _Parsed((), problems)
    reads, problems = read_documents(text)
    known = {(problem.line, problem.column) for problem in problems}
    documents = list[tuple[Written, Tree]]()
    for read in reads:
        result = _validated(read)
        if isinstance(result, Written):
            documents.append((result, read.tree))
        elif read.whole:
            # What was reported at a position explains what the model finds at the same one.
            problems += tuple(p for p in result if (p.line, p.column) not in known)
    return _Parsed(tuple(documents), problems)


def _validated(read: Read) -> Written | tuple[Problem, ...]:
    value = read.value
    if not isinstance(value, dict):
        return (_problem(read, (), "a document is a mapping", "begin with apiVersion and kind"),)
    if value.get("apiVersion") != API_VERSION:
        remedy = f"write apiVersion: {API_VERSION}; other YAML belongs in a hidden directory"
        return (_problem(read, ("apiVersion",), f"must be {API_VERSION}", remedy),)
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        return (_unknown_kind(read, kind),)
    try:
        return KINDS[kind].model_validate(value)
    except ValidationError as error:
        return problems_of(KINDS[kind], error, read.tree)


def _unknown_kind(read: Read, kind: object) -> Problem:
    if kind is None:
        return _problem(read, ("kind",), "is missing", suggestion("", tuple(KINDS)))
    if kind in LATER:
        what = f"{kind} is not supported by this version of fleetcd"
        return _problem(read, ("kind",), what, "remove the document")
    what = f"{shown(kind)} is not a kind"
    return _problem(read, ("kind",), what, suggestion(str(kind), tuple(KINDS)))


def _problem(read: Read, path: Path, message: str, remedy: str) -> Problem:
    line, column = place_of(read.tree, path)
    return Problem("", line, column, field_text(path), Code.SCHEMA, message, remedy)
