"""A document that was read and is valid by itself, and where each of its parts stands. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from reconciler.domain.problems import Problem
from schemas.kinds.base import Document as Written
from schemas.kinds.values import excerpt
from schemas.refusal import Code

M = TypeVar("M", bound=Written, covariant=True)

Step = str | int
Path = tuple[Step, ...]
"""The way into a document: `("spec", "stages", 1, "percent")`."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


class Place(NamedTuple):
    """A position in a file. Both count from 1."""

    line: int
    column: int


class Branch(NamedTuple):
    """A mapping or a list: where it begins, where its keys stand, and its parts."""

    place: Place
    keys: Mapping[str, Place]
    parts: Mapping[str, "Tree"] | Sequence["Tree"]


Tree = Place | Branch
"""The positions of a document, in the shape of the document."""


def place_of(tree: Tree, path: Path) -> Place:
    """Return where the value at `path` begins; if there is none, where its nearest parent does."""
    for step in path:
        part = _part(tree, step)
        if part is None:
            break
        tree = part
    return tree.place if isinstance(tree, Branch) else tree


def key_place_of(tree: Tree, path: Path) -> Place:
    """Return where the last key of `path` stands, or what place_of() says when it is no key."""
    parent: Tree | None = tree
    for step in path[:-1]:
        parent = _part(parent, step)
    key = parent.keys.get(str(path[-1])) if isinstance(parent, Branch) and path else None
    return key or place_of(tree, path)


def _part(tree: Tree | None, step: Step) -> Tree | None:
    if not isinstance(tree, Branch):
        return None
    if isinstance(tree.parts, Mapping):
        return tree.parts.get(step) if isinstance(step, str) else None
    return tree.parts[step] if isinstance(step, int) and step < len(tree.parts) else None


def field_text(path: Path) -> str:
    """Return `path` as people read it: `spec.stages[1].percent`, `metadata.labels["a/b"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f'["{excerpt(step)}"]'
    return text


@dataclass(frozen=True, slots=True)
class Document(Generic[M]):
    """`model` is one of the classes in schemas.kinds.registry.KINDS."""

    file: str
    model: M
    tree: Tree

    def problem(self, path: Path, code: Code, message: str, remedy: str) -> Problem:
        """Return a Problem that points at the value of `path`."""
        line, column = place_of(self.tree, path)
        return Problem(self.file, line, column, field_text(path), code, message, remedy)

    def where(self, path: Path) -> str:
        """Return `file:line`, for messages that name a second place."""
        return f"{self.file}:{place_of(self.tree, path).line}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The readable documents of a commit, by file and line, and every problem of the others."""

    documents: tuple[Document[Written], ...]
    problems: tuple[Problem, ...]
