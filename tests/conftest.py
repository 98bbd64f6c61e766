"""What every test may rely on."""

import signal
from collections.abc import Iterator

import pytest

from tests.support import git_upstream

# Who runs the tests in the background has these ignored, and so would all that the tests start.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def git_sources_are_closed() -> Iterator[None]:
    """A source that stays open holds on to the kernel's watches, of which a user has few."""
    yield
    while git_upstream.opened:
        git_upstream.opened.pop().close()
