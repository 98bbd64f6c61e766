"""`fleetcd release add`: measured as devices will see it, signed once, and never changed."""

import gzip
import hashlib
import lzma
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from typer.testing import CliRunner

from reconciler.adapters.dir_blobs import Measured, store
from reconciler.adapters.dir_release import (
    NewRelease,
    add_release,
    read_release,
    release_yaml,
    renew_releases,
    signed_files,
)
from reconciler.adapters.signers import create_key
from reconciler.adapters.tuf_releases import accept_releases, released
from reconciler.cli.release import release
from reconciler.errors import Misconfigured, NotSigned, ReleaseRefused, Unavailable
from schemas.kinds.release import descriptor
from schemas.wire.descriptor import Encoding, Health, Scope
from tests.support.publications import manifest_of
from tests.support.release_workshop import CONTENT, Workshop
from tests.support.signed_tree import NOW

Compress = Callable[[bytes], bytes]


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_the_yaml_describes_what_was_signed(shop: Workshop) -> None:
    added = shop.add(checks=("network", "command:test -e /run/ok"), within="90s", epoch=2)
    text = shop.yaml().read_bytes()
    assert descriptor(read_release("releases/kiosk-os/1.0.0.yaml", text)) == added.descriptor
    assert added.descriptor.health == Health(90, ("network", "command:test -e /run/ok"))
    assert (added.descriptor.scope, added.descriptor.epoch) == (Scope.SLOT, 2)
    target = shop.tree
    target.releases = dict(signed_files(shop.clone))
    target.set("releases/kiosk-os/1.0.0.json", added.descriptor)
    target.set("fleets/shop.json", manifest_of("shop", 1, added.descriptor))
    assert target.publish()


def test_the_blob_lies_in_the_tree_under_its_digest(shop: Workshop) -> None:
    added = shop.add()
    assert added.blob
    assert added.blob.name == hashlib.sha256(CONTENT).hexdigest()
    assert added.blob.read_bytes() == CONTENT
    assert added.blob.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in added.blob.parent.iterdir()] == [added.blob.name]


def test_the_same_release_again_changes_nothing(shop: Workshop) -> None:
    shop.add()
    before = {path: path.read_bytes() for path in shop.clone.rglob("*") if path.is_file()}
    assert shop.add().written == ()
    assert {path: path.read_bytes() for path in before} == before


def test_what_people_wrote_beside_the_signed_fields_stays(shop: Workshop) -> None:
    shop.add()
    text = shop.yaml().read_text() + '  withdrawn: "CVE-2026-1"\n'
    shop.yaml().write_text(text)
    assert shop.add().written == ()
    assert shop.yaml().read_text() == text


def test_a_released_version_never_changes(shop: Workshop) -> None:
    shop.add()
    before = {path: path.read_bytes() for path in shop.clone.rglob("*") if path.is_file()}
    shop.file.write_bytes(b"another image")
    with pytest.raises(ReleaseRefused, match=r"E_MISMATCH.*choose a new version"):
        shop.add()
    shop.yaml().unlink()
    with pytest.raises(ReleaseRefused, match=r"kiosk-os@1\.0\.0 is released already"):
        shop.add()
    del before[shop.yaml()]
    after = {path: path.read_bytes() for path in shop.clone.rglob("*") if path.is_file()}
    assert after == before


def test_another_release_key_is_refused(shop: Workshop) -> None:
    shop.add()
    with pytest.raises(NotSigned, match="--key"):
        add_release(
            NewRelease("kiosk-os", "2.0.0", shop.file),
            repository=shop.clone,
            tree=shop.tree.layout.root,
            signers=(CryptoSigner.generate_ed25519(),),
            now=NOW,
        )


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        (Encoding.RAW, lambda data: data),
        (Encoding.GZIP, gzip.compress),
        (Encoding.XZ, lzma.compress),
        (Encoding.ZSTD, lambda data: zstd(data)),
    ],
)
def test_encoding_and_sizes_are_found_out(
    shop: Workshop, encoding: Encoding, compress: Compress
) -> None:
    stored = compress(CONTENT)
    shop.file.write_bytes(stored)
    artifact = shop.add().descriptor.artifacts[0]
    assert (artifact.encoding, artifact.size) == (encoding, len(stored))
    assert artifact.uncompressed_size == len(CONTENT)
    assert artifact.sha256 == hashlib.sha256(stored).hexdigest()


