"""`fleetcd validate PATH`: every mistake of a fleet repository at once, before it is merged."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # imported when the command runs: they cost more than the whole help text
    from reconciler.domain.desired import Desired
    from reconciler.domain.problems import Problem

NO_COMMIT = "0" * 40  # a directory has no commit yet
MAX_OF_A_KIND = 20  # problems with the same code that people are shown


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`found` counts what a valid repository declares; it is empty when there are problems."""

    problems: tuple["Problem", ...]
    found: Mapping[str, int]


def validate(
    path: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="The fleet repository's directory.")
    ] = Path(),
    output: Annotated[
        Output, typer.Option("--output", "-o", help="text, json, or github for annotations.")
    ] = Output.TEXT,
) -> None:
    """Check a fleet repository offline: syntax, fields, references, overlaps. Exit 0 or 1."""
    verdict = judge(path)
    for line in lines_of(verdict, output):
        typer.echo(line)
    raise typer.Exit(1 if verdict.problems else 0)


def judge(path: Path) -> Verdict:
    """Return what is wrong below `path`, or what was found. Raises Unavailable: cannot be read."""
    from reconciler.adapters.yaml_directory import Directory
    from reconciler.adapters.yaml_loader import Loader
    from reconciler.domain.build import Broken, build
    from reconciler.domain.build_document import Loaded

    directory = Directory(path)
    loaded = Loader().load(directory.files, directory.read)
    if not (loaded.documents or loaded.problems):
        others = (_shown_below(path, problem) for problem in directory.problems)
        return Verdict((_nothing_in(path), *others), {})
    result = build(
        Loaded(loaded.documents, (*directory.problems, *loaded.problems)),
        commit=NO_COMMIT,
        committed_at=None,
    )
    if isinstance(result, Broken):
        return Verdict(tuple(_shown_below(path, problem) for problem in result.problems), {})
    return Verdict((), _counts(result))


def _nothing_in(path: Path) -> "Problem":
    from reconciler.domain.problems import Problem
    from schemas.refusal import Code

    what = "no YAML document that fleetcd reads"
    return Problem(str(path), 0, 0, "", Code.NOT_FOUND, what, "run it in the fleet repository")


def _shown_below(path: Path, problem: "Problem") -> "Problem":
    """Name the file as seen from where the command runs, so that editors and forges find it."""
    return replace(problem, file=str(path / problem.file))


def _counts(desired: "Desired") -> Mapping[str, int]:
    return {
        "fleets": len(desired.fleets),
        "releases": len(desired.descriptors),
        "devices": len(desired.devices),
    }


def lines_of(verdict: Verdict, output: Output) -> Sequence[str]:
    """Return what is printed: a line for each problem and one that sums up, or one JSON object."""
    match output:
        case Output.TEXT:
            return [*_short(verdict.problems, _text_line), summary(verdict)]
        case Output.GITHUB:
            return [*_short(verdict.problems, annotation), summary(verdict)]
        case Output.JSON:
            return [json_text(verdict)]


def _short(problems: Sequence["Problem"], line: Callable[["Problem"], str]) -> Iterator[str]:
    """Yield a line for each problem, and one that counts those of a kind which are too many."""
    seen = Counter[str]()
    for problem in problems:
        seen[problem.code] += 1
        if seen[problem.code] <= MAX_OF_A_KIND:
            yield line(problem)
    for code, number in seen.items():
        if number > MAX_OF_A_KIND:
            yield f"{number - MAX_OF_A_KIND} more [{code}] (-o json has them all)"


def summary(verdict: Verdict) -> str:
    """Return `2 problems in 1 file`, or `3 fleets, 2 releases, 12 devices: valid`."""
    if verdict.problems:
        files = len({problem.file for problem in verdict.problems})
        return f"{_count(len(verdict.problems), 'problems')} in {_count(files, 'files')}"
    return ", ".join(_count(n, noun) for noun, n in verdict.found.items()) + ": valid"


def _text_line(problem: "Problem") -> str:
    place = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    field = f"{typer.style(problem.field, fg='cyan')}: " if problem.field else ""
    code = typer.style(f"[{problem.code}]", dim=True)
    return f"{typer.style(place, bold=True)}: {field}{_message(problem)} {code}"


def _message(problem: "Problem") -> str:
    return f"{problem.message} ({problem.remedy})" if problem.remedy else problem.message


def _count(number: int, nouns: str) -> str:
    return f"{number} {nouns.removesuffix('s') if number == 1 else nouns}"


def json_text(verdict: Verdict) -> str:
    """Return one JSON object: `valid`, `found`, `problems`."""
    document = {
        "valid": not verdict.problems,
        "found": dict(verdict.found),
        "problems": [asdict(problem) for problem in verdict.problems],
    }
    return json.dumps(document, ensure_ascii=False)


def annotation(problem: "Problem") -> str:
    """Return a workflow command of GitHub Actions, which marks the line in the pull request."""
    place = {"file": problem.file, "title": str(problem.code)}
    if problem.line:
        place |= {"line": str(problem.line), "col": str(problem.column)}
    properties = ",".join(f"{key}={_property(value)}" for key, value in place.items())
    field = f"{problem.field}: " if problem.field else ""
    return f"::error {properties}::{_data(field + _message(problem))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
