"""Runs the programs that make images."""

import subprocess

LONGEST = 600.0  # seconds


def run(*argv: object, content: bytes = b"") -> None:
    """Run a program with `content` as its input. Raises RuntimeError with what it said."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, input=content, capture_output=True, timeout=LONGEST, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace")
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {said[-2000:]}")
