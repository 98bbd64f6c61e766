"""Whatever happens to the mirror (a kill, a lost or altered file), fetching makes it good again."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters.git_source import GitSource
from reconciler.errors import ReconcilerError, Unavailable
from tests.support.git_upstream import Upstream, source_of

BOUND = 20.0  # seconds in which a condition must come true
ROUNDS = 3  # polls within which a damaged mirror must be whole again

FETCH = """
import sys
from pathlib import Path
from tests.support.git_upstream import source_of
source_of(sys.argv[1], Path(sys.argv[2]), timeout=60).fetch()
"""

SLOW_SSH = """#!{python}
import os, subprocess, sys, time
command = sys.argv[-1]
asked = {directory!r} + "/asked"
if not os.path.exists(asked):
    open(asked, "w").close()  # the first connection is ls-remote's
    os.execvp("sh", ["sh", "-c", command])
child = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE)
left = {bytes}
while left:
    chunk = os.read(child.stdout.fileno(), left)
    os.write(1, chunk)
    left -= len(chunk)
with open({directory!r} + "/group.part", "w") as file:
    file.write(str(os.getpgrp()))
os.rename({directory!r} + "/group.part", {directory!r} + "/group")
time.sleep(60)
"""


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    upstream = Upstream(tmp_path / "upstream")
    upstream.push({f"{n}.yaml": os.urandom(20_000) for n in range(5)})
    return upstream


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def mirror(state: Path) -> Path:
    return state / "git" / "sha1.git"


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.02)


def reads_whole(source: GitSource, upstream: Upstream) -> None:
    """Assert that within ROUNDS polls the newest commit is fetched and every byte can be read."""
    for _ in range(ROUNDS):
        try:
            commit = source.fetch()
            files = source.files(commit)
            contents = source.read(file.blob for file in files)
        except Unavailable:
            continue
        assert commit == upstream.head()
        assert {f.path: contents[f.blob] for f in files} == {
            file.name: file.read_bytes() for file in upstream.work.glob("*.yaml")
        }
        source.accept(commit)
        return
    pytest.fail(f"still not whole after {ROUNDS} polls")


def start_slow_fetch(
    upstream: Upstream, state: Path, directory: Path, sent: int
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a process that fetches and hangs after `sent` bytes; return it and git's group."""
    directory.mkdir()
    ssh = directory / "ssh"
    ssh.write_text(SLOW_SSH.format(python=sys.executable, directory=str(directory), bytes=sent))
    ssh.chmod(0o755)
    environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
    arguments = [f"host.example:{upstream.bare}", str(state)]
    process = subprocess.Popen([sys.executable, "-c", FETCH, *arguments], env=environment)
    eventually((directory / "group").exists)
    return process, int((directory / "group").read_text())


@pytest.mark.parametrize("first", ["a first fetch", "a later fetch"])
@pytest.mark.parametrize("sent", [200, 30_000, 80_000])
def test_killed_with_git_in_the_middle_of_a_fetch_the_next_start_goes_on(
    upstream: Upstream, state: Path, tmp_path: Path, first: str, sent: int
) -> None:
    if first == "a later fetch":
        reads_whole(source_of(upstream.bare, state), upstream)
        upstream.push({f"{n}.yaml": os.urandom(20_000) for n in range(5)})
    process, group = start_slow_fetch(upstream, state, tmp_path / "bin", sent)
    process.kill()
    os.killpg(group, signal.SIGKILL)
    process.wait(BOUND)
    reads_whole(source_of(upstream.bare, state), upstream)
    upstream.push({"0.yaml": b"after"})
    reads_whole(source_of(upstream.bare, state), upstream)
    leftovers = [p for pattern in ("tmp_*", "*.lock", "*.new") for p in state.rglob(pattern)]
    assert leftovers == []


def test_an_orphan_of_a_killed_reconciler_is_waited_for_not_fought(
    upstream: Upstream, state: Path, tmp_path: Path
) -> None:
    process, group = start_slow_fetch(upstream, state, tmp_path / "bin", 30_000)
    process.kill()
    process.wait(BOUND)
    try:
        with pytest.raises(Unavailable, match="held by another process"):
            source_of(upstream.bare, state, timeout=1).fetch()
    finally:
        os.killpg(group, signal.SIGKILL)
    reads_whole(source_of(upstream.bare, state), upstream)


