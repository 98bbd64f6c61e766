"""The module `directory` unpacks what tar packs, and nothing that reaches out of its directory."""

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
    "an absolute link": [entry("l", kind=tarfile.SYMTYPE, link="/etc")],
    "a link out": [entry("l", kind=tarfile.SYMTYPE, link="../x")],
    "a deeper link out": [entry("a/l", kind=tarfile.SYMTYPE, link="../../x")],
    "a link out by way of another": [
        entry("d", kind=tarfile.SYMTYPE, link="."),
        entry("e", kind=tarfile.SYMTYPE, link="d/.."),
    ],
    "a file below a link": [
        entry("inside", kind=tarfile.DIRTYPE),
        entry("l", kind=tarfile.SYMTYPE, link="inside"),
        entry("l/x", b"x"),
    ],
    "a file that is a directory": [entry("a", kind=tarfile.DIRTYPE), entry("a", b"x")],
    "a file in place of all": [entry(".", b"x")],
    "a directory that is a file": [entry("a", b"x"), entry("a", kind=tarfile.DIRTYPE)],
    "a hard link out": [entry("l", kind=tarfile.LNKTYPE, link="../update.tar")],
    "a hard link to nothing": [entry("l", kind=tarfile.LNKTYPE, link="x")],
    "a hard link to a link": [
        entry("s", kind=tarfile.SYMTYPE, link="x"),
        entry("l", kind=tarfile.LNKTYPE, link="s"),
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


PARTS = st.sampled_from(["a", "b", ".", "..", ""])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


@given(entries=st.lists(st.tuples(NAMES, KINDS, NAMES), min_size=1, max_size=5))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_names_and_links_all_stays_inside(
    entries: list[tuple[str, bytes, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("unpack")
    archive = packed(place, *(entry(name, kind=kind, link=link) for name, kind, link in entries))
    root = place / "root"
    with suppress(Refused, OSError):
        unpack(archive, root, LOOK)
    assert sorted(path.name for path in place.iterdir()) == ["root", "update.tar"]
    inside = root.resolve()
    for path in root.rglob("*"):
        try:
            resolved = path.resolve(strict=True)
        except (OSError, RuntimeError):
            continue  # a link to nothing, or to itself
        assert resolved == inside or inside in resolved.parents
