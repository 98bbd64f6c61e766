"""What every TreeSource promises: the web server's, and the directory in its place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.fetch.http import HttpClient
from device_agent.trust.http_tree import HttpTree
from device_agent.trust.source import Found, TreeSource
from tests.support.fault_server import FaultServer, files
from tests.support.trust_device import IMPATIENT, LOOPBACK, FolderTree

PATH, DATA = "metadata/timestamp.json", b'{"signed": {}}' * 9000


@pytest.fixture(params=["http", "folder"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TreeSource]:
    file = tmp_path / PATH
    file.parent.mkdir()
    file.write_bytes(DATA)
    if request.param == "folder":
        yield FolderTree(tmp_path)
        return
    with FaultServer(files(tmp_path)) as server:
        yield HttpTree(server.url, HttpClient(LOOPBACK, IMPATIENT))


def test_a_file_comes_whole(source: TreeSource) -> None:
    with source.open(PATH, None) as file:
        assert file.found is Found.FILE
        assert b"".join(file.chunks) == DATA


def test_a_file_that_is_not_there_is_missing_and_has_no_bytes(source: TreeSource) -> None:
    with source.open("metadata/2.root.json", None) as file:
        assert file.found is Found.MISSING
        assert list(file.chunks) == []


def test_an_etag_of_another_file_brings_the_file(source: TreeSource) -> None:
    with source.open(PATH, '"other"') as file:
        assert file.found is Found.FILE
        assert b"".join(file.chunks) == DATA


def test_the_etag_that_a_file_came_with_brings_nothing_new(source: TreeSource) -> None:
    with source.open(PATH, None) as file:
        etag = file.etag
    with source.open(PATH, etag) as file:
        assert file.found is (Found.UNCHANGED if etag else Found.FILE)


def test_a_source_serves_on_after_it_was_closed(source: TreeSource) -> None:
    source.close()
    source.close()
    with source.open(PATH, None) as file:
        assert b"".join(file.chunks) == DATA
