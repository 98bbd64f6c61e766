"""The modes about artifacts' form: clears-provides, artifact-manifest, artifact-parser."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from device_agent.artifact.provides import matches
from device_agent.artifact.reader import TrustedKey
from schemas.artifact import manifest
from schemas.wire.descriptor import Encoding
from tests.conformance.case import Case, Facts
from tests.conformance.words import prose
from tests.support.artifact_keys import KEYS, OWNER, SIGNERS
from tests.support.artifacts import (
    FILES,
    Build,
    as_json,
    assemble,
    header_info,
    member,
    read,
    sha256,
    tar,
)


def clears_provides(case: Case, _: Path) -> tuple[Facts, Facts]:
    """Does the pattern clear the key?"""
    fields = case.fields()
    key, pattern = fields.text("key"), fields.text("pattern")
    expected = fields.flag("expected")
    fields.end()
    return _cleared(expected), _cleared(matches(pattern, key))


def _cleared(yes: bool) -> Facts:
    return {"cleared": ("yes" if yes else "no",)}


def artifact_manifest(case: Case, _: Path) -> tuple[Facts, Facts]:
    return prose(case, _MANIFESTS)


def artifact_parser(case: Case, _: Path) -> tuple[Facts, Facts]:
    return prose(case, _ARTIFACTS)


_SUM = sha256(b"content")
_GOOD = (f"{_SUM}  header.tar.gz", f"{_SUM}  version")


def _parsed(*lines: str) -> Callable[[], object]:
    """Return the reading of a manifest that has `lines` beside what each must have."""
    text = "".join(f"{line}\n" for line in (*lines, *_GOOD))
    return lambda: manifest.parse(text.encode())


def _suffixes_are_the_headers_alone() -> None:
    for suffix in ("", ".gz", ".xz", ".zst"):
        lines = f"{_SUM}  header.tar{suffix}\n{_SUM}  data/0000/header.tar.xz\n{_SUM}  version\n"
        found = manifest.parse(lines.encode())
        assert found.header == f"header.tar{suffix}"
        assert found.files(0) == {"data/0000/header.tar.xz"}


_MANIFESTS: dict[str, Callable[[], object]] = {
    "checksum_62_hex_chars": _parsed(f"{_SUM[:62]}  data/0000/file"),
    "line_missing_name": _parsed(f"{_SUM}  "),
    "three_spaces": _parsed(f"{_SUM}   data/0000/file"),
    "space_in_name": _parsed(f"{_SUM}  data/0000/a file"),
    "all_on_one_line": lambda: manifest.parse(f"{'  '.join(_GOOD)}\n".encode()),
    "name_longer_than_100": _parsed(f"{_SUM}  data/0000/{'n' * 91}"),
    "header_suffix_strip": _suffixes_are_the_headers_alone,
    "one_char_name": _parsed(f"{_SUM}  f"),
}


def _whole(build: Build, keys: tuple[TrustedKey, ...] = ()) -> Callable[[], object]:
    """Return the reading of an artifact that must bring exactly its files."""

    def experiment() -> None:
        found = read(build.bytes(), keys=keys)
        files = build.payloads[0] or {}
        assert list(found.items()) == [((0, name), each) for name, each in files.items()]

    return experiment


def _lying(name: str) -> Callable[[], object]:
    """Return the reading of an artifact whose manifest has another checksum for `name`."""
    parts = Build().parts()
    wrong = f"{sha256(b'something else')}  {name}\n"
    lines = [line for line in parts["manifest"].decode().splitlines() if not line.endswith(name)]
    listed = "".join(f"{line}\n" for line in lines) + wrong
    return lambda: read(assemble((parts | {"manifest": listed.encode()}).items()))


def _headed(*types: str | None, infos: int, files: Mapping[str, bytes] | None = FILES) -> Build:
    """Return an artifact with payloads of `types` and `infos` type-infos."""
    documents = [member("header-info", header_info(*types))]
    documents += [
        member(f"headers/{index:04}/type-info", as_json({"type": types[0] if types else "x"}))
        for index in range(infos)
    ]
    return Build(payloads=(files,), header=tar(*documents))


_RSA, _EC = OWNER["rsa"], OWNER["ecdsa as r and s"]
_SIGNED = Build(sign=SIGNERS["rsa"])

_ARTIFACTS: dict[str, Callable[[], object]] = {
    "no_compression": _whole(Build(encoding=Encoding.RAW)),
    "gzip": _whole(Build(encoding=Encoding.GZIP)),
    "lzma(xz)": _whole(Build(encoding=Encoding.XZ)),
    "zstd": lambda: _whole(Build(encoding=Encoding.ZSTD))(),
    'not_a_tar("foobar")': lambda: read(b"foobar"),
    "two_files_in_payload": _whole(Build(payloads=({"b": b"1", "a": bytes(5000)},))),
    "empty_payload_bootstrap": _whole(Build(payloads=(None,))),
    "signed_rsa3072_right_key": _whole(_SIGNED, (_RSA,)),
    "signed_ec_p256_right_key": _whole(replace(_SIGNED, sign=SIGNERS["ecdsa as r and s"]), (_EC,)),
    "signed_no_keys_configured": _whole(_SIGNED),
    "signed_key_list_last_matches": _whole(_SIGNED, (*KEYS[1:], _RSA)),
    "signed_key_list_none_matches": _whole(_SIGNED, KEYS[1:]),
    "unsigned_but_keys_configured": _whole(Build(), KEYS),
    "manifest_wrong_header_checksum": _lying("header.tar"),
    "manifest_wrong_version_checksum": _lying("version"),
    "missing_type_info": _whole(_headed("single-file", infos=0)),
    "two_type_info": _whole(_headed("single-file", infos=2)),
    "payloads_empty_list": _whole(_headed(infos=1)),
    "bootstrap_missing_type_info": _whole(_headed(None, infos=0, files=None)),
    "bootstrap_extra_type_info": _whole(_headed(None, infos=2, files=None)),
}
