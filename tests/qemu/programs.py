"""Runs the programs that make images."""

import subprocess
from collections.abc import Set as AbstractSet

LONGEST = 600.0  # seconds


def run(*argv: object, content: bytes = b"", accept: AbstractSet[int] = frozenset({0})) -> bytes:
    """Run a program with `content` as its input, and return what it printed.

    Raises RuntimeError with what it said, unless its exit status is one to `accept`.
    """
    words = [str(word) for word in argv]
    done = subprocess.run(words, input=content, capture_output=True, timeout=LONGEST, check=False)
    if done.returncode not in accept:
        said = (done.stderr or done.stdout).decode("utf-8", "replace")
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {said[-2000:]}")
    return done.stdout
