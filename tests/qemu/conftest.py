"""A board and its installation, for all stories of a class."""

from collections.abc import Iterator

import pytest

from tests.qemu.host import Host
from tests.qemu.machine import Board
from tests.qemu.stories import Tale


@pytest.fixture(scope="class")
def tale(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tale]:
    """A board of the kind that the class names, as it leaves the factory; Git wants image 2."""
    kind = request.cls.kind
    directory = tmp_path_factory.mktemp(kind.name)
    with Host(directory, kind) as host:
        host.prepare()
        host.release_image("2", host.image("2"))
        host.start_reconciler()
        with Board(host.disk("1"), directory / "console.log") as board:
            yield Tale(host, board)
