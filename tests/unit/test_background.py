"""Work on a slot yields to the device's own programs; nothing else of an update does.

What is asked of the kernel happens in forked children: the tests' own process stays as it is.
"""

import fcntl
import json
import os
import re
import subprocess
import termios
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from device_agent import background, durable
from device_agent.background import NICE, disk_as_usual, in_background, ioprio_set_number
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.errors import TransientError
from device_agent.install.rootfs_ab import RootfsAB
from device_agent.install.slots import digest_of
from schemas.wire.descriptor import Artifact, Encoding
from tests.support.installing import BytesSource, component, packed, source_of
from tests.support.modules_device import READ_ALL, ModuleDevice

CAP_SYS_ADMIN, CAP_SYS_NICE = 1 << 21, 1 << 23
NOBODY = 65534
NO_SUCH_CALL = 100_000
IMAGE = b"new image" * 20_000
NUMBERS = {
    ("x86_64", 64): 251,
    ("x86_64", 32): 289,  # a 32-bit program on a 64-bit kernel
    ("i686", 32): 289,
    ("aarch64", 64): 30,
    ("riscv64", 64): 30,
    ("aarch64", 32): 314,
    ("armv7l", 32): 314,
    ("armv6l", 32): 314,
    ("sparc64", 64): None,
    ("mips", 32): None,
}


@dataclass(frozen=True, slots=True)
class Priority:
    """Of a process: its nice value, that of its session if there is such, its class for disks."""

    nice: int
    session: int | None
    disk: str


def priority(pid: int) -> Priority:
    """Return that of a process, or of a thread."""
    session = None
    with suppress(FileNotFoundError):
        found = re.search(r"nice (-?\d+)", Path(f"/proc/{pid}/autogroup").read_text())
        session = int(found[1]) if found else None
    said = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True)
    disk = re.match(r"\w+", said.stdout)
    assert disk
    return Priority(os.getpriority(os.PRIO_PROCESS, pid), session, disk[0])


def ours() -> Priority:
    return priority(threading.get_native_id())


