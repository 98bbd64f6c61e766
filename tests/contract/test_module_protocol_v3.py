"""The Update Module protocol, version 3: modules in shell, and what the agent makes of them."""

import os
import signal
import time
from pathlib import Path

import pytest

from device_agent.core.component import RebootNeed
from device_agent.errors import InstallFailed
from schemas.wire.report import FailureClass
from tests.support.artifacts import Build
from tests.support.mender_device import STREAM, MenderDevice, left_running, ready

ROOTFS = b"\x00root" * 40_000
ONE = Build(payloads=({"rootfs": ROOTFS},), kinds=("m",))
PAIR = Build(payloads=({"rootfs": ROOTFS, "rootfs2": b"2" * 70_000},), kinds=("m",))
QUICK = 0.4  # seconds for a call of a module that is to run out of time

ANSWERS = {
    "Yes": "echo Yes",
    "No": "echo No",
    "nothing": "true",
    "no newline": "printf Yes",
    "in two writes": "printf Ye; sleep 0.1; echo s",
    "empty lines after it": "echo Yes; echo; sleep 0.1; echo",
    "Automatic": "echo Automatic",
    "junk": "echo junk",
    "lower case": "echo yes",
    "a blank before it": "echo ' Yes'",
    "a blank after it": "echo 'Yes '",
    "a carriage return": "printf 'Yes\\r\\n'",
    "an empty line before it": "echo; echo Yes",
    "another line": "echo Yes; echo extra line",
    "another line, later": "echo No; sleep 0.1; echo another line",
    "another line after an empty one": "echo No; echo; echo late",
    "no text": "printf '\\377\\n'",
    "a zero byte": "printf 'Yes\\0\\n'",
    "a flood": "head -c 3000000 /dev/zero",
    "a flood of empty lines": "echo Yes; yes '' | head -c 200000; echo late",
    "Yes, and an error": "echo Yes; exit 1",
    "Yes, and a signal": "echo Yes; kill -9 $$",
    "on the wrong stream": "echo Yes >&2",
}
YES_OR_NO = {
    "Yes": True,
    "No": False,
    "nothing": False,
    "no newline": True,
    "in two writes": True,
    "empty lines after it": True,
    "on the wrong stream": False,
}
NEED = {
    "Yes": RebootNeed.MODULE,
    "No": RebootNeed.NO,
    "nothing": RebootNeed.NO,
    "no newline": RebootNeed.MODULE,
    "in two writes": RebootNeed.MODULE,
    "empty lines after it": RebootNeed.MODULE,
    "on the wrong stream": RebootNeed.NO,
    "Automatic": RebootNeed.AGENT,
}


@pytest.mark.parametrize("said", ANSWERS)
@pytest.mark.parametrize(
    ("query", "meant"), [("SupportsRollback", YES_OR_NO), ("NeedsArtifactReboot", NEED)]
)
def test_a_query_is_answered_by_one_line_or_is_an_error(
    tmp_path: Path, query: str, meant: dict[str, object], said: str
) -> None:
    device = ready(tmp_path, {query: ANSWERS[said]})
    if said in meant:
        assert device.take(query) == meant[said]
    else:
        with pytest.raises(InstallFailed, match=f"module m: {query}") as caught:
            device.take(query)
        assert caught.value.failure is FailureClass.SCRIPT


@pytest.mark.parametrize("said", ANSWERS)
def test_sizes_are_told_if_the_module_answers_yes(tmp_path: Path, said: str) -> None:
    device = MenderDevice(tmp_path)
    device.module("m", {"ProvidePayloadFileSizes": ANSWERS[said]})
    if said in YES_OR_NO:
        device.download(ONE)
        told = "DownloadWithFileSizes" if YES_OR_NO[said] else "Download"
        assert device.calls == ["m ProvidePayloadFileSizes app", f"m {told} app"]
    else:
        with pytest.raises(InstallFailed, match="ProvidePayloadFileSizes"):
            device.download(ONE)
        assert device.calls == ["m ProvidePayloadFileSizes app"]


READ_FILE = 'file="$(cat stream-next)"; [ "$file" = streams/rootfs ] || exit 9; '
STARTED = "did not read its streams to the end"

FAILING_DOWNLOADS = {
    "exits with 2 at once": ("exit 2", "exited with status 2"),
    "dies midway": (READ_FILE + 'dd if="$file" of=x bs=1000 count=1 2>/dev/null', STARTED),
    "never opens the stream": (READ_FILE, STARTED),
    "opens stream-next and reads nothing": ("dd if=stream-next count=0 2>/dev/null", STARTED),
    "fails after stream-next": (READ_FILE + "exit 2", "exited with status 2"),
    "fails after the last stream": (STREAM + "exit 2", "exited with status 2"),
    "skips the last stream-next": (READ_FILE + 'cat "$file" > x', STARTED),
    "makes a directory of a file's place": ("mkdir -p files/rootfs", "Is a directory"),
    "makes a pipe of a file's place": ("mkdir files; mkfifo files/rootfs", "No such device"),
    "makes a link of a file's place": ("mkdir files; ln -s ../x files/rootfs", "symbolic links"),
    "makes a file of the files' place": ("touch files", "exists|Not a directory"),
    "makes a file of a stream's place": (
        "touch streams/rootfs; " + READ_FILE + 'cat "$file"; cat stream-next',
        "exists",
    ),
    "removes the tree": ('rm -rf "$2"', "No such file"),
}


