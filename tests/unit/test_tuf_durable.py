"""Files are whole or absent, and flushed before they get their names."""

import ctypes
import errno
import os
import stat
from pathlib import Path

import pytest

from reconciler.adapters import durable
from reconciler.adapters.durable import BATCH, FEW, Medium, create_private, flush_file_system


class _Flushes:
    """Records what is flushed, and whether the named files were there at that moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, watched: list[Path]) -> None:
        self.events = list[tuple[str, tuple[bool, ...]]]()
        self._watched, self._fsync = watched, os.fsync
        monkeypatch.setattr(os, "fsync", self._record)

    def _record(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        self.events.append((path.name, tuple(watched.exists() for watched in self._watched)))
        self._fsync(fd)


def test_every_file_is_flushed_before_it_gets_its_name_and_the_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    flushes = _Flushes(monkeypatch, [first, second])
    Medium().write([(first, b"1"), (second, b"2")])
    assert flushes.events == [
        (".first.part", (False, False)),
        (".second.part", (False, False)),
        (tmp_path.name, (True, True)),
    ]


def test_a_new_directory_is_flushed_into_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a" / "b" / "file"
    flushes = _Flushes(monkeypatch, [])
    Medium().write([(file, b"")])
    assert [name for name, _ in flushes.events] == [tmp_path.name, "a", ".file.part", "b"]


def test_many_files_are_flushed_by_one_call_before_any_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = list[list[str]]()

    def flush(directory: Path) -> None:
        named.append([path.name for path in directory.iterdir() if path.suffix != ".part"])
        flush_file_system(directory)

    monkeypatch.setattr(durable, "flush_file_system", flush)
    Medium().write([(tmp_path / str(number), b"") for number in range(FEW + 1)])
    assert named == [[]]


def test_a_flush_that_fails_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def syncfs(self, _fd: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

    monkeypatch.setattr(durable, "_libc", Broken())
    with pytest.raises(OSError, match="Input/output error"):
        Medium().write([(tmp_path / str(number), b"") for number in range(FEW + 1)])
    assert list(tmp_path.iterdir()) == []


def test_more_files_than_one_batch_are_written(tmp_path: Path) -> None:
    files = [(tmp_path / str(number), b"%d" % number) for number in range(BATCH + 1)]
    Medium().write(iter(files))
    assert [(path, path.read_bytes()) for path, _ in files] == files


def test_an_error_leaves_neither_files_nor_leftovers(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        Medium().write([(tmp_path / "good", b"1"), (tmp_path / "file" / "bad", b"2")])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_crash_left_half_written_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_bytes(b"half, and longer than the whole")
    Medium().write([(tmp_path / "file", b"whole")])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"whole"}


def test_removing_twice_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for _ in range(2):
        Medium().remove([tmp_path / "file"])
    assert list(tmp_path.iterdir()) == []


def test_a_private_file_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "key"
    create_private(file, b"secret")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_private(file, b"other")
    assert file.read_bytes() == b"secret"
