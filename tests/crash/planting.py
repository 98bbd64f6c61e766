"""Planting a bug: a table's row is replaced, or a few words in the source of a function."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType

import pytest

from device_agent.core import states
from device_agent.core.states import Outcome, Place, State

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Edit:
    """In the source of `function`, which may be a method, `old` becomes `new`."""

    function: object
    old: str
    new: str

    def __call__(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(_function(self.function), "__code__", _edited([self]))


@dataclass(frozen=True, slots=True)
class Edits:
    """Several edits of one function."""

    edits: Sequence[Edit]

    def __call__(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(_function(self.edits[0].function), "__code__", _edited(self.edits))


def all_of(*plants: Plant) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        for each in plants:
            each(patch)

    return plant


def resume(state: State, place: Place, wrong: State) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setitem(states.RESUME, state, {**states.RESUME[state], place: wrong})

    return plant


def transition(state: State, outcome: Outcome, wrong: State) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setitem(states.TRANSITIONS, state, {**states.TRANSITIONS[state], outcome: wrong})

    return plant


def _function(found: object) -> FunctionType:
    plain = inspect.unwrap(found.fget if isinstance(found, property) else found)  # type: ignore[arg-type]  # callable, if it has code
    assert isinstance(plain, FunctionType)
    return plain


def _edited(edits: Sequence[Edit]) -> CodeType:
    """Return the code of the function with the edits made, compiled in its own file."""
    function = _function(edits[0].function)
    edited = source = inspect.getsource(function)
    for edit in edits:
        assert edited.count(edit.old) == 1, f"{function.__qualname__}: no longer says {edit.old!r}"
        edited = edited.replace(edit.old, edit.new)
    module = inspect.getmodule(function)
    assert module and module.__file__
    whole = inspect.getsource(module).replace(source, edited)
    codes = _codes(compile(whole, module.__file__, "exec", dont_inherit=True))
    return next(code for code in codes if code.co_qualname == function.__qualname__)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
