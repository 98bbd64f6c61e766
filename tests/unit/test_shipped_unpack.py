"""The module `directory` unpacks what tar packs, and writes nothing outside of its directory."""

import io
import os
import stat
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_agent.modules.shipped.fleetcd_modules import files
from device_agent.modules.shipped.fleetcd_modules.protocol import Refused
from device_agent.modules.shipped.fleetcd_modules.unpack import unpack
from tests.support.shipped_modules import content_of

LOOK = files.Look(0o750, os.geteuid(), os.getegid())


def entry(
    name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, len(content)
    member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return member, content


def packed(place: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = place / "update.tar"
    with tarfile.open(path, "w") as tar:
        for member, content in entries:
            tar.addfile(member, io.BytesIO(content))
    return path


def test_what_tar_packs_is_unpacked_with_its_modes_times_and_links(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "app").write_bytes(b"program")
    (source / "bin" / "app").chmod(0o4755)
    (source / "bin" / "hard").hardlink_to(source / "bin" / "app")
    (source / "closed").mkdir(mode=0o500)
    (source / "current").symlink_to("bin/app")
    (source / "bin" / "up").symlink_to("../current")
    (source / "bin" / "up again").hardlink_to(source / "bin" / "up")
    os.utime(source / "bin", (1_700_000_000, 1_700_000_000))
    source.chmod(0o711)
    archive = tmp_path / "update.tar"
    argv = ["tar", "-cf", str(archive), "-C", str(source), "."]
    subprocess.run(argv, check=True, timeout=60)

    unpack(archive, root, LOOK)

    assert content_of(root) == content_of(source)
    for path in source.rglob("*"):
        expected, got = path.lstat(), (root / path.relative_to(source)).lstat()
        assert (got.st_mode, got.st_uid, got.st_nlink) == (
            expected.st_mode,
            expected.st_uid,
            expected.st_nlink,
        )
    assert (root / "bin" / "up").readlink() == Path("../current")
    assert (root / "bin" / "up again").readlink() == Path("../current")
    assert (root / "bin").stat().st_mtime == 1_700_000_000
    assert stat.S_IMODE(root.stat().st_mode) == 0o711


def test_without_an_entry_for_itself_the_directory_looks_as_it_did(tmp_path: Path) -> None:
    unpack(packed(tmp_path, entry("a/b", b"x")), tmp_path / "root", LOOK)
    assert stat.S_IMODE((tmp_path / "root").stat().st_mode) == 0o750
    assert content_of(tmp_path / "root") == {"a": None, "a/b": b"x"}


def test_the_last_of_two_entries_counts(tmp_path: Path) -> None:
    archive = packed(tmp_path, entry("a", b"first"), entry("a", b"last"))
    unpack(archive, tmp_path / "root", LOOK)
    assert content_of(tmp_path / "root") == {"a": b"last"}


HOSTILE = {
    "an absolute name": [entry("/etc/shadow", b"x")],
    "a name with ..": [entry("a/../../x", b"x")],
    "a file below a link out": [entry("l", kind=tarfile.SYMTYPE, link=".."), entry("l/x", b"x")],
    "a directory below a link out": [
        entry("l", kind=tarfile.SYMTYPE, link=".."),
        entry("l/x", kind=tarfile.DIRTYPE),
    ],
    "a directory in place of a link out": [
        entry("l", kind=tarfile.SYMTYPE, link=".."),
        entry("l", kind=tarfile.DIRTYPE),
    ],
    "a file below a link": [
        entry("inside", kind=tarfile.DIRTYPE),
        entry("l", kind=tarfile.SYMTYPE, link="inside"),
        entry("l/x", b"x"),
    ],
    "a hard link by way of a link out": [
        entry("l", kind=tarfile.SYMTYPE, link=".."),
        entry("h", kind=tarfile.LNKTYPE, link="l/update.tar"),
    ],
    "a file that is a directory": [entry("a", kind=tarfile.DIRTYPE), entry("a", b"x")],
    "a file in place of all": [entry(".", b"x")],
    "a directory that is a file": [entry("a", b"x"), entry("a", kind=tarfile.DIRTYPE)],
    "a hard link out": [entry("l", kind=tarfile.LNKTYPE, link="../update.tar")],
    "a hard link to nothing": [entry("l", kind=tarfile.LNKTYPE, link="x")],
    "a hard link to a directory": [
        entry("d", kind=tarfile.DIRTYPE),
        entry("l", kind=tarfile.LNKTYPE, link="d"),
    ],
    "a device": [entry("null", kind=tarfile.CHRTYPE)],
    "a disk": [entry("sda", kind=tarfile.BLKTYPE)],
    "a pipe": [entry("fifo", kind=tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_reaches_out_is_refused(
    entries: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    with pytest.raises(Refused):
        unpack(packed(tmp_path, *entries), tmp_path / "root", LOOK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "update.tar"]


@pytest.mark.parametrize("size", [0, 100, 700])
def test_an_archive_that_ends_too_soon_is_refused(size: int, tmp_path: Path) -> None:
    archive = packed(tmp_path, entry("a", bytes(2000)))
    archive.write_bytes(archive.read_bytes()[:size])
    with pytest.raises(Refused, match=r"update\.tar"):
        unpack(archive, tmp_path / "root", LOOK)


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "/", "nowhere"])
def test_a_link_leads_wherever_it_leads_and_a_later_file_takes_its_place(
    target: str, tmp_path: Path
) -> None:
    """So do those of a Python environment, or of a root filesystem."""
    links = [entry(name, kind=tarfile.SYMTYPE, link=target) for name in ("a", "b")]
    unpack(packed(tmp_path, *links, entry("b", b"x")), tmp_path / "root", LOOK)
    assert (tmp_path / "root" / "a").readlink() == Path(target)
    assert not (tmp_path / "root" / "b").is_symlink()
    assert (tmp_path / "root" / "b").read_bytes() == b"x"


PARTS = st.sampled_from(["a", "b", ".", "..", ""])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


def looks_of(directory: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Return all that a call may change of what lies in `directory`, but for `root`."""
    found = {}
    for path in directory.iterdir():
        if path.name != "root":
            status = path.stat()
            look = (status.st_ino, status.st_mode, status.st_nlink, status.st_mtime_ns)
            found[path.name] = (*look, path.read_bytes() if path.is_file() else b"")
    return found


@given(entries=st.lists(st.tuples(NAMES, KINDS, NAMES), min_size=1, max_size=5))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_names_and_links_nothing_outside_is_touched(
    entries: list[tuple[str, bytes, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("unpack")
    (place / "a").mkdir()
    (place / "b").write_bytes(b"outside")
    archive = packed(
        place, *(entry(name, b"", kind=kind, link=link) for name, kind, link in entries)
    )
    before = looks_of(place)
    with suppress(Refused, OSError):
        unpack(archive, place / "root", LOOK)
    assert looks_of(place) == before
    assert not list((place / "a").iterdir())
