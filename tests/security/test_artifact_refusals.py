"""What a hostile artifact is refused for; the numbers are those of cases.toml."""

import gzip
from collections.abc import Callable, Iterator

import pytest

from device_agent.artifact.reader import Artifact, Limits, load_keys
from device_agent.errors import UpdateRejected
from schemas.refusal import Code
from schemas.wire.descriptor import Encoding
from schemas.wire.report import FailureClass
from tests.support.artifact_keys import KEYS, SIGNERS
from tests.support.artifacts import (
    FILES,
    VERSION,
    Build,
    as_json,
    assemble,
    header_info,
    member,
    read,
    refusal,
    tar,
)

Place = Callable[..., bytes]  # puts members into an artifact

TYPE_INFO = as_json({"type": "single-file"})


def payload(*members: bytes) -> bytes:
    return Build(data=tar(*members)).bytes()


def header(*members: bytes) -> bytes:
    return Build(header=tar(*members)).bytes()


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "C:\\x", "C:x", "a//b", "./x", "a/", "..", "a\nb", "é"]
)
@pytest.mark.parametrize("place", [payload, header, tar])
def test_43_a_name_that_leads_out_is_refused_wherever_it_stands(name: str, place: Place) -> None:
    assert refusal(place(member(name, b"x"))).code == Code.PATH


def test_43_a_name_in_the_manifest_that_leads_out_is_refused() -> None:
    assert refusal(Build(listed={"data/0000/../../x": b"x"}).bytes()).code == Code.PATH


def test_43_a_payloads_file_lies_in_no_folder() -> None:
    assert refusal(payload(member("folder/app.bin", b"x"))).code == Code.PATH


@pytest.mark.parametrize("place", [payload, header, tar])
def test_44_a_link_is_refused_before_anything_could_go_through_it(place: Place) -> None:
    link = member("app.bin", kind=b"2", link=b"/etc")
    assert refusal(place(link, member("app.bin/passwd", b"x"))).code == Code.TYPE


def test_45_a_hard_link_is_refused() -> None:
    assert refusal(payload(member("app.bin", kind=b"1", link=b"/etc/passwd"))).code == Code.TYPE


def test_46_a_chain_of_links_with_long_names_ends_at_its_first_link() -> None:
    members = [member("d" * 90, kind=b"5"), member("a", kind=b"2", link=b"d" * 90)]
    assert refusal(payload(*members)).code == Code.TYPE
    assert refusal(payload(*reversed(members))).code == Code.TYPE


@pytest.mark.parametrize("kind", list(b"34567gxKLSDMNVX"), ids=chr)
@pytest.mark.parametrize("place", [payload, header, tar])
def test_47_only_regular_files_are_members(kind: int, place: Place) -> None:
    assert refusal(place(member("app.bin", b"x", kind=bytes([kind])))).code == Code.TYPE


def test_47_pax_headers_rename_and_resize_nothing() -> None:
    override = member("pax", b"15 path=../../x\n", kind=b"x")
    assert refusal(payload(override, member("app.bin", FILES["app.bin"]))).code == Code.TYPE


def test_48_modes_are_not_read() -> None:
    data = tar(*(member(name, each, mode=0o6777) for name, each in FILES.items()))
    assert read(Build(data=data).bytes()) == {(0, name): each for name, each in FILES.items()}


def test_49_two_files_of_one_name_are_refused() -> None:
    twice = member("app.bin", FILES["app.bin"])
    assert refusal(payload(twice, twice)).code == Code.DUP


def test_49_a_name_that_the_manifest_has_twice_is_refused() -> None:
    parts = Build().parts()
    parts["manifest"] += parts["manifest"].splitlines(keepends=True)[0]
    assert refusal(assemble(parts.items())).code == Code.DUP


def test_49_two_headers_that_differ_in_their_suffix_are_refused() -> None:
    assert refusal(Build(listed={"header.tar.xz": b"x"}).bytes()).code == Code.DUP


