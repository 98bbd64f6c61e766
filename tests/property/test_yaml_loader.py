"""Whatever the bytes of a repository are: documents or problems, never an exception, and always the
same ones."""

from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.adapters.yaml_loader import Loader
from reconciler.domain.build import Broken, build
from reconciler.domain.desired import Desired
from reconciler.ports import RepoFile
from tests.support import fleet_yaml as write

VALID = (
    write.fleet()
    + "---\n"
    + write.release(more="health: {checks: [network]}")
    + "---\n"
    + write.policy("fast", "{name: a, count: 1, soak: 1h}, {name: b, percent: 50}")
    + "---\n"
    + write.device("kiosk-1", spec="{pin: {os: demo-os@1}}")
)
TOKENS = [
    *("apiVersion: ", "fleetcd/v1", "\nkind: ", "Fleet", "Release", "\nspec:\n", "  ", "- ", "\n"),
    *("{", "}", "[", "]", ",", ": ", "*a", "&a ", "!!str ", "<<", "null", "1.0", "'", '"', "---\n"),
    *("metadata: {name: a}", "\t", "#", "\\x00", "\x00", "é", "\ufeff", "|\n", "%YAML 1.2\n"),
]

tokens = st.lists(st.sampled_from(TOKENS), max_size=40).map("".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file in which one piece was replaced by something else."""
    data = VALID.encode()
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 20)))
    return (
        data[:start] + draw(st.one_of(st.binary(max_size=8), tokens.map(str.encode))) + data[end:]
    )


contents = st.one_of(st.binary(max_size=200), tokens.map(str.encode), damaged())
repositories = st.dictionaries(
    st.sampled_from(
        ["a.yaml", "b.yml", "fleets/c.yaml", ".hidden/d.yaml", "tests/e.yaml", "f.txt"]
    ),
    contents,
    min_size=1,
    max_size=4,
)


def judge(files: list[RepoFile], blobs: dict[str, bytes]) -> Desired | Broken:
    loaded = Loader().load(files, lambda wanted: {blob: blobs[blob] for blob in wanted})
    return build(loaded, commit=write.COMMIT, committed_at=None)


@given(repositories)
@example({"a.yaml": VALID.encode()})
def test_any_bytes_give_an_answer_that_points_into_the_repository(files: dict[str, bytes]) -> None:
    listed = [RepoFile(path, path, len(data)) for path, data in files.items()]
    result = judge(listed, files)
    if isinstance(result, Broken):
        assert result.problems
        for problem in result.problems:
            lines = files[problem.file].count(b"\n") + files[problem.file].count(b"\r") + 2
            assert 1 <= problem.line <= lines
            assert problem.column >= 1
            assert problem.message.isprintable()
            assert problem.field.isprintable()


@given(repositories, st.randoms(use_true_random=False))
def test_the_order_of_files_does_not_matter(files: dict[str, bytes], random: Random) -> None:
    listed = [RepoFile(path, path, len(data)) for path, data in files.items()]
    shuffled = list(listed)
    random.shuffle(shuffled)
    assert judge(listed, files) == judge(shuffled, files)


@given(contents)
def test_a_file_means_the_same_when_it_comes_from_the_cache(data: bytes) -> None:
    loader, file = Loader(), RepoFile("a.yaml", "blob", len(data))
    first = loader.load([file], lambda _: {"blob": data})
    assert loader.load([file], lambda _: {}) == first
