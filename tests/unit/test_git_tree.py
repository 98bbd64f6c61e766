"""A commit's tree may hold regular files with readable names, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.git_tree import (
    MAX_FILE,
    MAX_FILES,
    MAX_PROBLEMS,
    MAX_TOTAL,
    Unreadable,
    object_id,
    parse_batch,
    parse_listing,
    parse_sizes,
)
from reconciler.errors import TreeRefused
from reconciler.ports import RepoFile
from schemas.refusal import Code

BLOB = "a" * 40


def line(path: bytes, *, mode: bytes = b"100644", size: bytes = b"5") -> bytes:
    kind = b"commit" if mode == b"160000" else b"blob"
    return b"%b %b %b %7b\t%b\0" % (mode, kind, BLOB.encode(), size, path)


def refused(listing: bytes) -> list[tuple[str, Code]]:
    with pytest.raises(TreeRefused) as caught:
        parse_listing(listing)
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)
    return [(problem.file, problem.code) for problem in caught.value.problems]


def test_regular_and_executable_files_are_listed() -> None:
    listing = line(b"fleets/kiosk.yaml") + line(b"bin/check", mode=b"100755", size=b"12")
    assert parse_listing(listing) == (
        RepoFile("fleets/kiosk.yaml", BLOB, 5),
        RepoFile("bin/check", BLOB, 12),
    )


def test_an_empty_commit_has_no_files() -> None:
    assert parse_listing(b"") == ()


def test_every_offender_is_named_at_once() -> None:
    listing = (
        line(b"good.yaml")
        + line(b"link.yaml", mode=b"120000")
        + line(b"vendor/sub", mode=b"160000", size=b"-")
        + line(b"odd", mode=b"170000")
        + line(b"caf\xe9.yaml")
        + line(b"a\nb\x1b.yaml")
        + line("right\u202eto.yaml".encode())
        + line(b"big.yaml", size=b"%d" % (MAX_FILE + 1))
    )
    assert refused(listing) == [
        ("link.yaml", Code.MODE),
        ("vendor/sub", Code.MODE),
        ("odd", Code.MODE),
        ("caf\\xe9.yaml", Code.ENCODING),
        ("a\\nb\\x1b.yaml", Code.CHAR),
        ("right\\u202eto.yaml", Code.CHAR),
        ("big.yaml", Code.LIMIT),
    ]


def test_what_is_never_read_may_be_large() -> None:
    assert parse_listing(line(b"photo.jpg", size=b"%d" % (100 * MAX_FILE)))
    assert parse_listing(line(b"exactly.yaml", size=b"%d" % MAX_FILE))


def test_yaml_that_is_large_in_all_is_refused() -> None:
    one = line(b"%d.yml", size=b"%d" % MAX_FILE)
    count = MAX_TOTAL // MAX_FILE
    assert len(parse_listing(one * count)) == count
    assert refused(one * (count + 1)) == [(".", Code.LIMIT)]


def test_too_many_files_are_one_problem() -> None:
    assert refused(line(b"x") * (MAX_FILES + 1)) == [(".", Code.LIMIT)]


def test_a_flood_of_offenders_is_cut_and_counted() -> None:
    with pytest.raises(TreeRefused) as caught:
        parse_listing(line(b"x", mode=b"120000") * (MAX_PROBLEMS + 7))
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    assert caught.value.problems[-1].message == "7 more files like these are not shown"


def test_a_listing_that_was_cut_short_is_not_believed() -> None:
    whole = line(b"x")
    for end in range(1, len(whole) - 2):
        with pytest.raises(Unreadable):
            parse_listing(whole[:end])


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)))
def test_every_name_is_listed_as_it_is_or_refused(names: list[str]) -> None:
    listing = b"".join(line(name.encode()) for name in names)
    try:
        files = parse_listing(listing)
    except TreeRefused as error:
        assert all(problem.code is Code.CHAR for problem in error.problems)
        assert all(problem.file.isprintable() for problem in error.problems)
    else:
        assert [file.path for file in files] == names


def batch(*contents: bytes) -> tuple[bytes, list[str]]:
    ids = [object_id(content, like=BLOB) for content in contents]
    output = b"".join(
        b"%b blob %d\n%b\n" % (name.encode(), len(content), content)
        for name, content in zip(ids, contents, strict=True)
    )
    return output, ids


@given(st.lists(st.binary(max_size=50), unique=True))
def test_blobs_come_back_by_their_ids(contents: list[bytes]) -> None:
    output, ids = batch(*contents)
    assert list(parse_batch(output, ids).values()) == contents


@given(st.binary(min_size=1, max_size=50), st.data())
def test_an_altered_or_cut_blob_is_not_believed(content: bytes, data: st.DataObject) -> None:
    output, ids = batch(content)
    place = data.draw(st.integers(0, len(output) - 2))
    altered = bytearray(output)
    altered[place] ^= 1
    for wrong in (bytes(altered), output[:place]):
        with pytest.raises(Unreadable):
            parse_batch(wrong, ids)


def test_a_blob_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(TreeRefused, match=f"blob {BLOB}"):
        parse_sizes(b"%b blob %d\n" % (BLOB.encode(), MAX_FILE + 1), [BLOB])


def test_blobs_that_are_large_in_all_are_refused() -> None:
    blobs = [f"{n:040x}" for n in range(MAX_TOTAL // MAX_FILE + 1)]
    headers = "".join(f"{blob} blob {MAX_FILE}\n" for blob in blobs)
    with pytest.raises(TreeRefused, match="the files to read have"):
        parse_sizes(headers.encode(), blobs)


@pytest.mark.parametrize("answer", [b"", b"%b missing\n", b"%b tree 5\n", b"%b blob x\n"])
def test_an_object_that_is_missing_or_no_file_is_not_believed(answer: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_sizes(answer.replace(b"%b", BLOB.encode()), [BLOB])