def test_49_a_key_that_stands_twice_in_json_is_refused() -> None:
    info = header_info("single-file")[:-1] + b',"payloads":[]}'
    assert refusal(header(member("header-info", info))).code == Code.DUP


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
def test_50_a_file_that_the_manifest_does_not_list_is_refused(place: int) -> None:
    members = [member(name, content) for name, content in FILES.items()]
    members.insert(place, member("extra", b"x"))
    assert refusal(payload(*members)).code == Code.MISMATCH


@pytest.mark.parametrize("name", FILES)
def test_50_a_listed_file_that_is_missing_is_noticed(name: str) -> None:
    members = [member(each, content) for each, content in FILES.items() if each != name]
    assert refusal(payload(*members)).code == Code.NOT_FOUND


@pytest.mark.parametrize(
    "name", ["data/0001/x", "manifest-augment", "header-augment.tar", "data/x"]
)
def test_50_a_line_that_belongs_to_nothing_is_refused_before_a_payload(name: str) -> None:
    whole = Build(listed={name: b"x"})
    with pytest.raises(UpdateRejected) as caught:
        Artifact(iter([whole.bytes()]), keys=())
    assert caught.value.code == Code.NOT_FOUND


@pytest.mark.parametrize("name", ["version", "header.tar"])
def test_50_a_manifest_without_the_checksum_of_header_or_version_is_refused(name: str) -> None:
    parts = Build().parts()
    lines = parts["manifest"].splitlines(keepends=True)
    parts["manifest"] = b"".join(
        line for line in lines if not line.endswith(f"  {name}\n".encode())
    )
    assert refusal(assemble(parts.items())).code == Code.NOT_FOUND


@pytest.mark.parametrize("missing", list(Build().parts()))
def test_50_an_artifact_lacks_none_of_its_parts(missing: str) -> None:
    parts = [(name, content) for name, content in Build().parts().items() if name != missing]
    assert refusal(assemble(parts)).code in (Code.FORMAT, Code.NOT_FOUND)


@pytest.mark.parametrize(
    "members",
    [
        (member("header-info", header_info("single-file")),),
        (member("headers/0000/type-info", TYPE_INFO),),
        (
            member("header-info", header_info("single-file")),
            member("headers/0000/meta-data", b"{}"),
        ),
    ],
    ids=["no type-info", "no header-info", "only meta-data"],
)
def test_50_a_header_that_lacks_a_document_is_refused(members: tuple[bytes, ...]) -> None:
    assert refusal(header(*members)).code in (Code.FORMAT, Code.NOT_FOUND)


@pytest.mark.parametrize("name", ["headers/0001/type-info", "headers/0000/files", "anything"])
def test_50_a_header_with_something_more_is_refused(name: str) -> None:
    whole = [
        member("header-info", header_info("single-file")),
        member("headers/0000/type-info", TYPE_INFO),
        member(name, b"{}"),
    ]
    assert refusal(header(*whole)).code == Code.MISMATCH


@pytest.mark.parametrize("name", ["data/0001.tar", "header-augment.tar", "data/0000.tar.gz", "x"])
def test_50_a_member_after_the_last_payload_is_refused(name: str) -> None:
    assert refusal(assemble([*Build().parts().items(), (name, b"")])).code == Code.MISMATCH


@pytest.mark.parametrize("at", range(3))
def test_51_members_out_of_order_are_refused(at: int) -> None:
    parts = list(Build().parts().items())
    parts[at], parts[at + 1] = parts[at + 1], parts[at]
    assert refusal(assemble(parts)).code == Code.FORMAT


def test_51_a_signature_after_the_header_is_refused() -> None:
    parts = list(Build(sign=SIGNERS["rsa"]).parts().items())
    parts[2], parts[3] = parts[3], parts[2]
    assert refusal(assemble(parts), keys=KEYS).code == Code.SIGNATURE
    assert refusal(assemble(parts)).code == Code.FORMAT


@pytest.mark.parametrize(
    "size",
    [
        b"-0000000001\0",
        b"\x80" + b"\0" * 10 + b"\x05",
        b"\xff" * 12,
        b"9" * 11 + b"\0",
        b"00000000005x",
        b"7" * 12,
        b"\0" * 12,
        b" " * 12,
        b"0x000000005\0",
    ],
    ids=repr,
)
def test_52_a_size_that_is_no_plain_octal_number_is_refused(size: bytes) -> None:
    assert refusal(payload(member("app.bin", b"x", size=size))).code == Code.FORMAT


