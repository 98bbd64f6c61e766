"""Download of the Update Module protocol v3: streams for a module that reads them, else files."""

import hashlib
import os
import stat
import time
from pathlib import Path

import pytest

from device_agent.core.component import Component
from device_agent.errors import InstallFailed, TransientError, UpdateRejected
from schemas.refusal import Code
from schemas.wire.report import FailureClass
from tests.support.installing import BytesSource, component, source_of
from tests.support.modules_device import READ_ALL, ModuleDevice

CONTENT = os.urandom(1_000_000)


@pytest.fixture
def device(tmp_path: Path) -> ModuleDevice:
    return ModuleDevice(tmp_path)


def app(
    content: bytes = CONTENT, url: str | None = "https://cdn.example/x/app.tar?v=1"
) -> Component:
    return component(content, name="app", installer="recorder", url=url)


def failing(device: ModuleDevice, source: BytesSource | None = None) -> InstallFailed:
    with pytest.raises(InstallFailed) as caught:
        device.installer.download(app(), source or source_of(CONTENT))
    return caught.value


def test_a_module_that_streams_gets_the_exact_bytes_and_no_files(device: ModuleDevice) -> None:
    device.script("Download", READ_ALL)
    device.installer.download(app(), source_of(CONTENT))
    assert device.calls == ["ProvidePayloadFileSizes", "Download"]
    assert device.read("offered") == b"streams/app.tar\n"
    assert device.read("app.tar.read") == CONTENT
    assert sorted(path.name for path in device.tree.iterdir()) == sorted(TREE)


TREE = [
    "current_artifact_group",
    "current_artifact_name",
    "current_device_type",
    "header",
    "tmp",
    "version",
]


def test_a_stream_can_be_opened_once_and_is_gone_at_its_end(device: ModuleDevice) -> None:
    """A module that opened it again would wait until its time is up."""
    again = 'next="$(cat stream-next)"; cat "$next" > /dev/null; [ ! -e "$next" ] || exit 1'
    device.script("Download", f'{again}; [ -z "$(cat stream-next)" ]')
    device.installer.download(app(), source_of(CONTENT))


def test_a_module_that_asks_for_sizes_is_told_them(device: ModuleDevice) -> None:
    device.script("ProvidePayloadFileSizes", "echo Yes")
    device.script("DownloadWithFileSizes", READ_ALL)
    device.installer.download(app(), source_of(CONTENT))
    assert device.calls == ["ProvidePayloadFileSizes", "DownloadWithFileSizes"]
    assert device.read("offered") == b"streams/app.tar 1000000\n"
    assert device.read("app.tar.read") == CONTENT


def test_a_module_that_does_not_stream_finds_the_file_in_the_tree(device: ModuleDevice) -> None:
    source = source_of(CONTENT)
    device.installer.download(app(), source)
    assert (device.tree / "files" / "app.tar").read_bytes() == CONTENT
    assert source.streams == 1
    assert not (device.tree / "stream-next").exists()
    assert not (device.tree / "streams").exists()


def test_a_stored_file_can_be_read_by_all_and_written_by_us_whatever_the_umask(
    device: ModuleDevice,
) -> None:
    before = os.umask(0)
    try:
        device.installer.download(app(), source_of(CONTENT))
    finally:
        os.umask(before)
    (stored,) = (device.tree / "files").iterdir()
    assert stat.S_IMODE(stored.stat().st_mode) == 0o644


def test_an_artifact_without_a_url_is_a_file_named_payload(device: ModuleDevice) -> None:
    device.installer.download(app(url=None), source_of(CONTENT))
    assert [path.name for path in (device.tree / "files").iterdir()] == ["payload"]


@pytest.mark.parametrize(
    "url",
    ["https://x/..", "https://x/a b", "https://x/", "https://x/a\\b", "https://x/" + "a" * 256],
)
def test_a_url_without_a_plain_file_name_is_refused(device: ModuleDevice, url: str) -> None:
    with pytest.raises(UpdateRejected) as caught:
        device.installer.download(app(url=url), source_of(CONTENT))
    assert caught.value.code is Code.PATH
    assert device.calls == []


def test_pipes_and_tree_are_there_while_the_module_downloads(device: ModuleDevice) -> None:
    device.script(
        "Download",
        '[ "$(pwd -P)" = "$(readlink -f "$2")" ] && echo cwd > "$RECORD/seen"\n'
        '[ -p stream-next ] && [ -d streams ] && [ ! -e files ] && echo tree >> "$RECORD/seen"\n'
        'stat -c %a stream-next >> "$RECORD/seen"',
    )
    device.installer.download(app(), source_of(CONTENT))
    assert device.read("seen") == b"cwd\ntree\n600\n"


