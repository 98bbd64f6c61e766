"""A `.mender` artifact on its way to its modules: one pass, all or a refusal."""

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.artifact.policy import ArtifactPolicy, UnsignedBootstrap
from device_agent.artifact.reader import Limits
from device_agent.core.component import Contents
from device_agent.errors import InstallFailed, TransientError, UpdateRejected
from device_agent.modules.mender import Installed, MenderInstaller
from schemas.artifact.header import Script
from schemas.refusal import Code
from schemas.wire.descriptor import Artifact, Encoding
from schemas.wire.report import FailureClass
from tests.support.artifact_keys import KEYS, SIGNERS
from tests.support.artifacts import Build, assemble, compress, header_info, member, tar
from tests.support.installing import BytesSource
from tests.support.mender_device import STREAM, MenderDevice, app

TWO = Build(
    payloads=({"app.bin": b"1" * 300_000, "notes.txt": b""}, {"app.bin": b"other"}),
    kinds=("streams", "stores"),
    scripts=("ArtifactInstall_Enter_00", "ArtifactCommit_Leave_10_tell"),
)
BOOTSTRAP = Build(payloads=(None,))
SIGNED = SIGNERS["rsa"]


@pytest.fixture
def device(tmp_path: Path) -> MenderDevice:
    device = MenderDevice(tmp_path)
    device.module("streams", {"Download": STREAM})
    device.module("stores")
    return device


def refused(device: MenderDevice, data: bytes) -> UpdateRejected:
    with pytest.raises(UpdateRejected) as caught:
        device.contents(data)
    return caught.value


def untouched(device: MenderDevice) -> bool:
    return not (device.calls or device.kept or (device.root / "state").exists())


@pytest.mark.parametrize("encoding", Encoding)
def test_every_payload_reaches_its_module_in_one_pass(
    device: MenderDevice, encoding: Encoding
) -> None:
    data = replace(TWO, encoding=encoding).bytes()
    source = BytesSource(data, chunk=777)
    found = device.installer.download(app(data), source)
    assert found == Contents(name="kiosk-1.5", modules=("streams", "stores"), clears=("*", "*"))
    assert device.calls == [
        "streams ProvidePayloadFileSizes app",
        "streams Download app",
        "stores ProvidePayloadFileSizes app_0001",
        "stores Download app_0001",
    ]
    assert device.read("app-app.bin") == b"1" * 300_000
    assert device.read("app-notes.txt") == b""
    assert (device.tree("app_0001") / "files/app.bin").read_bytes() == b"other"
    assert not (device.tree() / "files").exists()
    assert source.streams == 1


def test_files_are_stored_whichever_module_of_the_artifact_does_not_stream(
    device: MenderDevice,
) -> None:
    device.download(replace(TWO, kinds=("stores", "streams")))
    assert (device.tree() / "files/app.bin").read_bytes() == b"1" * 300_000
    assert (device.tree() / "files/notes.txt").read_bytes() == b""
    assert device.read("app_0001-app.bin") == b"other"


def test_an_empty_payload_between_others_takes_no_number(device: MenderDevice) -> None:
    build = Build(payloads=({"a": b"1"}, None, {"b": b"2"}), kinds=("stores", "", "stores"))
    assert [part.name for part in device.download(build)] == ["app", "app_0001"]
    assert (device.tree() / "files/a").read_bytes() == b"1"
    assert (device.tree("app_0001") / "files/b").read_bytes() == b"2"


