"""Whatever the artifact's bytes: its files reach their trees, or it is refused, and nothing else
on the device has changed."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.core.component import Component, payloads
from device_agent.errors import AgentError, UpdateRejected
from schemas.wire.descriptor import Encoding
from tests.support.artifacts import Build, as_json, assemble, member, tar
from tests.support.installing import BytesSource
from tests.support.mender_device import STREAM, MenderDevice, app

GOOD = Build(
    payloads=({"a.bin": bytes(range(256)) * 9, "b": b"b"}, {"c": b"c" * 700}),
    kinds=("stores", "streams"),
    scripts=("ArtifactInstall_Enter_00",),
    meta_data=b'{"a":1}',
)
HUNG = 30.0  # seconds; a mutant takes a fraction of one

ENCODINGS = st.sampled_from([Encoding.RAW, Encoding.GZIP, Encoding.XZ])
# What names are made of that lead elsewhere, or are something already in a tree.
PARTS = ("..", ".", "", "a", "~", "C:", "-", "\\", " ", "\n", "\0", "é", "*", "$(id)", "%2e%2e")
TAKEN = ("tmp", "header", "streams", "stream-next", "files", "version", "canary", "record")
WORDS = st.sampled_from(PARTS + TAKEN)
NAMES = st.lists(WORDS, min_size=1, max_size=5).map("/".join) | st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@contextmanager
def watched() -> Iterator[MenderDevice]:
    """Give a device, and see afterwards that nothing has changed but what an installer owns."""
    with tempfile.TemporaryDirectory() as place:
        device = MenderDevice(Path(place))
        device.module("streams", {"Download": STREAM})
        device.module("stores")
        (device.root / "canary").write_text("alive")
        (device.root / "state").mkdir()
        (device.root / "state" / "canary").write_text("alive")
        before, started = outside(device), time.monotonic()
        yield device
        assert time.monotonic() - started < HUNG
        assert outside(device) == before


def outside(device: MenderDevice) -> dict[str, bytes | None]:
    """Return every file and directory but those in trees, and what modules noted."""
    ours = (device.tree().parent.parent, device.record)
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(device.root.rglob("*"))
        if not any(path.is_relative_to(each) or each.is_relative_to(path) for each in ours)
    }


def received(device: MenderDevice) -> dict[str, bytes]:
    """Return by part and name what was stored, or streamed into a file of the test's."""
    found = {
        f"{path.parents[2].name}-{path.name}": path.read_bytes()
        for path in device.tree().parent.parent.glob("*/tree/files/*")
    }
    notes = (path for path in device.record.glob("app*-*"))
    return found | {path.name: path.read_bytes() for path in notes}


def check(device: MenderDevice, data: bytes, expected: dict[str, bytes] | None = None) -> None:
    """Install `data`: exactly `expected` (None: whatever) arrives, or a refusal; clean up."""
    whole = app(data)
    try:
        found = device.installer.download(whole, BytesSource(data, chunk=1000))
    except UpdateRejected as error:
        assert error.message
        parts: tuple[Component, ...] = (whole,)
    else:
        parts = payloads(whole, found) or (whole,)
        assert expected is None or received(device) == expected
    for part in parts:
        device.installer.cleanup(part)
    assert not [*device.root.glob("state/**/tree")]


def whole(build: Build) -> dict[str, bytes]:
    parts = ("app", "app_0001")
    return {
        f"{part}-{name}": content
        for part, files in zip(parts, build.payloads, strict=True)
        for name, content in (files or {}).items()
    }


@settings(max_examples=80, deadline=None)
@given(data=st.data(), encoding=ENCODINGS)
def test_changed_bytes_give_the_same_files_or_a_refusal(
    data: st.DataObject, encoding: Encoding
) -> None:
    mutant = bytearray(replace(GOOD, encoding=encoding).bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        mutant[data.draw(st.integers(0, len(mutant) - 1))] = data.draw(st.integers(0, 255))
    with watched() as device:
        check(device, bytes(mutant), whole(GOOD))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), encoding=ENCODINGS)
def test_moved_doubled_lost_and_cut_members_give_the_same_files_or_a_refusal(
    data: st.DataObject, encoding: Encoding
) -> None:
    members = list(replace(GOOD, encoding=encoding).parts().items())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(members) - 1))
        to = data.draw(st.integers(0, len(members) - 1))
        match data.draw(st.sampled_from(["swap", "double", "lose", "cut", "rename"])):
            case "swap":
                members[at], members[to] = members[to], members[at]
            case "double":
                members.insert(to, members[at])
            case "lose" if len(members) > 1:
                del members[at]
            case "cut":
                name, content = members[at]
                members[at] = (name, content[: data.draw(st.integers(0, len(content)))])
            case _:
                members[at] = (members[to][0], members[at][1])
    with watched() as device:
        check(device, assemble(members), whole(GOOD))


@settings(max_examples=80, deadline=None)
@given(first=NAMES, second=NAMES, kinds=st.lists(NAMES | st.just("stores"), max_size=2))
def test_no_name_in_a_sound_artifact_leads_out_of_the_tree(
    first: str, second: str, kinds: list[str]
) -> None:
    build = replace(
        GOOD,
        payloads=({short(first): b"1", "b": b""}, {short(second): b"2"}),
        kinds=(*kinds, "stores", "streams")[:2],
    )
    with watched() as device:
        check(device, build.bytes())


@settings(max_examples=80, deadline=None)
@given(
    script=NAMES,
    info=st.dictionaries(st.sampled_from(["artifact_provides", "payloads", "x"]), JSON),
    type_info=st.dictionaries(st.sampled_from(["artifact_provides", "type"]), JSON),
    meta_data=JSON.map(as_json) | st.binary(max_size=50),
)
def test_whatever_the_header_says_it_is_an_artifact_or_a_refusal(
    script: str, info: dict[str, object], type_info: dict[str, object], meta_data: bytes
) -> None:
    build = replace(
        GOOD,
        scripts=(short(script),),
        info=info,
        type_info={"artifact_provides": type_info} | type_info,
        meta_data=meta_data,
    )
    with watched() as device:
        check(device, build.bytes())


@settings(max_examples=80, deadline=None)
@given(
    name=NAMES,
    kind=st.sampled_from(list(b"0123456789gxKLSDMNVX\0 ")),
    link=NAMES,
    size=st.none() | st.binary(min_size=12, max_size=12) | st.just(b"77777777777\0"),
)
def test_no_kind_of_member_gets_out_of_the_tree(
    name: str, kind: int, link: str, size: bytes | None
) -> None:
    hostile = member(
        short(name).encode(), b"x", kind=bytes([kind]), link=link.encode()[:100], size=size
    )
    inner = tar(hostile, member("b", b"through it"))
    listed = {f"data/0000/{short(name)}": b"x"}
    build = replace(GOOD, payloads=({"b": b"through it"}, {}), data=inner, listed=listed)
    with watched() as device:
        check(device, build.bytes())


@pytest.mark.parametrize("data", [b"", b"\0" * 1024, b"\x1f\x8b", b"PK\x03\x04" + bytes(600)])
def test_no_artifact_is_a_refusal(data: bytes) -> None:
    with watched() as device, pytest.raises(AgentError):
        device.contents(data or b"x")


@settings(max_examples=80, deadline=None)
@given(data=st.binary(min_size=1, max_size=2000))
def test_any_bytes_are_a_refusal(data: bytes) -> None:
    with watched() as device:
        check(device, data, {})


def short(name: str) -> str:
    """Return as much of `name` as one field of a tar header holds."""
    return name.encode("utf-8", "replace")[:80].decode("utf-8", "ignore")
