"""What every test may rely on."""

from collections.abc import Iterator

import pytest

from tests.support import git_upstream


@pytest.fixture(autouse=True)
def git_sources_are_closed() -> Iterator[None]:
    """A source that stays open holds on to the kernel's watches, of which a user has few."""
    yield
    while git_upstream.opened:
        git_upstream.opened.pop().close()