def test_52_the_greatest_size_is_not_believed() -> None:
    huge = member("app.bin", b"x", size=b"7" * 11 + b"\0")
    assert refusal(payload(huge), limits=Limits(file=1 << 20)).code == Code.LENGTH
    assert refusal(payload(huge)).code == Code.TRUNCATED
    assert refusal(tar(member("version", b"x", size=b"7" * 11 + b"\0"))).code == Code.LIMIT


@pytest.mark.parametrize("encoding", Encoding)
def test_54_what_follows_the_end_is_refused(encoding: Encoding) -> None:
    whole = Build(encoding=encoding).bytes()
    assert refusal(whole + b"x").code == Code.TRAILING
    assert refusal(whole + whole).code == Code.TRAILING
    assert refusal(whole + bytes(64 * 1024)).code == Code.TRAILING


@pytest.mark.parametrize("encoding", [Encoding.GZIP, Encoding.XZ, Encoding.ZSTD])
@pytest.mark.parametrize("more", [b"x", None], ids=["a byte", "a second member"])
def test_54_what_follows_a_compressed_payload_is_refused(
    encoding: Encoding, more: bytes | None
) -> None:
    parts = Build(encoding=encoding).parts()
    *_, name = parts
    parts[name] += parts[name] if more is None else more
    assert refusal(assemble(parts.items())).code == Code.TRAILING


def test_54_what_follows_the_archive_inside_is_refused() -> None:
    files = [member(name, content) for name, content in FILES.items()]
    assert refusal(payload(*files, bytes(1024), member("more", b"x"))).code == Code.TRAILING
    assert refusal(payload(*files, bytes(512), member("more", b"x"))).code == Code.TRAILING


def test_54_zeros_that_fill_a_record_are_no_trailing_data() -> None:
    whole = Build().bytes()
    assert read(whole + bytes(9 * 1024))


def test_55_a_bomb_that_says_its_size_is_refused_before_its_first_byte() -> None:
    zeros = bytes(1 << 20)
    whole = Build(payloads=({"app.bin": zeros},), encoding=Encoding.GZIP).bytes()
    seen: list[str] = []
    with pytest.raises(UpdateRejected) as caught:
        Artifact(iter([whole]), keys=(), limits=Limits(total=len(zeros) - 1)).deliver(
            lambda _, name, _chunks: seen.append(name)
        )
    assert (caught.value.code, seen) == (Code.LENGTH, [])
    assert read(whole, limits=Limits(total=len(zeros)))


def test_55_what_is_unpacked_is_bounded_for_all_files_together() -> None:
    whole = Build(payloads=({"a": bytes(600), "b": bytes(600)}, {"c": bytes(600)})).bytes()
    assert len(read(whole, limits=Limits(file=600, total=1800))) == 3
    assert refusal(whole, limits=Limits(file=600, total=1799)).code == Code.LENGTH
    assert refusal(whole, limits=Limits(file=599, total=1800)).code == Code.LENGTH


def test_55_a_bomb_behind_the_end_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(256 << 20), 9)
    parts = Build(payloads=({},), encoding=Encoding.GZIP).parts()
    parts["data/0000.tar.gz"] = bomb
    given = 0

    def chunks() -> Iterator[bytes]:
        nonlocal given
        for at in range(0, len(whole), 1024):
            given += 1024
            yield whole[at : at + 1024]

    whole = assemble(parts.items())
    with pytest.raises(UpdateRejected) as caught:
        Artifact(chunks(), keys=()).deliver(lambda *_: None)
    assert caught.value.code == Code.TRAILING
    assert given < len(whole) / 4


def test_55_a_bomb_in_the_header_is_refused() -> None:
    bomb = tar(member("header-info", bytes(64 << 20)))
    whole = Build(header=bomb, encoding=Encoding.GZIP).bytes()
    assert refusal(whole).code == Code.LIMIT