def light(usual: Priority) -> Priority:
    """Return what becomes of `usual` in the background, by what this process is allowed to do."""
    status = Path("/proc/self/status").read_text()
    allowed = int(re.findall(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[0], 16)
    session = NICE if usual.session is not None and allowed & CAP_SYS_ADMIN else usual.session
    return Priority(NICE if allowed & CAP_SYS_NICE else usual.nice, session, "idle")


def in_child(act: Callable[[], list[Any]]) -> list[Any]:
    """Return what `act` returns in a forked child with a session of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            os.write(writer, json.dumps([_plain(item) for item in act()]).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return [Priority(*item) if isinstance(item, list) else item for item in json.loads(said)]


def _plain(item: object) -> object:
    return [item.nice, item.session, item.disk] if isinstance(item, Priority) else item


@dataclass
class WatchedSource(BytesSource):
    """Calls `look` after each chunk that was taken."""

    look: Callable[[], None] = lambda: None

    def stream(self, artifact: Artifact) -> Iterator[bytes]:
        for chunk in super().stream(artifact):
            yield chunk
            self.look()


def an_installer(root: Path) -> RootfsAB:
    slots = {name: root / f"{name}.img" for name in "ab"}
    for slot in slots.values():
        slot.write_bytes(bytes(300_000))
    boot(root)
    return RootfsAB(slots, FileBootloader(root), root)


def test_what_is_inside_is_light_and_as_before_afterwards() -> None:
    def act() -> list[Priority]:
        before = ours()
        with in_background():
            inside = ours()
        return [before, light(before), inside, ours()]

    before, expected, inside, after = in_child(act)
    assert before != expected
    assert inside == expected
    assert after == before


def test_a_thread_that_is_started_inside_is_light() -> None:
    def act() -> list[Priority]:
        seen: list[Priority] = []
        expected = light(ours())
        with in_background():
            thread = threading.Thread(target=lambda: seen.append(ours()))
            thread.start()
            thread.join()
        return [expected, *seen]

    expected, inside = in_child(act)
    assert inside == expected


def test_what_is_light_already_stays_so() -> None:
    def act() -> list[Priority]:
        os.nice(NICE + 3)
        before = ours()
        with in_background():
            inside = ours()
        return [before, inside, ours()]

    before, inside, after = in_child(act)
    assert inside.nice == before.nice
    assert after == before


def test_what_would_not_be_given_back_is_not_given_away() -> None:
    """As root the child has a class for disks, if it gets it, that it will not be given again."""

    def act() -> list[Priority]:
        if os.geteuid() == 0:
            subprocess.run(["ionice", "-c", "1", "-p", str(os.getpid())], check=False)
            os.setuid(NOBODY)
        before = ours()
        with in_background():
            inside = ours()
        return [before, inside, ours()]

    before, inside, after = in_child(act)
    given_back = "realtime" if before.disk == "realtime" else "idle"
    assert inside == replace(before, disk=given_back)
    assert after == before


def test_a_session_with_a_terminal_is_left_alone() -> None:
    def act() -> list[Priority]:
        _, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        before = ours()
        with in_background():
            return [before, ours()]

    before, inside = in_child(act)
    assert inside.session == before.session
    assert inside.disk == "idle"


@pytest.mark.parametrize("number", [None, NO_SUCH_CALL])
def test_a_system_without_the_call_costs_nothing_but_that(
    number: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "ioprio_set_number", lambda _machine, _bits: number)

    def act() -> list[Priority]:
        before = ours()
        with in_background():
            return [before, light(before), ours()]

    before, expected, inside = in_child(act)
    assert inside == replace(expected, disk=before.disk)


@pytest.mark.parametrize(("system", "number"), NUMBERS.items())
def test_the_call_is_found_by_machine_and_word_size(
    system: tuple[str, int], number: int | None
) -> None:
    assert ioprio_set_number(*system) == number


def test_a_file_that_others_may_wait_for_is_not_written_idly() -> None:
    def act() -> list[str]:
        before = ours().disk
        with in_background():
            with disk_as_usual():
                inside = ours().disk
            return [before, inside, ours().disk]

    before, inside, after = in_child(act)
    assert inside != "idle"
    assert (before, after) == ("none", "idle")


def test_a_slot_is_filled_in_the_background_whatever_comes_of_it(tmp_path: Path) -> None:
    def act() -> list[Priority]:
        seen: list[Priority] = []
        source = WatchedSource(IMAGE, 20_000, 10_000, look=lambda: seen.append(ours()))
        before = ours()
        with suppress(TransientError):
            an_installer(tmp_path).download(component(IMAGE), source)
        return [before, light(before), ours(), *seen]

    before, expected, after, *seen = in_child(act)
    assert len(seen) == 2
    assert set(seen) == {expected}
    assert after == before


def test_the_decompressor_is_in_the_background_too(tmp_path: Path) -> None:
    def act() -> list[Priority]:
        seen: list[Priority] = []

        def look() -> None:
            (child,) = Path("/proc/thread-self/children").read_text().split()
            seen.append(priority(int(child)))

        source = WatchedSource(packed(Encoding.ZSTD, IMAGE), look=look)
        expected = light(ours())
        an_installer(tmp_path).download(component(IMAGE, encoding=Encoding.ZSTD), source)
        return [expected, *seen]

    expected, *seen = in_child(act)
    assert seen
    assert set(seen) == {expected}


def test_a_slot_is_read_back_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act() -> list[Priority]:
        installer = an_installer(tmp_path)
        installer.download(component(IMAGE), source_of(IMAGE))
        seen: list[Priority] = []

        def watched(descriptor: int, length: int) -> Any:
            seen.append(ours())
            return digest_of(descriptor, length)

        monkeypatch.setattr("device_agent.install.rootfs_ab.digest_of", watched)
        before = ours()
        installer.install(component(IMAGE))
        return [before, light(before), ours(), *seen]

    before, expected, after, *seen = in_child(act)
    assert seen == [expected]
    assert after == before


def test_the_note_of_what_is_written_is_not_written_idly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act() -> list[str]:
        seen: list[str] = []
        write = durable.write

        def watched(path: Path, data: bytes, mode: int = 0o600) -> None:
            if path.name == "rootfs-ab.json":
                seen.append(ours().disk)
            write(path, data, mode)

        monkeypatch.setattr(durable, "write", watched)
        an_installer(tmp_path).download(component(IMAGE), source_of(IMAGE))
        return seen

    seen = in_child(act)
    assert seen
    assert "idle" not in seen


def test_a_module_after_a_slot_runs_as_it_would_alone(tmp_path: Path) -> None:
    look = "nice; ionice -p $$; sed 's/.* nice//' /proc/self/autogroup || true"
    app = component(b"app", name="app", installer="recorder")

    def act() -> list[str]:
        device = ModuleDevice(tmp_path)
        device.script("Download", READ_ALL)
        device.script("ArtifactInstall", f'({look}) > "$RECORD/priority" 2>&1')
        before = subprocess.run(
            ["sh", "-c", f"({look}) 2>&1"], capture_output=True, text=True, check=True
        )
        installer = an_installer(tmp_path)
        installer.download(component(IMAGE), source_of(IMAGE))
        installer.install(component(IMAGE))
        device.installer.download(app, source_of(b"app"))
        device.installer.install(app)
        return [before.stdout, device.read("priority").decode()]

    alone, after_a_slot = in_child(act)
    assert after_a_slot == alone
