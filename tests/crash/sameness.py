"""Which crashed devices are the same: what they do next depends on the disk and on nothing else.

Most instants differ in nothing that matters from one that was tried before. Two devices count as
the same when they differ in no more than random names: ids of events and of past boots, sequence
numbers and times, and leftovers that the next `durable.write` replaces.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

from device_agent.boot.environment import COPIES
from tests.crash.world import World

_RANDOM = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_COUNTED = re.compile(r'"(boots|sequence|at|checksum)":("[^"]*"|\d+),?')
_LEFTOVER = re.compile(r"\..*\.new")

Key = tuple[object, ...]


def sameness(world: World) -> Key:
    """Return the same for devices that go on in the same way."""
    boot_id = world.facts.boot_id
    return (*_files(world, boot_id), *_rows(world, boot_id))


def _files(world: World, boot_id: str) -> Iterator[tuple[str, object]]:
    for path in sorted(world.root.rglob("*")):
        name = str(path.relative_to(world.root))
        if path.name in COPIES and path.is_file():
            yield name, _plain(path.read_text(), boot_id)
        elif path.is_file() and not (path.name.startswith("journal.db") or _LEFTOVER.match(name)):
            yield name, path.read_bytes()
        elif path.is_dir():
            yield name, None


def _rows(world: World, boot_id: str) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(world.root / "journal.db")) as journal:
        for (record,) in journal.execute("SELECT document FROM record"):
            yield "record", _plain(record.decode(), boot_id)
        for row in journal.execute("SELECT name, slot FROM running"):
            yield "running", repr(row)
        for row in journal.execute("SELECT name, attempt FROM failed ORDER BY name"):
            yield "failed", repr(row)
        for (event,) in journal.execute("SELECT document FROM outbox ORDER BY place"):
            yield "outbox", _plain(event.decode(), "")
        query = "SELECT name, value FROM meta WHERE name NOT IN ('journal', 'outcome') ORDER BY 1"
        for name, value in journal.execute(query):
            yield name, _plain(value, boot_id)


def _plain(text: str, boot_id: str) -> str:
    named = text.replace(boot_id, "this boot") if boot_id else text
    return _COUNTED.sub("", _RANDOM.sub("another", named))
