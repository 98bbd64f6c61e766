"""What takes long to make is kept in `.cache/qemu`, under a name made of all that went into it."""

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).parents[2]
DIRECTORY = SOURCE / ".cache" / "qemu"


def kept(name: str, inputs: list[bytes], make: Callable[[Path], object]) -> Path:
    """Return the file `name` as `make` makes it; made anew only when `inputs` changed."""
    digests = (hashlib.sha256(item).digest() for item in inputs)
    key = hashlib.sha256(b"".join(digests)).hexdigest()[:16]
    stem, dot, suffix = name.partition(".")
    target = DIRECTORY / f"{stem}-{key}{dot}{suffix}"
    with one_at_a_time(), TemporaryDirectory(dir=DIRECTORY) as scratch:
        if not target.exists():
            made = Path(scratch) / name
            make(made)
            for former in DIRECTORY.glob(f"{stem}-*"):
                former.unlink(missing_ok=True)
            made.replace(target)
    return target


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep other processes out, that make the same at the same time."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (DIRECTORY / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