def zstd(data: bytes, *options: str) -> bytes:
    done = subprocess.run(
        ["zstd", "--quiet", *options, "--stdout"],
        input=data,
        capture_output=True,
        check=True,
        timeout=60,
    )
    return done.stdout


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "E_LENGTH"),
    "gzip cut off": (lambda: gzip.compress(CONTENT)[:-9], "E_TRUNCATED"),
    "gzip and more": (lambda: gzip.compress(CONTENT) + b"x", "E_TRAILING"),
    "two gzip members": (lambda: gzip.compress(CONTENT) * 2, "E_TRAILING"),
    "gzip damaged": (lambda: gzip.compress(CONTENT)[:20] + b"\xff" * 40, "E_FORMAT"),
    "gzip of nothing": (lambda: gzip.compress(b""), "E_LENGTH"),
    "xz cut off": (lambda: lzma.compress(CONTENT)[:-9], "E_TRUNCATED"),
    "xz and more": (lambda: lzma.compress(CONTENT) + b"x", "E_TRAILING"),
    "xz with a large dictionary": (lambda: lzma.compress(CONTENT, preset=9), "E_LIMIT"),
    "zstd cut off": (lambda: zstd(CONTENT)[:-9], "E_FORMAT"),
    "two zstd frames": (lambda: zstd(CONTENT) * 2, "E_TRAILING"),
    "zstd with a large window": (lambda: zstd(CONTENT, "--long=27"), "E_LIMIT"),
    "zstd damaged": (lambda: zstd(CONTENT)[:30] + b"\xff" * 40, "E_FORMAT"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_devices_would_refuse_is_not_released(shop: Workshop, case: str) -> None:
    make, code = REFUSED[case]
    shop.file.write_bytes(make())
    with pytest.raises(ReleaseRefused, match=code):
        shop.add()
    assert list(shop.clone.iterdir()) == []
    assert not (shop.tree.layout.root / "artifacts").exists()


def test_a_file_that_is_not_there_is_named(shop: Workshop) -> None:
    with pytest.raises(Unavailable, match="nothing-here: No such file"):
        shop.add(file=Path("nothing-here"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../../etc"}, "metadata.name"),
        ({"version": "../1"}, "spec.version"),
        ({"checks": ("reboot",)}, "not a health check"),
        ({"within": "soon"}, "not a duration"),
        ({"compatible": "hardware=="}, "selector"),
        ({"scope": "data"}, "cannot be data"),
    ],
)
def test_a_mistake_in_the_command_names_the_field(
    shop: Workshop, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ReleaseRefused, match=words):
        shop.add(**changes)
    assert list(shop.clone.iterdir()) == []


def test_a_second_name_gets_a_role_of_its_own(shop: Workshop) -> None:
    shop.add()
    shop.add(name="kiosk-app", installer="compose")
    accepted = accept_releases(shop.tree.publisher._current(), signed_files(shop.clone), NOW)
    assert sorted(released(accepted)) == [
        "releases/kiosk-app/1.0.0.json",
        "releases/kiosk-os/1.0.0.json",
    ]


def test_renewing_gives_every_role_its_full_time_and_the_next_version(shop: Workshop) -> None:
    shop.add()
    late = NOW + timedelta(days=170)
    renew_releases(
        repository=shop.clone,
        tree=shop.tree.layout.root,
        signers=shop.tree.keys.release,
        now=late,
    )
    shop.tree.releases = dict(signed_files(shop.clone))
    shop.tree.publish(late)
    assert shop.tree.signed("releases-kiosk-os").expires == late + timedelta(days=180)
    assert shop.tree.signed("releases").expires == late + timedelta(days=180)


_VERSIONS = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9._+~-]{0,20}[A-Za-z0-9])?", fullmatch=True)
_NAMES = st.from_regex(r"[a-z0-9](?:[a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)


@given(name=_NAMES, version=_VERSIONS, digest=st.integers(0, 2**256 - 1))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_name_and_version_survives_the_way_through_yaml(
    name: str, version: str, digest: int
) -> None:
    measured = Measured(f"{digest:064x}", 5, 5, Encoding.RAW)
    text = release_yaml(NewRelease(name, version, Path("x"), installer=name), measured)
    again = descriptor(read_release("x.yaml", text))
    assert (again.name, again.version, again.installer) == (name, version, name)
    assert again.artifacts[0].sha256 == measured.sha256


def test_the_command_shows_the_git_commands_and_commits_nothing(
    shop: Workshop, tmp_path: Path
) -> None:
    key = tmp_path / "release.pem"
    create_key(key)
    tree = tmp_path / "empty"
    tree.mkdir()
    options = ["--repo", str(shop.clone), "--tree", str(tree), "--key", f"file:{key}"]
    checks = ["--health-check", "network", "--health-check", "systemd:a.service"]
    (shop.clone / ".git").mkdir()
    shown = CliRunner().invoke(
        release, ["add", "kiosk-os", "1.10", str(shop.file), *options, *checks]
    )
    assert shown.exit_code == 0, shown.output
    assert f"git -C {shop.clone} commit -m 'Release kiosk-os@1.10'" in shown.output
    text = shop.yaml("1.10").read_bytes()
    checks_read = descriptor(read_release("x.yaml", text)).health.checks
    assert checks_read == ("network", "systemd:a.service")
    assert not list((shop.clone / ".git").iterdir())
    renewed = CliRunner().invoke(release, ["renew", *options])
    assert renewed.exit_code == 0, renewed.output
    assert "Renew the release signatures" in renewed.output


def test_a_release_is_only_made_where_it_can_be_committed(tmp_path: Path) -> None:
    for command in (["add", "kiosk-os", "1.0.0", "image", "--url", "https://a/b"], ["renew"]):
        shown = CliRunner().invoke(release, [*command, "--repo", str(tmp_path)])
        assert "is not a clone of the fleet repository" in str(shown.exception)
    assert not list(tmp_path.iterdir())


def test_a_release_that_no_device_could_fetch_is_refused(shop: Workshop) -> None:
    shown = CliRunner().invoke(
        release, ["add", "kiosk-os", "1.0.0", str(shop.file), "--repo", str(shop.clone)]
    )
    assert isinstance(shown.exception, Misconfigured)
    assert "--url" in str(shown.exception)


def test_a_file_that_changes_while_it_is_read_is_not_stored(shop: Workshop, tmp_path: Path) -> None:
    place = tmp_path / "artifacts" / "blob"
    with pytest.raises(Unavailable, match="changed while it was read"):
        store(shop.file, place, "0" * 64)
    assert list(place.parent.iterdir()) == []