@pytest.mark.parametrize(
    "script",
    [
        "cat stream-next > /dev/null",  # never opens the stream
        "dd if=stream-next count=0 2> /dev/null",  # opens, reads nothing
        "head -c 100 $(cat stream-next) > /dev/null",  # stops in the middle
        "cat $(cat stream-next) > /dev/null",  # never learns that there is no more
    ],
)
def test_a_module_that_begins_to_stream_has_to_finish(device: ModuleDevice, script: str) -> None:
    device.script("Download", script)
    error = failing(device)
    assert "did not read its streams to the end" in error.message
    assert error.failure is FailureClass.DOWNLOAD


def test_a_module_that_stops_reading_and_hangs_is_ended_long_before_its_timeout(
    device: ModuleDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device_agent.modules.stream.CLOSING", 0.2)
    device.script("Download", "head -c 9 $(cat stream-next) > /dev/null; cat stream-next; sleep 60")
    before = time.monotonic()
    assert "did not read its streams" in failing(device).message
    assert time.monotonic() - before < 10


@pytest.mark.parametrize("script", ["exit 2", "cat stream-next; exit 2", READ_ALL + "exit 2"])
def test_a_module_that_exits_with_an_error_fails_with_its_last_words(
    device: ModuleDevice, script: str
) -> None:
    device.script("Download", "echo 'no room on /data' >&2\n" + script)
    assert failing(device).message.endswith("exited with status 2: no room on /data")


def test_a_module_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    device = ModuleDevice(tmp_path, timeout=0.5)
    device.script("Download", "sleep 60")
    assert failing(device).failure is FailureClass.TIMEOUT


def test_a_module_that_takes_too_long_over_a_stream_is_ended(tmp_path: Path) -> None:
    device = ModuleDevice(tmp_path, timeout=0.5)
    device.script("Download", "exec 3< $(cat stream-next); sleep 60")
    assert failing(device).failure is FailureClass.TIMEOUT


def test_a_module_that_talks_while_it_streams_blocks_nobody(device: ModuleDevice) -> None:
    device.script(
        "Download", "head -c 3000000 /dev/zero\n" + READ_ALL + "head -c 3000000 /dev/zero"
    )
    device.installer.download(app(), source_of(CONTENT))
    assert device.read("app.tar.read") == CONTENT


@pytest.mark.parametrize("script", [READ_ALL, "true"])
def test_a_network_that_breaks_is_passed_on_and_the_module_ended(
    device: ModuleDevice, script: str
) -> None:
    device.script("Download", 'echo $$ > "$RECORD/pid"\n' + script)
    with pytest.raises(TransientError):
        device.installer.download(app(), BytesSource(CONTENT, breaks_at=200_000))
    assert not (device.tree / "stream-next").exists()
    assert not Path("/proc", device.read("pid").decode().strip()).exists()


@pytest.mark.parametrize("script", [READ_ALL, "true"])
def test_wrong_bytes_are_never_a_finished_download(device: ModuleDevice, script: str) -> None:
    device.script("Download", script)
    with pytest.raises(UpdateRejected) as caught:
        device.installer.download(app(), BytesSource(CONTENT[:-1] + b"!"))
    assert caught.value.code is Code.HASH
    assert not list(device.tree.glob("files/*"))


def test_a_payload_larger_than_the_disk_is_refused_before_it_is_stored(
    device: ModuleDevice,
) -> None:
    new = app()
    artifact = type(new.artifact)(
        compatible="",
        sha256=hashlib.sha256(b"").hexdigest(),
        size=2**62,
        uncompressed_size=2**62,
        encoding=new.artifact.encoding,
    )
    huge = Component(new.name, new.ref, new.descriptor, artifact)
    source = source_of(CONTENT)
    with pytest.raises(UpdateRejected) as caught:
        device.installer.download(huge, source)
    assert caught.value.code is Code.SPACE
    assert not list(device.tree.glob("files/*"))


def test_a_place_that_the_module_blocked_is_a_failure(device: ModuleDevice) -> None:
    device.script("Download", "mkdir -p files/app.tar")
    assert "Is a directory" in failing(device).message


@pytest.mark.parametrize("answer", ["echo junk", "echo Yes; sleep 0.1; echo more", "exit 1"])
def test_a_broken_answer_about_sizes_fails_before_the_download(
    device: ModuleDevice, answer: str
) -> None:
    device.script("ProvidePayloadFileSizes", answer)
    failing(device)
    assert device.calls == ["ProvidePayloadFileSizes"]


def test_a_second_download_starts_from_a_new_tree(device: ModuleDevice) -> None:
    device.script("Download", "touch tmp/left")
    device.installer.download(app(), source_of(CONTENT))
    device.script("Download", "")
    device.installer.download(app(), source_of(CONTENT))
    assert not (device.tree / "tmp" / "left").exists()