def test_what_modules_get_does_not_pass_through_memory(device: MenderDevice) -> None:
    data = Build(payloads=({"big": bytes(40_000_000)},), kinds=("stores",)).bytes()
    whole, source = app(data), BytesSource(data, chunk=100_000)
    tracemalloc.start()
    try:
        device.installer.download(whole, source)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_every_later_call_goes_to_the_parts_module_in_the_parts_tree(
    device: MenderDevice,
) -> None:
    first, second = device.download(TWO)
    (device.record / "calls").unlink()
    device.installer.install(first)
    device.installer.reboot_need(second)
    device.installer.activate(second)
    device.installer.verify(second)
    device.installer.commit(second)
    device.installer.supports_rollback(first)
    device.installer.rollback(first)
    device.installer.rollback_reboot(first)
    device.installer.verify_rollback(first)
    device.installer.failure(first)
    device.installer.cleanup(second)
    assert device.calls == [
        "streams ArtifactInstall app",
        "stores NeedsArtifactReboot app_0001",
        "stores ArtifactVerifyReboot app_0001",
        "stores ArtifactCommit app_0001",
        "streams SupportsRollback app",
        "streams ArtifactRollback app",
        "streams ArtifactRollbackReboot app",
        "streams ArtifactVerifyRollbackReboot app",
        "streams ArtifactFailure app",
        "stores Cleanup app_0001",
    ]
    assert device.tree().exists()
    assert not device.tree("app_0001").exists()


def test_state_scripts_are_kept_under_the_components_name(device: MenderDevice) -> None:
    device.download(TWO)
    assert device.kept == [("app", ["ArtifactInstall_Enter_00", "ArtifactCommit_Leave_10_tell"])]


def test_a_download_that_failed_leaves_no_decompressor_at_work(device: MenderDevice) -> None:
    children = Path("/proc/thread-self/children")
    before = children.read_text()
    device.module("streams", {"Download": 'cat "$(cat stream-next)" | head -c 1; exit 1'})
    large = Build(payloads=({"large": bytes(4_000_000)},), kinds=("streams",))
    with pytest.raises(InstallFailed, match="status 1") as caught:
        device.download(replace(large, encoding=Encoding.ZSTD))
    assert children.read_text() == before, f"{caught.value} must not hold it"


def test_an_artifact_without_scripts_replaces_those_of_the_one_before(
    device: MenderDevice,
) -> None:
    device.download(replace(TWO, scripts=()))
    assert device.kept == [("app", [])]


def test_scripts_that_cannot_be_kept_fail_the_download_before_any_module(
    device: MenderDevice,
) -> None:
    def full(name: str, scripts: Sequence[Script]) -> None:
        raise OSError(28, "No space left on device")

    installed = Installed(lambda: device.provides, lambda _: None)
    installer = MenderInstaller(device.settings, device.policy, installed, full)
    data = TWO.bytes()
    with pytest.raises(InstallFailed, match="state scripts cannot be kept: No space") as caught:
        installer.download(app(data), BytesSource(data))
    assert caught.value.failure is FailureClass.SPACE
    assert device.calls == []


def test_an_artifact_for_another_device_is_refused_untouched(device: MenderDevice) -> None:
    info = {"artifact_depends": {"device_type": ["tv"]}}
    assert refused(device, replace(TWO, info=info).bytes()).code is Code.COMPAT
    assert untouched(device)


def test_an_artifact_that_depends_on_what_is_not_provided_is_refused_untouched(
    device: MenderDevice,
) -> None:
    needs = replace(TWO, type_info={"artifact_depends": {"data.version": "7"}})
    assert refused(device, needs.bytes()).code is Code.COMPAT
    assert untouched(device)
    device.provides["data.version"] = "7"
    assert len(device.download(needs)) == 2


@pytest.mark.parametrize("missing", ["streams", "stores"])
def test_an_artifact_of_which_one_module_is_missing_is_refused_untouched(
    device: MenderDevice, missing: str
) -> None:
    (device.modules / missing).unlink()
    found = refused(device, TWO.bytes())
    assert (found.code, f"no module '{missing}'" in found.message) == (Code.MODULE, True)
    assert untouched(device)


@pytest.mark.parametrize("text", ['{"a":"\\ud800"}', '{"\\udfff":1}'])
def test_text_that_no_file_can_hold_is_refused_untouched(device: MenderDevice, text: str) -> None:
    build = replace(TWO, meta_data=text.encode())
    assert refused(device, build.bytes()).code is Code.FORMAT
    assert untouched(device)


