"""A Release becomes the descriptor that release keys sign: complete, exact, always the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.kinds.release import Release, descriptor
from schemas.wire.decode import decode, encode
from schemas.wire.descriptor import Descriptor, Encoding, Health, Scope
from tests.support import fleet_yaml as write

SHA = "0" * 64


def spec(artifact: str = "", more: str = "", installer: str = "rootfs-ab") -> str:
    """Return a Release's spec with one artifact; `artifact` and `more` are further fields."""
    fields = f'compatible: a=b, sha256: "{SHA}", size: 100, {artifact}'
    return f"{{version: 1.5.0, installer: {installer}, artifacts: [{{{fields}}}], {more}}}"


def release(artifact: str = "", more: str = "", installer: str = "rootfs-ab") -> Release:
    written = spec(artifact, more, installer)
    text = write.document("Release", "kiosk-os", written, "labels: {security: fix}")
    loaded = write.load({"r.yaml": text})
    assert not loaded.problems, loaded.problems
    model = loaded.documents[0].model
    assert isinstance(model, Release)
    return model


def refused(artifact: str = "", more: str = "", installer: str = "rootfs-ab") -> str:
    with pytest.raises(AssertionError) as caught:
        release(artifact, more, installer)
    return str(caught.value)


def test_the_descriptor_says_all_that_a_device_acts_on() -> None:
    written = release(
        'url: "https://cdn.example/os.img.zst", uncompressedSize: 300',
        'epoch: 2, health: {within: 5m, checks: [network, "systemd:kiosk.service"]},'
        ' upgradeFrom: ">=1.3.0"',
    )
    result = descriptor(written)
    assert result.release == written.id == "kiosk-os@1.5.0"
    assert result.health == Health(300, ("network", "systemd:kiosk.service"))
    assert (result.epoch, result.upgrade_from) == (2, ">=1.3.0")
    assert dict(result.labels) == {"security": "fix"}
    (artifact,) = result.artifacts
    assert (artifact.size, artifact.uncompressed_size) == (100, 300)
    assert artifact.url == "https://cdn.example/os.img.zst"


def test_withdrawing_a_release_changes_nothing_that_is_signed() -> None:
    withdrawn = release(more="withdrawn: CVE-2026-1, provenance: 'https://ci.example/1'")
    assert descriptor(withdrawn).digest == descriptor(release()).digest


@pytest.mark.parametrize(
    ("artifact", "encoding"),
    [
        ("", Encoding.RAW),
        ('url: "https://a.example/x.img"', Encoding.RAW),
        ('url: "https://a.example/x.zst", uncompressedSize: 300', Encoding.ZSTD),
        ('url: "https://a.example/x.tar.gz?v=1.xz", uncompressedSize: 300', Encoding.GZIP),
        ('url: "https://a.example/x.xz#a", uncompressedSize: 300', Encoding.XZ),
        ('url: "https://a.example/x.zst", encoding: raw', Encoding.RAW),
        ("encoding: xz, uncompressedSize: 300", Encoding.XZ),
    ],
)
def test_the_encoding_is_as_written_or_as_the_url_ends(artifact: str, encoding: Encoding) -> None:
    assert descriptor(release(artifact)).artifacts[0].encoding is encoding


@pytest.mark.parametrize(
    ("installer", "more", "scope"),
    [
        ("rootfs-ab", "", Scope.SLOT),
        ("rootfs-ab", "scope: slot", Scope.SLOT),
        ("compose", "", Scope.DATA),
        ("compose", "scope: slot", Scope.SLOT),
    ],
)
def test_a_root_filesystem_is_a_slot_and_a_module_is_data_unless_it_says_slot(
    installer: str, more: str, scope: Scope
) -> None:
    assert descriptor(release(more=more, installer=installer)).scope is scope


