"""What a header says of an artifact, and what it must not say."""

import pytest

from device_agent.artifact.reader import Artifact, Header
from schemas.artifact import manifest
from schemas.refusal import Code, Refusal
from tests.support.artifacts import Build, as_json, assemble, member, read, refusal, sha256, tar

INFO = {
    "payloads": [{"type": "single-file"}],
    "artifact_provides": {"artifact_name": "kiosk-1.5", "artifact_group": "kiosks"},
    "artifact_depends": {
        "artifact_name": ["kiosk-1.4", "kiosk-1.3"],
        "device_type": ["kiosk", "kiosk-2"],
        "artifact_group": ["kiosks"],
    },
}
TYPE_INFO = {
    "type": "single-file",
    "artifact_provides": {"rootfs-image.app.version": "1.5"},
    "artifact_depends": {"rootfs-image.version": "9", "arch": ["arm", "arm64"]},
    "clears_artifact_provides": ["rootfs-image.app.*"],
}


def with_header(info: object, *type_infos: object, more: tuple[bytes, ...] = ()) -> bytes:
    members = [member("header-info", as_json(info))]
    for index, each in enumerate(type_infos):
        members.append(member(f"headers/{index:04}/type-info", as_json(each)))
    return Build(header=tar(*members, *more)).bytes()


def header_of(data: bytes) -> Header:
    return Artifact(iter([data]), keys=()).header


def test_everything_that_the_header_says_is_there() -> None:
    found = header_of(with_header(INFO, TYPE_INFO))
    assert (found.name, found.group) == ("kiosk-1.5", "kiosks")
    assert found.device_types == ("kiosk", "kiosk-2")
    assert found.depends_name == ("kiosk-1.4", "kiosk-1.3")
    assert found.depends_group == ("kiosks",)
    (payload,) = found.payloads
    assert payload.type == "single-file"
    assert payload.provides == {"rootfs-image.app.version": "1.5"}
    assert payload.depends == {"rootfs-image.version": ("9",), "arch": ("arm", "arm64")}
    assert payload.clears == ("rootfs-image.app.*",)


def test_documents_are_kept_byte_for_byte() -> None:
    meta_data = b'{ "a": [1.5, {"b": 12345678901234567890}] }\n'
    found = header_of(Build(meta_data=meta_data).bytes())
    assert found.payloads[0].meta_data == meta_data
    assert found.payloads[0].type_info == as_json({"type": "single-file"})
    assert found.info.startswith(b'{"payloads"')


def test_clears_that_are_not_said_are_not_the_same_as_none() -> None:
    silent = header_of(with_header(INFO, {"type": "single-file"}))
    nothing = header_of(with_header(INFO, {"type": "single-file", "clears_artifact_provides": []}))
    assert (silent.payloads[0].clears, nothing.payloads[0].clears) == (None, ())


def test_scripts_come_with_their_content_in_order() -> None:
    names = ("ArtifactInstall_Enter_00", "ArtifactCommit_Leave_99_say-so")
    found = header_of(Build(scripts=names).bytes())
    assert [(each.name, each.content) for each in found.scripts] == [
        (name, b"#!/bin/sh\n") for name in names
    ]


def test_the_empty_type_that_root_filesystems_have_is_their_type() -> None:
    found = header_of(with_header(INFO | {"payloads": [{"type": "rootfs-image"}]}, {"type": ""}))
    assert found.payloads[0].type == "rootfs-image"


@pytest.mark.parametrize("data", [None, b"", tar()], ids=["absent", "of no bytes", "an archive"])
def test_a_bootstrap_artifact_only_provides(data: bytes | None) -> None:
    parts = Build(payloads=(None,)).parts()
    if data is not None:
        parts["data/0000.tar"] = data
    whole = assemble(parts.items())
    assert header_of(whole).is_bootstrap
    assert read(whole) == {}


@pytest.mark.parametrize("name", ["data/0000.tar.gz", "data/0000.tar.xz", "data/0000.tar.zst"])
def test_an_empty_payload_may_be_stored_as_nothing(name: str) -> None:
    parts = Build(payloads=(None, {"a": b"1"})).parts()
    last = parts.pop("data/0001.tar")
    parts |= {name: b"", "data/0001.tar": last}
    assert read(assemble(parts.items())) == {(1, "a"): b"1"}


def test_an_empty_payload_with_a_file_is_refused() -> None:
    parts = Build(payloads=(None,)).parts() | {"data/0000.tar": tar(member("a", b"1"))}
    assert refusal(assemble(parts.items())).code == Code.MISMATCH


def test_an_empty_payload_whose_manifest_lists_a_file_is_refused() -> None:
    whole = Build(payloads=(None,), listed={"data/0000/a": b"1"}).bytes()
    assert refusal(whole).code == Code.MISMATCH


def test_an_empty_payload_has_no_meta_data() -> None:
    assert refusal(Build(payloads=(None,), meta_data=b"{}").bytes()).code == Code.SCHEMA


def test_a_payload_without_files_is_no_error() -> None:
    assert read(Build(payloads=({},)).bytes()) == {}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in INFO.items() if key != name}


