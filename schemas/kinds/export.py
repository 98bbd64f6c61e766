"""Write the JSON Schema of every kind, for editors: `python -m schemas.kinds.export [--check]`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from schemas.kinds.registry import KINDS

DIRECTORY = Path(__file__).parent / "json"


def exported() -> Mapping[str, str]:
    """Return the text of every schema file by its name."""
    return {f"{name.lower()}.schema.json": _schema(name) for name in sorted(KINDS)}


def stale(directory: Path = DIRECTORY) -> tuple[str, ...]:
    """Return the names of files in `directory` that are not what exported() says."""
    wanted = exported()
    found = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    names = wanted.keys() | found.keys()
    return tuple(sorted(name for name in names if wanted.get(name) != found.get(name)))


def _schema(kind: str) -> str:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **KINDS[kind].model_json_schema(by_alias=True),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or with --check only say which are stale. Return the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m schemas.kinds.export [--check]\n")
        return 2
    names = stale()
    if arguments:
        for name in names:
            sys.stderr.write(f"{DIRECTORY / name} is stale: run python -m schemas.kinds.export\n")
        return 1 if names else 0
    wanted = exported()
    for name in names:
        if name in wanted:
            (DIRECTORY / name).write_text(wanted[name], encoding="utf-8")
        else:
            (DIRECTORY / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