def test_55_a_header_of_many_large_scripts_is_refused() -> None:
    info = member("header-info", header_info("single-file"))
    large = [member(f"scripts/ArtifactInstall_Enter_{at:02}", bytes(1 << 20)) for at in range(9)]
    last = member("headers/0000/type-info", TYPE_INFO)
    few = Build(header=tar(info, *large[:7], last), encoding=Encoding.GZIP).bytes()
    assert read(few)
    many = Build(header=tar(info, *large, last), encoding=Encoding.GZIP).bytes()
    assert refusal(many).code == Code.LIMIT


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_58_one_flipped_bit_in_a_file_is_found_at_its_end() -> None:
    parts = Build().parts()
    parts["data/0000.tar"] = flipped(parts["data/0000.tar"], 512 + 700)
    found = refusal(assemble(parts.items()))
    assert (found.code, found.failure) == (Code.HASH, FailureClass.CHECKSUM)


def test_58_a_file_that_nobody_reads_is_checked_all_the_same() -> None:
    parts = Build().parts()
    parts["data/0000.tar"] = flipped(parts["data/0000.tar"], 512)
    artifact = Artifact(iter([assemble(parts.items())]), keys=())
    with pytest.raises(UpdateRejected) as caught:
        artifact.deliver(lambda *_: None)
    assert caught.value.code == Code.HASH


@pytest.mark.parametrize("encoding", Encoding)
def test_58_one_flipped_bit_in_the_header_is_found_before_it_is_unpacked(
    encoding: Encoding,
) -> None:
    parts = Build(encoding=encoding).parts()
    name = list(parts)[2]
    for at in (0, len(parts[name]) // 2, len(parts[name]) - 1):
        changed = parts | {name: flipped(parts[name], at)}
        assert refusal(assemble(changed.items())).code == Code.HASH


def test_58_a_version_other_than_the_signed_one_is_refused() -> None:
    parts = Build().parts() | {"version": VERSION + b"\n"}
    assert refusal(assemble(parts.items())).code == Code.HASH


@pytest.mark.parametrize("kind", SIGNERS)
def test_58_one_flipped_bit_in_what_was_signed_or_the_signature_is_refused(kind: str) -> None:
    parts = Build(sign=SIGNERS[kind]).parts()
    for name in ("manifest", "manifest.sig"):
        changed = parts | {name: flipped(parts[name], 10)}
        found = refusal(assemble(changed.items()), keys=KEYS)
        assert (found.code, found.failure) == (Code.SIGNATURE, FailureClass.SIGNATURE)


def test_59_an_unsigned_artifact_is_refused_where_keys_are_configured() -> None:
    with pytest.raises(UpdateRejected) as caught:
        Artifact(iter([Build().bytes()]), keys=KEYS)
    assert caught.value.code == Code.SIGNATURE
    assert caught.value.failure == FailureClass.SIGNATURE


def test_59_an_unsigned_bootstrap_artifact_is_refused_too() -> None:
    assert refusal(Build(payloads=(None,)).bytes(), keys=KEYS).code == Code.SIGNATURE


def test_59_nothing_behind_a_wrong_signature_is_read() -> None:
    parts = list(Build(sign=SIGNERS["rsa"]).parts().items())
    start = assemble(parts[:3])[:-1024]

    def chunks() -> Iterator[bytes]:
        yield start
        raise AssertionError("the header was asked for")

    with pytest.raises(UpdateRejected) as caught:
        Artifact(chunks(), keys=load_keys([]) + KEYS[1:])
    assert caught.value.code == Code.SIGNATURE


def test_63_a_hundred_thousand_tiny_files_are_refused() -> None:
    files = {f"f{number}": b"" for number in range(100_000)}
    found = refusal(Build(payloads=(files,)).bytes())
    assert found.code == Code.LIMIT


def test_63_a_header_of_a_hundred_thousand_scripts_is_refused() -> None:
    scripts = tuple(f"ArtifactInstall_Enter_00_{number}" for number in range(100_000))
    assert refusal(Build(scripts=scripts, encoding=Encoding.GZIP).bytes()).code == Code.LIMIT
