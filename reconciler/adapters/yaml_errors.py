"""From pydantic's errors to problems that a person can act on: position, words, remedy. Pure."""

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reconciler.domain.build_document import Path, Tree, field_text, key_place_of, place_of
from reconciler.domain.problems import Problem
from schemas.kinds.values import AT_KEY, DESCRIBED, REFUSED, shown
from schemas.refusal import Code

_EXPECTED = {
    "string_type": "text",
    "int_type": "an integer",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "tuple_type": "a list",
}


def problems_of(model: type[BaseModel], error: ValidationError, tree: Tree) -> tuple[Problem, ...]:
    """Return the error's parts as problems without file name, at the positions of `tree`."""
    errors = error.errors(include_url=False)
    parents = {details["loc"][:depth] for details in errors for depth in range(len(details["loc"]))}
    return tuple(
        _problem(model, details, tree)
        for details in errors
        # Pydantic counts only the entries that are right: with a wrong one inside, a list that
        # has enough of them is called too short.
        if not (details["type"] == "too_short" and details["loc"] in parents)
    )


def _problem(model: type[BaseModel], details: ErrorDetails, tree: Tree) -> Problem:
    context = details.get("ctx", {})
    own = details["type"] == REFUSED
    path: Path = (*details["loc"], *(context["at"] if own else ()))
    at_key = path[-1:] == (AT_KEY,) or details["type"] == "extra_forbidden"
    path = path[:-1] if path[-1:] == (AT_KEY,) else path
    if own:
        code, message, remedy = context["code"], context["message"], context["remedy"]
    else:
        code = Code.SCHEMA
        message, remedy = _words(model, details, path)
    line, column = (key_place_of if at_key else place_of)(tree, path)
    return Problem("", line, column, field_text(path), code, message, remedy)


def _words(model: type[BaseModel], details: ErrorDetails, path: Path) -> tuple[str, str]:
    """Return message and remedy of an error that pydantic itself found."""
    value, context = details["input"], details.get("ctx", {})
    match details["type"]:
        case "missing":
            return "is missing", f"add `{path[-1]}`"
        case "extra_forbidden":
            fields = _fields_at(model, path[:-1])
            return "unknown field", suggestion(str(path[-1]), fields)
        case "literal_error":
            choices = context["expected"].replace("'", "`")
            return f"{shown(value)} is not {choices}", suggestion(str(value), _words_in(choices))
        case "string_pattern_mismatch":
            return f"{shown(value)} is not {DESCRIBED[context['pattern']]}", ""
        case "string_type" if isinstance(value, bool | int):
            return f"{shown(value)} is not text", f'quote it: "{shown(value).strip("`")}"'
        case kind if kind in _EXPECTED:
            return f"{_EXPECTED[kind]} expected, not {shown(value)}", ""
    return _limit_words(details["type"], context) or (details["msg"], "")


def _limit_words(kind: str, context: dict[str, Any]) -> tuple[str, str] | None:
    match kind:
        case "greater_than_equal":
            return f"must be {context['ge']} or more", ""
        case "less_than_equal":
            return f"must be {context['le']} or less", ""
        case "too_short":
            return f"must have {context['min_length']} or more entries", ""
        case "too_long":
            return f"must have {context['max_length']} or fewer entries", ""
        case "string_too_short":
            return "must not be empty", ""
        case "string_too_long":
            return f"must have {context['max_length']} or fewer characters", ""
    return None


def suggestion(word: str, known: tuple[str, ...]) -> str:
    """Return ``did you mean `success`?``, or the choices when nothing is close and they are few."""
    by_folded = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{by_folded[close[0]]}`?"
    return f"choose from: {', '.join(sorted(known))}" if 0 < len(known) <= 12 else "remove it"


def _words_in(choices: str) -> tuple[str, ...]:
    return tuple(choices.split("`")[1::2])


def _fields_at(model: type[BaseModel], path: Path) -> tuple[str, ...]:
    """Return the field names of the model that reads the value at `path`."""
    for step in path:
        field = next((f for f in model.model_fields.values() if f.alias == step), None)
        if field is not None:
            model = _model_in(field.annotation) or model
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model inside `Model`, `Model | None`, `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
