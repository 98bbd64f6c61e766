"""The mode update-module: one call of a module, with everything that modules get wrong."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from device_agent.artifact.policy import ArtifactPolicy
from device_agent.core.component import RebootNeed
from device_agent.errors import InstallFailed, UpdateRejected
from device_agent.machine import RebootCommand
from device_agent.modules.installer import ModuleSettings
from device_agent.modules.mender import Installed, MenderInstaller
from device_agent.modules.payload import Header, PayloadFile
from device_agent.modules.program import Limits, Program
from device_agent.modules.protocol import Call, ProtocolError, reboot_need, yes_or_no
from device_agent.modules.search import find_module
from device_agent.modules.tree import Current, Tree
from schemas.wire.descriptor import Encoding
from schemas.wire.report import FailureClass
from tests.conformance.case import Case, Facts, Fields, Unsupported
from tests.conformance.words import Kind, expected_kind, kind_of
from tests.support.artifacts import SUFFIX, Build, compress, member, tar
from tests.support.installing import BytesSource, component

CURRENT = {"artifact_name": "old_name", "artifact_group": "group"}
MEBIBYTE = bytes(range(256)) * 4096
IN_TIME = Limits(timeout=20.0, termination=1.0)  # seconds
TOO_LONG = Limits(timeout=0.4, termination=0.5)

_HEADER = Header("artifact-name", "", "test-module", b"{}", b"{}", b"null")
_READ_ALL = """
while next="$(cat stream-next)" && [ -n "$next" ]; do
    echo "$next" >> ../offered
    cat "${next%% *}" > "../$(basename "${next%% *}").read"
