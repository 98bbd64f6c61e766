"""Being asked to end: leave tidily, so that no module works on behind our back."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave(number: int, _frame: object) -> NoReturn:
    """End by SystemExit, on the way of which children are ended. A handler of signals."""
    signal.signal(number, signal.SIG_IGN)  # once is enough: a second one would cut this short
    raise SystemExit(128 + number)


@contextmanager
def leaving_when_asked() -> Iterator[None]:
    """Leave when a person, the system, or a terminal that goes away asks for it.

    Whoever is told to ignore that (nohup(1)) still does. For the main thread.
    """
    before = {number: signal.getsignal(number) for number in ASKED}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def was_asked(code: object) -> bool:
    """Say whether `code`, of a SystemExit, is one of leave()."""
    return code in {128 + number for number in ASKED}