@pytest.mark.parametrize(
    "info",
    [
        [],
        {},
        without("payloads"),
        without("artifact_provides"),
        without("artifact_depends"),
        INFO | {"payloads": []},
        INFO | {"payloads": [{"type": "x"}] * 17},
        INFO | {"payloads": [{}]},
        INFO | {"payloads": [{"type": 1}]},
        INFO | {"payloads": [{"type": "single-file", "more": 1}]},
        INFO | {"artifact_provides": {}},
        INFO | {"artifact_provides": {"artifact_name": ""}},
        INFO | {"artifact_provides": {"artifact_name": "a\nb"}},
        INFO | {"artifact_provides": {"artifact_name": "a" * 257}},
        INFO | {"artifact_provides": {"artifact_name": "a", "more": "b"}},
        INFO | {"artifact_depends": {}},
        INFO | {"artifact_depends": {"device_type": []}},
        INFO | {"artifact_depends": {"device_type": "kiosk"}},
        INFO | {"artifact_depends": {"device_type": ["kiosk"], "more": ["x"]}},
        INFO | {"more": 1},
    ],
    ids=repr,
)
def test_a_header_info_that_lacks_or_has_something_more_is_refused(info: object) -> None:
    assert refusal(with_header(info, TYPE_INFO)).code == Code.SCHEMA


@pytest.mark.parametrize(
    ("type_info", "code"),
    [
        ([], Code.SCHEMA),
        ({}, Code.SCHEMA),
        ({"type": "deb"}, Code.MISMATCH),
        ({"type": None}, Code.MISMATCH),
        (TYPE_INFO | {"artifact_provides": {"a": ["b"]}}, Code.SCHEMA),
        (TYPE_INFO | {"artifact_provides": []}, Code.SCHEMA),
        (TYPE_INFO | {"artifact_depends": {"a": 1}}, Code.SCHEMA),
        (TYPE_INFO | {"clears_artifact_provides": "x"}, Code.SCHEMA),
        (TYPE_INFO | {"more": 1}, Code.SCHEMA),
    ],
    ids=repr,
)
def test_a_type_info_that_says_something_else_is_refused(type_info: object, code: Code) -> None:
    assert refusal(with_header(INFO, type_info)).code == code


@pytest.mark.parametrize(
    "meta_data",
    [b"[]", b"1", b"nul", b"{", b'{"a":NaN}', b'{"a":1e999}', b'{"a":1,"a":2}', b"[" * 100_000],
    ids=lambda each: repr(each[:10]),
)
def test_meta_data_is_an_object_in_strict_json(meta_data: bytes) -> None:
    assert refusal(Build(meta_data=meta_data).bytes()).code in (
        Code.SCHEMA,
        Code.FORMAT,
        Code.DUP,
    )


def test_meta_data_of_no_bytes_is_none() -> None:
    assert header_of(Build(meta_data=b"").bytes()).payloads[0].meta_data == b""


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (b'{"format":"mender","version":2}', Code.VERSION),
        (b'{"format":"other","version":3}', Code.VERSION),
        (b"{}", Code.VERSION),
        (b"3", Code.SCHEMA),
        (b"", Code.FORMAT),
        (b'{"format":"mender","version":3}' * 100, Code.LIMIT),
    ],
)
def test_another_version_is_refused(version: bytes, code: Code) -> None:
    parts = Build().parts() | {"version": version}
    assert refusal(assemble(parts.items())).code == code


def line(name: str, checksum: str = sha256(b"x")) -> str:
    return f"{checksum}  {name}\n"


GOOD = line("header.tar.gz") + line("version")


@pytest.mark.parametrize(
    "bad",
    [
        line("data/0000/x", "a" * 62),
        line("data/0000/x", "A" * 64),
        line("data/0000/x", "g" * 64),
        line(" data/0000/x"),
        line("data/0000/a b"),
        line(""),
        "a" * 64 + "\n",
        line("data/0000/x")[:-1] + " " + line("data/0000/y"),
        line("data/0000/x")[:-1],
        line("data/0000/" + "x" * 91),
        line("data/0000/x")[:-1] + "\r\n",
        "\n",
    ],
    ids=repr,
)
def test_a_line_of_another_form_is_refused(bad: str) -> None:
    with pytest.raises(Refusal) as caught:
        manifest.parse((GOOD + bad).encode())
    assert caught.value.code == Code.FORMAT


def test_a_refusal_names_the_line_of_the_manifest() -> None:
    with pytest.raises(Refusal, match="manifest, line 3: not `<sha256>"):
        manifest.parse((GOOD + "x\n").encode())


def test_only_the_headers_name_may_have_a_suffix_of_its_own() -> None:
    found = manifest.parse((GOOD + line("data/0000/header.tar.xz")).encode())
    assert found.header == "header.tar.gz"
    assert found.files(0) == {"data/0000/header.tar.xz"}


def test_a_manifest_of_too_many_files_is_refused() -> None:
    lines = "".join(line(f"data/0000/{number}") for number in range(manifest.MAX_FILES))
    with pytest.raises(Refusal) as caught:
        manifest.parse((GOOD + lines).encode())
    assert caught.value.code == Code.LIMIT