@pytest.mark.parametrize(
    ("artifact", "more", "what"),
    [
        ("encoding: zstd", "", "needs `uncompressedSize`"),
        ("uncompressedSize: 300", "", "differs from `size`"),
        ('url: "ftp://a.example/x"', "", "begins with https"),
        ('url: "https://a.example/a b"', "", "begins with https"),
        ("encoding: br", "", "`br` is not `raw`, `gzip`, `xz` or `zstd`"),
        ("", "scope: data", "its scope cannot be data"),
        ("", "health: {within: 0s}", "zero"),
        ("", "health: {checks: [ping]}", "`ping` is not a health check"),
        ("", "health: {checks: ['command:']}", "without a command"),
        ("", "health: {checks: ['command:a \"b']}", "close every quotation mark"),
        ("", "health: {checks: ['systemd:--now x']}", "is not a health check"),
        ("", "health: {checks: ['http:a']}", "is not a health check"),
        ("", "withdrawn: ''", "one line of text"),
        ("", "upgradeFrom: 1.3.0", "a range of versions"),
    ],
)
def test_a_release_that_contradicts_itself_is_refused(artifact: str, more: str, what: str) -> None:
    assert what in refused(artifact, more)


def test_two_artifacts_for_the_same_hardware_are_refused() -> None:
    text = write.release().replace(
        "artifacts: [", f"artifacts: [{{compatible: '', sha256: \"{SHA}\", size: 1}}, "
    )
    (problem,) = write.load({"a.yaml": text}).problems
    assert problem.field == "spec.artifacts[1].compatible"


@pytest.mark.parametrize(
    "packed",
    [
        "encoding: gzip, uncompressedSize: 300",
        'url: "https://a.example/x.mender.gz", uncompressedSize: 300',
    ],
)
def test_a_mender_artifact_that_was_compressed_as_a_whole_is_refused(packed: str) -> None:
    text = write.document("Release", "kiosk-app", spec(packed, installer="mender"))
    (problem,) = write.load({"r.yaml": text}).problems
    assert problem.field == "spec.artifacts[0].encoding"
    assert "is not gzip as a whole" in problem.message
    assert "write `encoding: raw`" in problem.remedy
    assert str(problem).startswith(f"r.yaml:{1 + text[: text.index('spec:')].count(chr(10))}:")


def test_a_mender_artifact_is_data_and_stored_as_it_is() -> None:
    described = descriptor(release('url: "https://a.example/x.mender"', installer="mender"))
    assert described.scope is Scope.DATA
    assert described.artifacts[0].encoding is Encoding.RAW
    explicit = 'url: "https://a.example/x.mender.gz", encoding: raw'
    assert descriptor(release(explicit, installer="mender")).artifacts[0].encoding is Encoding.RAW


checks = st.sampled_from(["network", "systemd:a.service", "command:test -f '/a b'", "https://a/b"])
artifacts: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "compatible": st.sampled_from(["", "a=b", "facts.board in (x,y)"]),
        "sha256": st.from_regex(r"\A[0-9a-f]{64}\Z"),
        "size": st.integers(1, 2**53 - 1),
        "uncompressedSize": st.integers(1, 2**53 - 1),
        "encoding": st.sampled_from(["gzip", "xz", "zstd"]),
    }
)
specs = st.fixed_dictionaries(
    {
        "version": st.sampled_from(["1", "1.10", "2.0~rc1", "2026-11-24"]),
        "installer": st.sampled_from(["rootfs-ab", "compose"]),
        "epoch": st.integers(0, 2**31 - 1),
        "artifacts": artifacts.map(lambda artifact: (artifact,)),
        "health": st.fixed_dictionaries({"checks": st.lists(checks, max_size=3).map(tuple)}),
    }
)


@given(specs)
def test_devices_can_read_every_descriptor_that_a_release_gives(spec: dict[str, Any]) -> None:
    model = Release.model_validate(
        {"apiVersion": "fleetcd/v1", "kind": "Release", "metadata": {"name": "a"}, "spec": spec}
    )
    result = descriptor(model)
    assert decode(Descriptor, encode(result)) == result