def test_nothing_of_a_payload_is_asked_for_before_the_artifact_is_acceptable(
    device: MenderDevice,
) -> None:
    parts = list(replace(TWO, info={"artifact_depends": {"device_type": ["tv"]}}).parts().items())
    start = assemble(parts[:3])[:-1024]

    class Broken(BytesSource):
        def stream(self, artifact: Artifact) -> Iterator[bytes]:  # noqa: ARG002 - the port's shape
            yield start
            raise AssertionError("a payload was asked for")

    with pytest.raises(UpdateRejected, match="it is for tv"):
        device.installer.download(app(start), Broken(start))


def test_with_keys_an_unsigned_artifact_is_refused_untouched(device: MenderDevice) -> None:
    device.policy = ArtifactPolicy(keys=KEYS, unsigned_bootstrap=UnsignedBootstrap.ACCEPT)
    assert refused(device, TWO.bytes()).code is Code.SIGNATURE
    assert refused(device, BOOTSTRAP.bytes()).code is Code.SIGNATURE
    assert untouched(device)
    assert len(device.download(replace(TWO, sign=SIGNED))) == 2
    assert device.download(replace(BOOTSTRAP, sign=SIGNED)) == ()


def test_without_keys_a_bootstrap_artifact_is_refused_with_the_setting(
    device: MenderDevice,
) -> None:
    found = refused(device, replace(BOOTSTRAP, sign=SIGNED).bytes())
    assert found.code is Code.SIGNATURE
    assert "artifacts.unsigned_bootstrap" in found.message
    assert untouched(device)


def test_a_bootstrap_artifact_calls_no_module_and_says_what_is_provided(
    device: MenderDevice,
) -> None:
    device.policy = ArtifactPolicy(unsigned_bootstrap=UnsignedBootstrap.ACCEPT)
    build = replace(BOOTSTRAP, type_info={"artifact_provides": {"rootfs-image.version": "9"}})
    found = device.contents(build.bytes())
    assert (found.modules, found.provides) == ((), {"rootfs-image.version": "9"})
    assert device.calls == []


def test_a_bootstrap_artifact_is_read_to_its_end(device: MenderDevice) -> None:
    device.policy = ArtifactPolicy(unsigned_bootstrap=UnsignedBootstrap.ACCEPT)
    assert refused(device, BOOTSTRAP.bytes() + b"x").code is Code.TRAILING


def test_what_follows_the_artifact_is_found_before_the_last_module_hears_the_end(
    device: MenderDevice,
) -> None:
    device.module("stores", {"Download": f'{STREAM}echo finished >> "$RECORD/calls"'})
    assert refused(device, TWO.bytes() + b"more").code is Code.TRAILING
    assert "finished" not in device.calls


def test_the_signed_digest_of_the_whole_is_checked_though_the_artifact_is_sound(
    device: MenderDevice,
) -> None:
    data = TWO.bytes()
    with pytest.raises(UpdateRejected) as caught:
        device.installer.download(app(b"what was signed"), BytesSource(data))
    assert caught.value.code is Code.HASH


def test_a_broken_download_is_cleaned_up_in_every_tree_that_it_began(
    device: MenderDevice,
) -> None:
    data = TWO.bytes()
    refused(device, data + b"more")
    device.installer.failure(app(data))
    device.installer.cleanup(app(data))
    assert device.calls[4:] == ["streams Cleanup app", "stores Cleanup app_0001"]
    assert not (device.tree().exists() or device.tree("app_0001").exists())
    device.installer.cleanup(app(data))
    assert len(device.calls) == 6


def test_a_cleanup_that_fails_keeps_no_other_tree_from_being_removed(
    device: MenderDevice,
) -> None:
    device.module("streams", {"Download": STREAM, "Cleanup": "exit 3"})
    data = TWO.bytes()
    refused(device, data + b"more")
    with pytest.raises(InstallFailed, match="Cleanup exited with status 3"):
        device.installer.cleanup(app(data))
    assert not (device.tree().exists() or device.tree("app_0001").exists())


def test_a_tree_that_was_never_whole_goes_without_a_call(device: MenderDevice) -> None:
    (device.tree() / "header").mkdir(parents=True)
    device.installer.cleanup(app(b"x"))
    assert (device.tree().exists(), device.calls) == (False, [])