def test_stale_lock_files_do_not_block_for_ever(upstream: Upstream, state: Path) -> None:
    source = source_of(upstream.bare, state)
    reads_whole(source, upstream)
    for name in ("HEAD", "config", "packed-refs", "refs/fleetcd/fetched", "refs/fleetcd/accepted"):
        (mirror(state) / f"{name}.lock").touch()
    upstream.push({"0.yaml": b"after"})
    reads_whole(source, upstream)


def packs(state: Path, ending: str = "pack") -> list[Path]:
    found = list((mirror(state) / "objects" / "pack").glob(f"*.{ending}"))
    assert found
    return found


def truncate_packs(state: Path) -> None:
    for pack in packs(state):
        pack.chmod(0o600)
        os.truncate(pack, pack.stat().st_size // 2)


def alter_packs(state: Path) -> None:
    for pack in packs(state):
        pack.chmod(0o600)
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 1
        pack.write_bytes(content)


def delete_packs(state: Path) -> None:
    for pack in packs(state):
        pack.unlink()


def delete_indexes(state: Path) -> None:
    for index in packs(state, "idx"):
        index.unlink()


def delete_objects(state: Path) -> None:
    shutil.rmtree(mirror(state) / "objects")


def empty_head(state: Path) -> None:
    (mirror(state) / "HEAD").write_bytes(b"")


def break_configuration(state: Path) -> None:
    (mirror(state) / "config").write_bytes(b"[core\0")


def zero_the_ref(state: Path) -> None:
    (mirror(state) / "refs" / "fleetcd" / "fetched").write_bytes(bytes(41))


def point_the_ref_nowhere(state: Path) -> None:
    (mirror(state) / "refs" / "fleetcd" / "fetched").write_text("1" * 40 + "\n")


def delete_refs(state: Path) -> None:
    shutil.rmtree(mirror(state) / "refs")


def empty_the_mirror(state: Path) -> None:
    shutil.rmtree(mirror(state))
    mirror(state).mkdir()


def put_a_file_there(state: Path) -> None:
    shutil.rmtree(mirror(state))
    mirror(state).write_bytes(b"")


def leave_half_made(state: Path) -> None:
    mirror(state).rename(mirror(state).with_suffix(".old"))
    mirror(state).with_suffix(".new").mkdir()


DAMAGES = (
    truncate_packs,
    alter_packs,
    delete_packs,
    delete_indexes,
    delete_objects,
    empty_head,
    break_configuration,
    zero_the_ref,
    point_the_ref_nowhere,
    delete_refs,
    empty_the_mirror,
    put_a_file_there,
    leave_half_made,
)


@pytest.mark.parametrize("pushed", ["nothing new", "a new commit"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_mirror_is_made_anew(
    upstream: Upstream, state: Path, damage: Callable[[Path], None], pushed: str
) -> None:
    reads_whole(source_of(upstream.bare, state), upstream)
    damage(state)
    if pushed == "a new commit":
        upstream.push({"new.yaml": b"1"})
    reads_whole(source_of(upstream.bare, state), upstream)


def test_more_missing_objects_than_can_be_listed_are_damage_too(
    upstream: Upstream, state: Path
) -> None:
    upstream.push({f"{n}.yaml": b"%d" % n for n in range(1_400)})
    source = source_of(upstream.bare, state)
    reads_whole(source, upstream)
    files = source.files(upstream.head())
    (pack,) = packs(state)
    aside = pack.rename(state / "aside.pack")
    with aside.open("rb") as stream:
        command = ["git", f"--git-dir={mirror(state)}", "unpack-objects", "-q"]
        subprocess.run(command, stdin=stream, check=True, timeout=BOUND)
    for blob in {file.blob for file in files}:
        (mirror(state) / "objects" / blob[:2] / blob[2:]).unlink()
    reads_whole(source, upstream)


def test_altered_bytes_are_never_returned(upstream: Upstream, state: Path) -> None:
    source = source_of(upstream.bare, state)
    reads_whole(source, upstream)
    files = source.files(upstream.head())
    alter_packs(state)
    before = {file.name: file.read_bytes() for file in upstream.work.glob("*.yaml")}
    for file in files:
        try:
            assert source.read([file.blob]) == {file.blob: before[file.path]}
        except ReconcilerError:
            continue


def test_a_damaged_mirror_is_not_taken_for_rewritten_history(
    upstream: Upstream, state: Path
) -> None:
    reads_whole(source_of(upstream.bare, state), upstream)
    for n in range(3):
        upstream.push({"0.yaml": b"%d" % n})
    source = source_of(upstream.bare, state)
    source.fetch()
    packs(state)[0].unlink()
    reads_whole(source, upstream)