done
"""


@dataclass(frozen=True, slots=True)
class _Given:
    """A payload of files in memory."""

    contents: Mapping[str, bytes]
    header: Header = _HEADER

    def files(self) -> Iterator[PayloadFile]:
        for name, content in self.contents.items():
            yield PayloadFile(name, len(content), iter([content]))


@dataclass(frozen=True, slots=True)
class Bench:
    """A module in `root` that does what its text says, with a tree to work in."""

    root: Path

    @property
    def tree(self) -> Tree:
        return Tree(self.root / "tree")

    def module(self, text: str, limits: Limits = IN_TIME) -> Program:
        path = self.root / "test-module"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        self.tree.create(Current("old_name", "group", "test-type"), _HEADER)
        return Program(path, self.tree, {"PATH": "/usr/bin:/bin"}, limits)

    def download(self, text: str, payload: _Given, *, call: Call = Call.DOWNLOAD) -> None:
        self.module(text).download(call, payload)

    def stored(self) -> Mapping[str, bytes]:
        """Return what lies in `files/`."""
        directory = self.tree.files
        if not directory.is_dir():
            return {}
        return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}

    def receive(self, artifact: bytes) -> Tree:
        """Download `artifact` as an agent does, to a module that reads no stream; return its tree.

        What lies in `files/` can then be asked for here, whatever came of it.
        """
        modules = self.root / "modules"
        modules.mkdir(exist_ok=True)
        self.module("exit 0").path.rename(modules / "single-file")
        settings = ModuleSettings(
            (modules,), self.root, "kiosk", {"PATH": "/usr/bin:/bin"}, IN_TIME
        )
        given = component(artifact, name="app", installer="mender")
        installed = Installed(lambda: CURRENT, lambda _: None)
        tree = settings.tree("app")
        installer = MenderInstaller(settings, ArtifactPolicy(), installed, lambda *_: None)
        try:
            installer.download(given, BytesSource(artifact))
        finally:
            self.tree.remove()
            self.tree.path.symlink_to(tree.path)
        return tree

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


def update_module(case: Case, root: Path) -> tuple[Facts, Facts]:
    fields = case.fields()
    bench = Bench(root)
    if "given" in fields and isinstance(case.content["given"], dict):
        given = fields.inner("given")
        if "query" in given:
            return _query(given, fields, bench)
        listed = [number == 1 for number in given.items("in_manifest")]
        given.end()
        experiment = _files_listed(listed)
    else:
        fields.leave("given")
        if case.name not in EXPERIMENTS:
            raise Unsupported(f"no experiment is called {case.name}")
        experiment = EXPERIMENTS[case.name]
    expected = expected_kind(fields.text("expected"))
    fields.end()
    return {"result": (expected,)}, {"result": (_ended(experiment, bench, expected),)}


def _ended(experiment: Callable[[Bench], None], bench: Bench, expected: Kind) -> Kind:
    try:
        experiment(bench)
    except (InstallFailed, UpdateRejected) as error:
        seen = kind_of(error)
    except OSError:
        seen = Kind.REFUSED  # the installer says that the tree is in the way
    else:
        return Kind.OK
    return Kind.REFUSED if expected is Kind.REFUSED else seen


def _query(given: Fields, fields: Fields, bench: Bench) -> tuple[Facts, Facts]:
    query, stdout = given.text("query"), given.text("stdout")
    status = given.number("exit")
    expected = fields.inner("expected")
    wanted = expected.text("answer")
    for each in (given, expected, fields):
        each.end()
    program = bench.module(f"{_saying(stdout)}\nexit {status}")
    return {"answer": (wanted,)}, {"answer": (_answered(program, Call(query)),)}


def _saying(stdout: str) -> str:
    first, later, second = stdout.partition(", then 0.1s later ")
    if later:
        return f"echo '{first}'; sleep 0.1; echo '{second}'"
    return f"printf '{stdout}'" if stdout else ":"


def _answered(program: Program, call: Call) -> str:
    try:
        output = program.call(call, FailureClass.SCRIPT).stdout
        if call is Call.NEEDS_ARTIFACT_REBOOT:
            words = {RebootNeed.NO: "No", RebootNeed.MODULE: "Yes", RebootNeed.AGENT: "Automatic"}
            return words[reboot_need(output)]
        return "true" if yes_or_no(output) else "false"
    except ProtocolError:
        return "protocol_error"
    except InstallFailed:
        return "error"


def _files_listed(listed: list[bool]) -> Callable[[Bench], None]:
    """Return the download of an artifact of which only some files are in its manifest."""
    files = {f"file{index}": f"content {index}".encode() for index in range(len(listed))}
    known = {name: files[name] for name, yes in zip(files, listed, strict=True) if yes}
    archive = tar(*(member(name, content) for name, content in files.items()))
    first = listed.index(False)

    def experiment(bench: Bench) -> None:
        try:
            bench.receive(Build(payloads=(known,), data=archive).bytes())
        finally:
            assert list(bench.stored()) == list(files)[:first], "later files were stored"

    return experiment


def _streams(text: str, files: Mapping[str, bytes]) -> Callable[[Bench], None]:
    """Return a download by a module that does `text`."""
    return lambda bench: bench.download(text, _Given(files))


def _all_streams_arrive(bench: Bench, files: Mapping[str, bytes], call: Call) -> None:
    bench.download(_READ_ALL, _Given(files), call=call)
    assert {name: bench.read(f"{name}.read") for name in files} == files
    size = " {}" if call is Call.DOWNLOAD_WITH_FILE_SIZES else ""
    lines = [f"streams/{name}{size.format(len(each))}\n" for name, each in files.items()]
    assert bench.read("offered").decode() == "".join(lines)
    assert not bench.stored()


def _stores(files: Mapping[str, bytes]) -> Callable[[Bench], None]:
    def experiment(bench: Bench) -> None:
        bench.download("exit 0", _Given(files))
        assert bench.stored() == files
        assert not bench.tree.stream_next.exists()
        assert not bench.tree.streams.exists()

    return experiment


def _too_long(call: Call) -> Callable[[Bench], None]:
    def experiment(bench: Bench) -> None:
        program = bench.module("exec sleep 10", TOO_LONG)
        if call is Call.DOWNLOAD:
            program.download(call, _Given(ONE))
        else:
            program.call(call, FailureClass.COMMIT)

    return experiment


def _a_missing_tree_fails_a_state(bench: Bench) -> None:
    program = bench.module("exit 0")
    program.tree.remove()
    program.call(Call.ARTIFACT_COMMIT, FailureClass.COMMIT)


def _a_returning_reboot_is_waited_for(bench: Bench) -> None:
    for argv in (["true"], ["false"], ["/no/such/command"]):
        slept: list[float] = []
        try:
            RebootCommand(argv, slept.append).reboot()
        except InstallFailed:
            waits = argv[0] in ("true", "false")
            if bool(slept) is not waits:
                raise


def _swapped(encoding: Encoding) -> Callable[[Bench], None]:
    """Return the download of a payload file with other content than the manifest says."""
    name = f"test.tar{SUFFIX[encoding]}"

    def experiment(bench: Bench) -> None:
        packed = {name: compress(encoding, b"what was signed")}
        build = Build(payloads=(packed,), data=tar(member(name, compress(encoding, b"other"))))
        try:
            bench.receive(build.bytes())
        finally:
            assert not bench.stored()

    return experiment


def _same_stem_twice(bench: Bench) -> None:
    for suffix in (".gz", ".xz", ".zst"):
        for encoding in (Encoding.RAW, Encoding.GZIP, Encoding.XZ, Encoding.ZSTD):
            files = {"test.tar": b"plain", f"test.tar{suffix}": b"packed"}
            bench.receive(Build(payloads=(files,), encoding=encoding).bytes())
            assert bench.stored() == files
            bench.tree.path.unlink()


def _leaves_the_tree(bench: Bench) -> None:
    try:
        bench.receive(Build(payloads=({"../rootfs": b"x"},)).bytes())
    finally:
        assert not list(bench.root.rglob("rootfs"))


def _a_type_leaves_the_directory(bench: Bench) -> None:
    (bench.root / "modules" / "v3").mkdir(parents=True)
    bench.module("exit 0").path.rename(bench.root / "test_payload")
    find_module("../../test_payload", (bench.root / "modules" / "v3",))


def _has_mender_bytes(bench: Bench) -> None:
    tree = bench.receive(Build().bytes())
    info = json.loads((tree.path / "header" / "header-info").read_bytes())
    assert info["payloads"] == [{"type": "single-file"}]
    expected = {
        "version": b"3\n",
        "current_artifact_name": b"old_name\n",
        "current_artifact_group": b"group\n",
        "current_device_type": b"kiosk\n",
        "header/artifact_name": b"kiosk-1.5",
        "header/artifact_group": b"",
        "header/payload_type": b"single-file",
        "header/meta-data": b"null",
    }
    assert {name: (tree.path / name).read_bytes() for name in expected} == expected


ONE: Mapping[str, bytes] = {"rootfs": MEBIBYTE}
TWO: Mapping[str, bytes] = {"rootfs": MEBIBYTE, "rootfs2": MEBIBYTE[::-1]}

EXPERIMENTS: dict[str, Callable[[Bench], None]] = {
    "download_exit2_immediately": _streams("exit 2", ONE),
    "download_streams_one": lambda bench: _all_streams_arrive(bench, ONE, Call.DOWNLOAD),
    "download_dies_midway": _streams('dd if="$(cat stream-next)" bs=512 count=1', ONE),
    "download_never_opens_stream": _streams("cat stream-next", ONE),
    "download_opens_next_reads_nothing": _streams("dd if=stream-next count=0", ONE),
    "download_crash_after_next": _streams("cat stream-next; exit 2", ONE),
    "download_skips_final_next": _streams('cat "$(cat stream-next)" > /dev/null', ONE),
    "download_two_files": lambda bench: _all_streams_arrive(bench, TWO, Call.DOWNLOAD),
    "download_store_files": _stores(ONE),
    "download_store_two_files": _stores(TWO),
    "download_store_blocked": _streams("mkdir -p files/rootfs", ONE),
    "download_timeout": _too_long(Call.DOWNLOAD),
    "download_with_sizes": lambda bench: _all_streams_arrive(
        bench, ONE, Call.DOWNLOAD_WITH_FILE_SIZES
    ),
    "state_timeout": _too_long(Call.ARTIFACT_COMMIT),
    "workdir_missing": _a_missing_tree_fails_a_state,
    "system_reboot_returns": _a_returning_reboot_is_waited_for,
    "payload_path_traversal": _leaves_the_tree,
    "payload_type_traversal": _a_type_leaves_the_directory,
    "inner_file_replaced_gz": _swapped(Encoding.GZIP),
    "inner_file_replaced_xz": _swapped(Encoding.XZ),
    "inner_file_replaced_zst": _swapped(Encoding.ZSTD),
    "same_name_two_compressions": _same_stem_twice,
    "filetree_contents": _has_mender_bytes,
}
