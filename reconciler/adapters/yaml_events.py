"""From text to plain values with positions, by PyYAML's parser events: PyYAML itself resolves and
constructs nothing, so there are no types but ours. Pure; never raises for what people write."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from reconciler.adapters.yaml_scalars import Ambiguous, Scalar, plain_scalar
from reconciler.adapters.yaml_text import HIDDEN, character_name
from reconciler.domain.build_document import Branch, Path, Place, Tree, field_text
from reconciler.domain.problems import Problem
from schemas.kinds.values import excerpt, shown
from schemas.refusal import Code

MAX_DEPTH = 32
MAX_NODES = 50_000  # of a file; keys count
MAX_SCALAR = 64 * 1024  # characters
MAX_PROBLEMS = 100  # of a file; nobody reads more

Value = Scalar | dict[str, Any] | tuple[Any, ...]

WRITE_A_WORD = "write a plain word as the key"

_MERGE = "<<"
_PLAIN_STYLES = (None, "")
_Parser: type[Any]
try:
    from yaml._yaml import CParser as _Parser
except ImportError:  # PyYAML without libyaml: the same events, thirty times slower
    _Parser = yaml.Loader


@dataclass(frozen=True, slots=True)
class Read:
    """One document of a file. `whole` is False when a part could not be given any value."""

    value: Value
    tree: Tree
    whole: bool


def read_documents(text: str) -> tuple[tuple[Read, ...], tuple[Problem, ...]]:
    """Return the documents of `text` and every problem, without file name.

    What is ambiguous, tagged or stands twice is reported and read as what was probably meant, so
    that one mistake does not hide the next. Empty documents are left out.
    """
    reader = _Reader()
    try:
        for event in _events(text):
            reader.take(event)
    except yaml.YAMLError as error:
        reader.syntax(error)
    except _Enough:
        reader.documents.clear()
    return tuple(reader.documents), tuple(reader.problems)


def _events(text: str) -> Iterator[yaml.Event]:
    parser = _Parser(text)
    try:
        while parser.check_event():
            yield parser.get_event()
    finally:
        parser.dispose()


class _Enough(Exception):
    """A limit was passed: the rest of the file is not read."""


class _NoKey:
    """The states of a mapping between two entries, and of one whose key was refused."""


_NEXT, _SKIP = _NoKey(), _NoKey()


class _Frame:
    """A mapping or list that is not finished. Exactly one of `entries` and `items` is in use."""

    __slots__ = ("entries", "items", "key", "keys", "parts", "place", "trees")

    def __init__(self, place: Place, entries: dict[str, Value] | None) -> None:
        self.place, self.entries = place, entries
        self.key: str | _NoKey = _NEXT
        self.keys: dict[str, Place] = {}
        self.parts: dict[str, Tree] = {}
        self.items: list[Value] = []
        self.trees: list[Tree] = []

    def awaits_key(self) -> bool:
        return self.entries is not None and self.key is _NEXT

    def put(self, value: Value, tree: Tree) -> None:
        if self.entries is None:
            self.items.append(value)
            self.trees.append(tree)
            return
        if isinstance(self.key, str):
            self.entries[self.key] = value
            self.parts[self.key] = tree
        self.key = _NEXT

    def finished(self) -> tuple[Value, Branch]:
        if self.entries is None:
            return tuple(self.items), Branch(self.place, self.keys, self.trees)
        return self.entries, Branch(self.place, self.keys, self.parts)


class _Reader:
    def __init__(self) -> None:
        self.documents: list[Read] = []
        self.problems: list[Problem] = []
        self._frames: list[_Frame] = []
        self._nodes = 0
        self._whole = True

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._node(event)
                self._scalar(event)
            case yaml.CollectionStartEvent():
                self._node(event)
                self._begin(event)
            case yaml.CollectionEndEvent():
                self._put(*self._frames.pop().finished())
            case yaml.AliasEvent():
                self._whole = False
                self._report(event, Code.ANCHOR, "aliases are not accepted", "write the value out")
                self._put(None, _place(event))
            case yaml.DocumentStartEvent() if event.version or event.tags:
                self._report(event, Code.MULTI, "directives are not accepted", "delete the % lines")

    def syntax(self, error: yaml.YAMLError) -> None:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        context = getattr(error, "context", None)
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        message = f"{context}: {what}" if context else str(what)
        remedy = "check indentation, quotation marks and brackets here and above"
        self.problems.append(
            Problem("", *place, field_text(self._path()), Code.SYNTAX, message, remedy)
        )

    def _node(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        """Count a node, and refuse what PyYAML could attach to it."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(event, Code.LIMIT, f"more than {MAX_NODES} values", "split the file")
        if event.anchor is not None:
            self._report(event, Code.ANCHOR, "anchors are not accepted", "write the value out")
        if event.tag is not None:
            self._report(event, Code.TAG, f"tag {shown(event.tag)} is not accepted", "delete it")

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._frames) >= MAX_DEPTH:
            self._stop(event, Code.DEPTH, f"nested deeper than {MAX_DEPTH}", "flatten it")
        entries: dict[str, Value] | None = {} if isinstance(event, yaml.MappingStartEvent) else None
        self._frames.append(_Frame(_place(event), entries))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        text, place = event.value, _place(event)
        if len(text) > MAX_SCALAR:
            self._stop(event, Code.LIMIT, f"longer than {MAX_SCALAR} characters", "shorten it")
        if event.style == '"' and (hidden := HIDDEN.search(text)):
            what = f"invisible or control character {character_name(hidden[0])}"
            self._report(event, Code.CHAR, what, "delete its escape sequence")
            text = HIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
        plain = event.style in _PLAIN_STYLES
        if self._frames and self._frames[-1].awaits_key():
            self._key(event, text if not plain else plain_scalar(text))
            return
        value = plain_scalar(text) if plain else text
        if isinstance(value, Ambiguous):
            what = f"`{excerpt(text)}` means different things to different YAML readers"
            self._report(event, Code.AMBIGUOUS, what, value.remedy)
            value = text
        self._put(value, place)

    def _key(self, event: yaml.ScalarEvent, key: Scalar | Ambiguous) -> None:
        frame = self._frames[-1]
        frame.key = _SKIP
        if isinstance(key, str) and key not in frame.keys:
            frame.keys[key] = _place(event)
            frame.key = key
        elif isinstance(key, str):
            what = f"key {shown(key)} stands twice, first in line {frame.keys[key].line}"
            self._report(event, Code.DUP, what, "keep one of them")
        elif event.value == _MERGE:
            self._whole = False
            self._report(event, Code.ANCHOR, "merge keys are not accepted", "write the values out")
        else:
            self._whole = False
            quote = f'quote it: "{excerpt(event.value)}"' if event.value else WRITE_A_WORD
            self._report(event, Code.KEY, f"key {shown(event.value)} is not a string", quote)

    def _put(self, value: Value, tree: Tree) -> None:
        if not self._frames:
            if value is not None:
                self.documents.append(Read(value, tree, self._whole))
            self._whole = True
        elif self._frames[-1].awaits_key():
            self._frames[-1].key = _SKIP
            self._whole = False
            place = tree.place if isinstance(tree, Branch) else tree
            self._add(
                place, Code.KEY, "a key that is not a string", "write a plain word as the key"
            )
        else:
            self._frames[-1].put(value, tree)

    def _path(self) -> Path:
        steps = (f.key if f.entries is not None else len(f.items) for f in self._frames)
        return tuple(step for step in steps if not isinstance(step, _NoKey))

    def _report(self, event: yaml.Event, code: Code, what: str, remedy: str) -> None:
        self._add(_place(event), code, what, remedy)

    def _stop(self, event: yaml.Event, code: Code, what: str, remedy: str) -> None:
        self._add(_place(event), code, what, remedy)
        raise _Enough

    def _add(self, place: Place, code: Code, what: str, remedy: str) -> None:
        self.problems.append(Problem("", *place, field_text(self._path()), code, what, remedy))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Enough


def _place(event: yaml.Event) -> Place:
    mark: Any = event.start_mark  # typed as optional, yet a parser always sets it
    return Place(mark.line + 1, mark.column + 1)