@pytest.mark.parametrize("what", FAILING_DOWNLOADS)
def test_a_download_fails_when_the_module(tmp_path: Path, what: str) -> None:
    script, words = FAILING_DOWNLOADS[what]
    device = MenderDevice(tmp_path)
    device.module("m", {"Download": script})
    with pytest.raises(InstallFailed, match=words) as caught:
        device.download(ONE)
    assert caught.value.failure is FailureClass.DOWNLOAD
    assert not (device.tree() / "stream-next").exists()
    assert not (device.tree() / "streams").exists()


SLOW_DOWNLOADS = {
    "sleeps": "sleep 60",
    "sleeps after stream-next": READ_FILE + "sleep 60",
    "sleeps over a stream": READ_FILE + 'exec 3< "$file"; sleep 60',
    "ignores TERM": "trap '' TERM; sleep 60; sleep 60",
    "talks without end": "yes",
}


@pytest.mark.parametrize("what", SLOW_DOWNLOADS)
def test_a_download_runs_out_of_time_when_the_module(tmp_path: Path, what: str) -> None:
    device = MenderDevice(tmp_path, timeout=QUICK)
    device.module("m", {"Download": 'echo $$ > "$RECORD/pid"\n' + SLOW_DOWNLOADS[what]})
    before = time.monotonic()
    with pytest.raises(InstallFailed, match="did not end in time") as caught:
        device.download(ONE)
    assert caught.value.failure is FailureClass.TIMEOUT
    assert time.monotonic() - before < 20
    assert not left_running(device)


def test_a_module_that_leaves_a_reader_behind_does_not_hold_up_the_download(
    tmp_path: Path,
) -> None:
    """It ends while the reader still holds the stream, and long before its own time is up."""
    device = MenderDevice(tmp_path, timeout=240)
    holding = 'exec 3< "$file"; sleep 120 & echo $! > "$RECORD/reader"; exit 0'
    device.module("m", {"Download": READ_FILE + holding})
    with pytest.raises(InstallFailed, match=STARTED):
        device.download(Build(payloads=({"rootfs": bytes(500_000)},), kinds=("m",)))
    reader = int(device.read("reader"))
    assert Path(f"/proc/{reader}/fd/3").exists(), "the download waited for the reader's end"
    os.kill(reader, signal.SIGKILL)


def test_two_files_are_streamed_in_their_order(tmp_path: Path) -> None:
    device = MenderDevice(tmp_path)
    device.module("m", {"Download": STREAM})
    device.download(PAIR)
    assert device.read("offered") == b"streams/rootfs\nstreams/rootfs2\n"
    assert device.read("app-rootfs") == ROOTFS
    assert device.read("app-rootfs2") == b"2" * 70_000


def test_two_files_are_streamed_with_their_sizes(tmp_path: Path) -> None:
    device = MenderDevice(tmp_path)
    device.module("m", {"ProvidePayloadFileSizes": "echo Yes", "DownloadWithFileSizes": STREAM})
    device.download(PAIR)
    assert device.read("offered") == b"streams/rootfs 200000\nstreams/rootfs2 70000\n"
    assert device.read("app-rootfs") == ROOTFS


def test_pipes_are_there_only_while_the_module_downloads(tmp_path: Path) -> None:
    device = MenderDevice(tmp_path)
    seen = 'stat -c "%F %a" stream-next streams > "$RECORD/seen"; [ ! -e files ]\n' + READ_FILE
    pipe = 'stat -c "%F %a" "$file" >> "$RECORD/seen"; cat "$file" > /dev/null; cat stream-next'
    device.module("m", {"Download": seen + pipe})
    device.download(ONE)
    assert device.read("seen") == b"fifo 600\ndirectory 700\nfifo 600\n"
    names = {path.name for path in device.tree().iterdir()}
    assert not names & {"stream-next", "streams", "files"}


def test_files_are_stored_for_a_module_that_does_not_stream(tmp_path: Path) -> None:
    device = ready(tmp_path, {}, build=ONE).device
    assert {path.name: path.read_bytes() for path in (device.tree() / "files").iterdir()} == {
        "rootfs": ROOTFS
    }
    assert not (device.tree() / "stream-next").exists()


def test_a_payload_without_files_has_no_place_for_them(tmp_path: Path) -> None:
    device = MenderDevice(tmp_path)
    device.module("m")
    device.download(Build(payloads=({},), kinds=("m",), meta_data=b'{"image":"x"}'))
    assert not (device.tree() / "files").exists()


def test_a_module_that_streams_a_payload_without_files_reads_nothing(tmp_path: Path) -> None:
    device = MenderDevice(tmp_path)
    device.module("m", {"Download": STREAM})
    device.download(Build(payloads=({},), kinds=("m",)))
    assert not (device.record / "offered").exists()