def test_without_a_tree_nothing_but_failure_and_cleanup_can_be_done(device: MenderDevice) -> None:
    whole = app(b"x")
    device.installer.failure(whole)
    device.installer.cleanup(whole)
    with pytest.raises(InstallFailed, match="not downloaded to the end"):
        device.installer.install(whole)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_network_that_breaks_is_passed_on_and_the_next_download_works(
    device: MenderDevice, share: float
) -> None:
    data = TWO.bytes()
    with pytest.raises(TransientError):
        device.installer.download(app(data), BytesSource(data, breaks_at=int(share * len(data))))
    assert len(device.download(TWO)) == 2
    assert device.read("app-app.bin") == b"1" * 300_000


def test_what_may_be_unpacked_is_bounded(device: MenderDevice) -> None:
    device.policy = ArtifactPolicy(limits=Limits(file=1000))
    assert refused(device, TWO.bytes()).code is Code.LENGTH


FILES = {"first": b"1", "second": b"2", "third": b"3"}


@pytest.mark.parametrize("unlisted", FILES)
def test_files_before_one_that_is_not_listed_are_stored_and_none_after_it(
    device: MenderDevice, unlisted: str
) -> None:
    listed = {name: content for name, content in FILES.items() if name != unlisted}
    inner = tar(*(member(name, content) for name, content in FILES.items()))
    build = Build(payloads=(listed,), data=inner, kinds=("stores",))
    assert refused(device, build.bytes()).code is Code.MISMATCH
    stored = sorted(path.name for path in device.tree().glob("files/*"))
    assert stored == sorted(FILES)[: sorted(FILES).index(unlisted)]


@pytest.mark.parametrize("name", ["test.tar.gz", "test.tar.xz", "test.tar.zst", "test.tar"])
def test_a_file_that_was_replaced_is_not_stored(device: MenderDevice, name: str) -> None:
    inner = tar(member(name, b"replaced"))
    build = Build(payloads=({name: b"original"},), data=inner, kinds=("stores",))
    found = refused(device, build.bytes())
    assert (found.code, found.failure) == (Code.HASH, FailureClass.CHECKSUM)
    assert list(device.tree().glob("files/*")) == []


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_files_that_differ_in_a_suffix_are_two_files(device: MenderDevice, suffix: str) -> None:
    files = {"test.tar": b"plain", f"test.tar{suffix}": compress(Encoding.GZIP, b"packed")}
    device.download(Build(payloads=(files,), kinds=("stores",)))
    assert {path.name: path.read_bytes() for path in device.tree().glob("files/*")} == files


@pytest.mark.parametrize("name", ["../rootfs", "/etc/x", "a/b", "..", "a b"])
def test_a_payloads_file_that_would_lie_elsewhere_is_refused(
    device: MenderDevice, name: str
) -> None:
    inner = tar(member(name, b"evil"))
    build = Build(payloads=({"a": b""},), data=inner, kinds=("stores",))
    assert refused(device, build.bytes()).code is Code.PATH
    assert list(device.tree().glob("files/*")) == []


@pytest.mark.parametrize("name", ["!$&'()*+,;=", "#%@[]^`{|}~", "-rf", ".hidden", "a" * 90])
def test_any_plain_name_is_stored_and_streamed(device: MenderDevice, name: str) -> None:
    files = {name: b"content"}
    device.download(Build(payloads=(files, files), kinds=("stores", "streams")))
    assert (device.tree() / "files" / name).read_bytes() == b"content"
    assert device.read(f"app_0001-{name}") == b"content"
    assert device.read("offered") == f"streams/{name}\n".encode()


@pytest.mark.parametrize("kind", ["../../test_payload", "/bin/sh", "..", "a/b", ""])
def test_a_payload_type_that_leads_elsewhere_is_refused(device: MenderDevice, kind: str) -> None:
    info = tar(member("header-info", header_info(kind)))
    assert refused(device, Build(header=info).bytes()).code in (Code.MODULE, Code.SCHEMA)
    assert untouched(device)
