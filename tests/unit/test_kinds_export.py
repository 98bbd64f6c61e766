"""The JSON Schema files that editors use say what the models say."""

import json
from pathlib import Path

from schemas.kinds.export import exported, main, stale
from schemas.kinds.registry import KINDS, LATER
from schemas.kinds.values import DESCRIBED


def test_the_committed_schemas_are_fresh() -> None:
    assert stale() == (), "run python -m schemas.kinds.export"
    assert main(["--check"]) == 0


def test_a_changed_a_missing_and_a_left_over_file_are_stale(tmp_path: Path) -> None:
    for name, text in exported().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert stale(tmp_path) == ()
    (tmp_path / "fleet.schema.json").write_text("{}", encoding="utf-8")
    (tmp_path / "release.schema.json").unlink()
    (tmp_path / "other.schema.json").write_text("{}", encoding="utf-8")
    assert stale(tmp_path) == ("fleet.schema.json", "other.schema.json", "release.schema.json")


def test_every_kind_is_closed_to_unknown_fields() -> None:
    for text in exported().values():
        schema = json.loads(text)
        objects = [schema, *schema["$defs"].values()]
        assert all(part["additionalProperties"] is False for part in objects)


def test_every_pattern_has_words_for_people() -> None:
    used = set().union(*(_patterns(kind.__pydantic_core_schema__) for kind in KINDS.values()))
    assert used == set(DESCRIBED)


def test_a_kind_is_read_or_comes_later_but_not_both() -> None:
    assert not KINDS.keys() & LATER
    assert len(KINDS.keys() | LATER) == 10


def test_wrong_arguments_are_refused() -> None:
    assert main(["--chekc"]) == 2


def _patterns(schema: object) -> set[str]:
    """Return every pattern that pydantic itself checks and would report by its expression."""
    match schema:
        case dict():
            own = (
                {schema["pattern"]}
                if schema.get("type") == "str" and "pattern" in schema
                else set()
            )
            return own.union(*map(_patterns, schema.values()))
        case list() | tuple():
            return set().union(*map(_patterns, schema))
    return set()
