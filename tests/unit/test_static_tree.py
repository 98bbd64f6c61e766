"""The published tree over HTTP: what is served, with which headers, and what is not there."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.http.ranges import Span, Unsatisfiable, requested_span
from reconciler.http.static_tree import CHUNK, IMMUTABLE, StaticTree
from tests.support.gateway_asgi import Answer, Caller

DIGEST = "a" * 64
BLOB = f"artifacts/{DIGEST}"


def tree(folder: Path, **files: bytes) -> Caller:
    content = {"metadata/timestamp.json": b"{}", BLOB: bytes(range(100)), **files}
    for path, data in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return Caller(StaticTree(folder))


def get(call: Caller, path: str, method: str = "GET", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(method, f"/{path}", headers=named)


def test_a_file_comes_with_its_length_and_a_strong_tag(tmp_path: Path) -> None:
    answer = get(tree(tmp_path), BLOB)
    assert (answer.status, answer.body) == (200, bytes(range(100)))
    assert answer.headers["content-length"] == "100"
    assert answer.headers["etag"] == f'"{DIGEST}"'


def test_head_sends_the_same_headers_and_no_body(tmp_path: Path) -> None:
    call = tree(tmp_path)
    head = get(call, BLOB, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers == get(call, BLOB).headers


def test_a_file_that_is_known_is_not_sent_again(tmp_path: Path) -> None:
    call = tree(tmp_path)
    tag = get(call, "metadata/timestamp.json").headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer = get(call, "metadata/timestamp.json", if_none_match=known)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == tag
    assert get(call, "metadata/timestamp.json", if_none_match='"other"').status == 200


def test_a_replaced_file_has_a_new_tag(tmp_path: Path) -> None:
    call = tree(tmp_path)
    before = get(call, "metadata/timestamp.json").headers["etag"]
    (tmp_path / "new").write_bytes(b"[]")
    (tmp_path / "new").replace(tmp_path / "metadata/timestamp.json")
    answer = get(call, "metadata/timestamp.json", if_none_match=before)
    assert (answer.status, answer.body) == (200, b"[]")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata/timestamp.json", "public, max-age=30"),
        ("metadata/3.root.json", IMMUTABLE),
        ("metadata/12.snapshot.json", IMMUTABLE),
        (f"targets/fleets/{DIGEST}.kiosks.json", IMMUTABLE),
        (BLOB, IMMUTABLE),
        ("metadata/root.json", "no-cache"),
        ("README", "no-cache"),
    ],
)
def test_only_what_never_changes_is_cached_for_ever(
    tmp_path: Path, path: str, expected: str
) -> None:
    assert get(tree(tmp_path, **{path: b"{}"}), path).headers["cache-control"] == expected


def test_the_news_that_there_is_no_newer_root_is_kept_shortly(tmp_path: Path) -> None:
    answer = get(tree(tmp_path), "metadata/2.root.json")
    assert (answer.status, answer.headers["cache-control"]) == (404, "public, max-age=30")


def test_no_caching_of_the_timestamp_where_it_is_switched_off(tmp_path: Path) -> None:
    tree(tmp_path)
    answer = get(Caller(StaticTree(tmp_path, short=0)), "metadata/timestamp.json")
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=90-", 206, 90, 100),
        ("bytes=90-5000", 206, 90, 100),
        ("bytes=-10", 206, 90, 100),
        ("bytes=-5000", 206, 0, 100),
        ("bytes=99-99", 206, 99, 100),
        ("bytes=9-0", 200, 0, 100),
        ("bytes=0-1,5-6", 200, 0, 100),
        ("lines=0-1", 200, 0, 100),
        ("bytes=-", 200, 0, 100),
        ("bytes=a-b", 200, 0, 100),
    ],
)
def test_a_range_is_those_bytes(
    tmp_path: Path, asked: str, status: int, start: int, end: int
) -> None:
    answer = get(tree(tmp_path), BLOB, range=asked)
    assert (answer.status, answer.body) == (status, bytes(range(start, end)))
    assert answer.headers["content-length"] == str(end - start)
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/100"


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_the_file_is_not_satisfiable(tmp_path: Path, asked: str) -> None:
    answer = get(tree(tmp_path), BLOB, range=asked)
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */100")


def test_a_range_of_a_file_that_changed_is_the_whole_file(tmp_path: Path) -> None:
    call = tree(tmp_path)
    same = get(call, BLOB, range="bytes=90-", if_range=f'"{DIGEST}"')
    assert same.status == 206
    for other in ('"other"', f'W/"{DIGEST}"', "Tue, 24 Nov 2026 07:00:00 GMT"):
        assert get(call, BLOB, range="bytes=90-", if_range=other).status == 200


def test_a_large_file_comes_whole(tmp_path: Path) -> None:
    data = os.urandom(3 * CHUNK + 1)
    assert get(tree(tmp_path, large=data), "large").body == data


def test_an_empty_file_comes_empty(tmp_path: Path) -> None:
    answer = get(tree(tmp_path, empty=b""), "empty")
    assert (answer.status, answer.headers["content-length"]) == (200, "0")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "metadata",
        "metadata/",
        "../secret",
        "metadata/../../secret",
        "metadata/..%2f..%2fsecret",
        "%2e%2e/secret",
        "%252e%252e/secret",
        "..%5csecret",
        "metadata//timestamp.json",
        "./metadata/timestamp.json",
        "metadata/timestamp.json%00",
        ".lock",
        "metadata/.hidden",
        "link",
        "folder/timestamp.json",
        "pipe",
        "x" * 5000,
    ],
)
def test_what_is_no_published_file_is_not_there(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    served = tmp_path / "tree"
    call = tree(served, **{".lock": b"", "metadata/.hidden": b""})
    (served / "link").symlink_to(tmp_path / "secret")
    (served / "folder").symlink_to(served / "metadata")
    os.mkfifo(served / "pipe")
    answer = get(call, path)
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_tree_can_only_be_read(tmp_path: Path, method: str) -> None:
    answer = get(tree(tmp_path), BLOB, method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 100))
def test_a_span_lies_within_the_file(first: int, last: int, size: int) -> None:
    try:
        span = requested_span(f"bytes={first}-{last}", size)
    except Unsatisfiable:
        assert first >= size
    else:
        assert span is None or (span.start == first and span.start < span.end <= size)
        assert (span is None) == (last < first)


def test_a_suffix_of_an_empty_file_is_not_satisfiable() -> None:
    with pytest.raises(Unsatisfiable):
        requested_span("bytes=-5", 0)
    assert requested_span("bytes=-5", 3) == Span(0, 3)
