"""The loader reads what belongs to it, once, and points at what is wrong."""

from collections.abc import Iterable

import pytest
import yaml

from reconciler.adapters import yaml_events
from reconciler.adapters.yaml_loader import BATCH, Loader
from reconciler.ports import RepoFile
from schemas.kinds.fleet import Fleet
from schemas.kinds.release import Release
from schemas.refusal import Code
from tests.support import fleet_yaml as write

HEAD = "apiVersion: fleetcd/v1\n"


class Blobs:
    """The bytes of a repository by blob id, and what was asked for."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents, self.asked = contents, list[list[str]]()

    def __call__(self, blobs: Iterable[str]) -> dict[str, bytes]:
        wanted = list(blobs)
        self.asked.append(wanted)
        return {blob: self.contents[blob] for blob in wanted}


def files(paths: dict[str, str], size: int = 100) -> list[RepoFile]:
    return [RepoFile(path, blob, size) for path, blob in paths.items()]


def test_blobs_that_were_read_before_are_not_read_or_parsed_again() -> None:
    blobs = Blobs({"1": write.fleet().encode(), "2": write.release().encode()})
    loader = Loader()
    loader.load(files({"fleet.yaml": "1"}), blobs)
    first = loader.load(files({"fleet.yaml": "1", "release.yaml": "2"}), blobs)
    again = loader.load(files({"fleet.yaml": "1", "release.yaml": "2"}), blobs)
    assert blobs.asked == [["1"], ["2"]]
    assert all(a.model is b.model for a, b in zip(first.documents, again.documents, strict=True))


def test_what_was_wrong_with_a_blob_is_remembered_too() -> None:
    blobs = Blobs({"1": b"a: [\n"})
    loader = Loader()
    first = loader.load(files({"a.yaml": "1"}), blobs)
    assert loader.load(files({"a.yaml": "1"}), blobs) == first
    assert blobs.asked == [["1"]]


def test_one_blob_at_two_paths_is_read_once_and_named_twice() -> None:
    blobs = Blobs({"1": b"a: [\n"})
    loaded = Loader().load(files({"a.yaml": "1", "b.yaml": "1"}), blobs)
    assert [problem.file for problem in loaded.problems] == ["a.yaml", "b.yaml"]
    assert blobs.asked == [["1"]]


def test_blobs_that_the_commit_dropped_are_forgotten() -> None:
    blobs = Blobs({"1": write.fleet().encode(), "2": write.release().encode()})
    loader = Loader()
    for blob in ("1", "2", "1"):
        loader.load(files({"a.yaml": blob}), blobs)
    assert blobs.asked == [["1"], ["2"], ["1"]]


def test_blobs_are_asked_for_in_bounded_batches() -> None:
    blobs = Blobs({str(n): b"" for n in range(40)})
    Loader().load(files({f"{n}.yaml": str(n) for n in range(40)}, size=1024 * 1024), blobs)
    assert sum(map(len, blobs.asked)) == 40
    assert max(map(len, blobs.asked)) == BATCH // (1024 * 1024)


def test_a_file_over_the_limit_is_refused_unread() -> None:
    blobs = Blobs({})
    loaded = Loader().load(files({"a.yaml": "1"}, size=1024 * 1024 + 1), blobs)
    assert [problem.code for problem in loaded.problems] == [Code.LIMIT]
    assert blobs.asked == []


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("fleetcd.yaml", True),
        ("fleets/deep/er/a.yml", True),
        ("app/tests/a.yaml", True),
        (".github/workflows/fleet.yml", False),
        ("releases/.signed/root.yaml", False),
        (".hidden.yaml", False),
        ("tests/a.yaml", False),
        ("fleets/a.yaml.example", False),
        ("README.md", False),
        ("yaml", False),
    ],
)
def test_only_yaml_that_is_not_hidden_and_no_test_is_read(path: str, read: bool) -> None:
    loaded = write.load({path: write.fleet()})
    assert len(loaded.documents) == int(read)


def test_several_documents_in_a_file_keep_their_own_lines() -> None:
    loaded = write.load({"all.yaml": f"{write.fleet()}---\n{write.release()}---\nkind: Fleet\n"})
    assert [type(document.model) for document in loaded.documents] == [Fleet, Release]
    (problem,) = loaded.problems
    assert (problem.line, problem.column, problem.field) == (11, 1, "apiVersion")


def test_empty_documents_and_comments_are_nothing() -> None:
    assert write.load({"a.yaml": "# only words\n", "b.yaml": "---\n---\n", "c.yaml": ""}) == (
        write.load({})
    )


def test_all_mistakes_of_all_files_come_at_once_in_the_order_of_the_repository() -> None:
    loaded = write.load(
        {
            "b.yaml": write.fleet(more="polcy: fast, priority: high"),
            "a.yaml": write.release(more="epoch: -1"),
        }
    )
    assert [(p.file, p.field) for p in loaded.problems] == [
        ("a.yaml", "spec.epoch"),
        ("b.yaml", "spec.polcy"),
        ("b.yaml", "spec.priority"),
    ]


def test_a_mistake_of_spelling_does_not_hide_the_next() -> None:
    text = write.fleet(more="policy: no, vars: {a: 1.10}, prune: never")
    codes = [problem.code for problem in write.load({"a.yaml": text}).problems]
    assert codes == [Code.AMBIGUOUS, Code.AMBIGUOUS, Code.SCHEMA]


@pytest.mark.parametrize(
    ("text", "field", "message", "remedy"),
    [
        ("- a\n", "", "a document is a mapping", "begin with apiVersion and kind"),
        ("just text\n", "", "a document is a mapping", "begin with apiVersion and kind"),
        ("kind: Fleet\n", "apiVersion", "must be fleetcd/v1", "hidden directory"),
        ("apiVersion: v2\n", "apiVersion", "must be fleetcd/v1", "write apiVersion: fleetcd/v1"),
        (HEAD + "metadata: {}\n", "kind", "is missing", "choose from: Device, DeviceList"),
        (HEAD + "kind: Fleets\n", "kind", "`Fleets` is not a kind", "did you mean `Fleet`?"),
        (HEAD + "kind: fleet\n", "kind", "`fleet` is not a kind", "did you mean `Fleet`?"),
        (HEAD + "kind: [a]\n", "kind", "a list is not a kind", "choose from"),
        (HEAD + "kind: Window\n", "kind", "Window is not supported by this version", "remove"),
        (HEAD + "kind: Promotion\n", "kind", "Promotion is not supported", "remove"),
    ],
)
def test_a_document_that_is_none_says_so(text: str, field: str, message: str, remedy: str) -> None:
    (problem,) = write.load({"a.yaml": text}).problems
    assert problem.field == field
    assert message in problem.message
    assert remedy in problem.remedy


def test_a_document_with_an_alias_is_not_also_blamed_for_what_the_alias_left_out() -> None:
    text = HEAD + "kind: Fleet\nmetadata: {name: a}\nspec:\n  selector: a\n  <<: *base\n"
    codes = [problem.code for problem in write.load({"a.yaml": text}).problems]
    assert codes == [Code.ANCHOR, Code.ANCHOR]


def test_a_document_after_one_with_an_alias_is_checked_as_any_other() -> None:
    text = f"- *a\n---\n{write.fleet(more='polcy: x')}"
    fields = [problem.field for problem in write.load({"a.yaml": text}).problems]
    assert fields == ["[0]", "spec.polcy"]


def test_a_hidden_character_of_a_key_does_not_come_back_in_another_problems_field() -> None:
    text = write.fleet(more='vars: {"a\\e[2Jb": [1]}')
    hidden, wrong = write.load({"a.yaml": text}).problems
    assert (hidden.code, wrong.code) == (Code.CHAR, Code.SCHEMA)
    assert wrong.field == 'spec.vars["a\N{REPLACEMENT CHARACTER}[2Jb"]'


@pytest.mark.parametrize("parser", [yaml_events._Parser, yaml.Loader], ids=["libyaml", "python"])
def test_half_a_surrogate_pair_is_refused_with_and_without_libyaml(
    monkeypatch: pytest.MonkeyPatch, parser: type
) -> None:
    monkeypatch.setattr(yaml_events, "_Parser", parser)
    blobs = Blobs({"1": b'apiVersion: fleetcd/v1\nkind: Fleet\nmetadata: {name: "\\ud800"}\n'})
    problems = Loader().load(files({"fleet.yaml": "1"}), blobs).problems
    assert 3 in [p.line for p in problems if p.code in (Code.SYNTAX, Code.CHAR)]
