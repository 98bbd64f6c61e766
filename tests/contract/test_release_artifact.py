"""`fleetcd release add` for a `.mender` file: read as a device reads it, before it is signed."""

import gzip
import lzma
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reconciler.adapters.signers import create_key
from reconciler.cli.release import release
from reconciler.errors import ReleaseRefused
from schemas.wire.descriptor import MENDER, Encoding, Scope
from tests.support.artifacts import VERSION, Build, assemble
from tests.support.release_workshop import CONTENT, Workshop

ARTIFACT = Build(encoding=Encoding.GZIP, scripts=("ArtifactInstall_Enter_00",))


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def damaged(position: str) -> bytes:
    """Return the artifact with one byte changed in the member named `position`."""
    parts = ARTIFACT.parts()
    parts[position] = parts[position][:-1] + bytes((parts[position][-1] ^ 1,))
    return assemble(parts.items())


def renamed(old: str, new: str) -> bytes:
    parts = ARTIFACT.parts()
    return assemble((new if name == old else name, data) for name, data in parts.items())


@pytest.mark.parametrize("installer", ["", MENDER])
def test_an_artifact_of_menders_is_recognised_by_its_content(
    shop: Workshop, installer: str
) -> None:
    shop.file.write_bytes(ARTIFACT.bytes())
    added = shop.add(installer=installer)
    assert added.inside
    assert added.inside.header.name == "kiosk-1.5"
    assert not added.inside.has_signature
    described = added.descriptor
    assert (described.installer, described.scope) == (MENDER, Scope.DATA)
    (artifact,) = described.artifacts
    assert artifact.encoding is Encoding.RAW
    assert artifact.size == artifact.uncompressed_size == len(ARTIFACT.bytes())


def test_an_artifact_may_be_released_to_live_in_the_slot(shop: Workshop) -> None:
    shop.file.write_bytes(ARTIFACT.bytes())
    assert shop.add(scope="slot").descriptor.scope is Scope.SLOT


def test_a_module_of_its_own_gets_an_artifact_as_it_is(shop: Workshop) -> None:
    shop.file.write_bytes(ARTIFACT.bytes())
    added = shop.add(installer="unpacker")
    assert (added.descriptor.installer, added.inside) == ("unpacker", None)


def test_an_image_is_not_read_as_an_artifact(shop: Workshop) -> None:
    assert shop.add().inside is None


REFUSED_ARTIFACTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a damaged payload": (lambda: damaged("data/0000.tar.gz"), "E_FORMAT|E_HASH|E_TRUNCATED"),
    "a damaged header": (lambda: damaged("header.tar.gz"), "E_HASH"),
    "something after its end": (lambda: ARTIFACT.bytes() + b"more", "E_TRAILING"),
    "cut off": (lambda: ARTIFACT.bytes()[:-1500], "E_TRUNCATED"),
    "compressed as nobody knows": (
        lambda: renamed("data/0000.tar.gz", "data/0000.tar.bz2"),
        r"data/0000\.tar\.bz2 stands where data/0000\.tar must be",
    ),
    "another file than the manifest's": (
        lambda: Build(listed={"data/0000/lost": b""}).bytes(),
        "E_NOT_FOUND.*data/0000/lost",
    ),
    "only a version": (lambda: assemble([("version", VERSION)]), "manifest is missing"),
    "an image": (lambda: CONTENT, "of a tar header is not"),
    "compressed as a whole": (
        lambda: gzip.compress(ARTIFACT.bytes()),
        "gzip as a whole.*unpack it, and release the .mender file itself",
    ),
}


@pytest.mark.parametrize("case", REFUSED_ARTIFACTS)
def test_an_artifact_that_devices_would_refuse_is_not_released(shop: Workshop, case: str) -> None:
    make, words = REFUSED_ARTIFACTS[case]
    file = shop.file.with_name("kiosk-1.5.mender")
    file.write_bytes(make())
    for installer in ("", MENDER):
        with pytest.raises(ReleaseRefused, match=words):
            shop.add(file=file, installer=installer)
    assert list(shop.clone.iterdir()) == []
    assert not (shop.tree.layout.root / "artifacts").exists()


def test_an_artifact_that_was_compressed_once_more_is_known_by_its_name(shop: Workshop) -> None:
    file = shop.file.with_name("kiosk-1.5.mender.xz")
    file.write_bytes(lzma.compress(ARTIFACT.bytes()))
    with pytest.raises(ReleaseRefused, match="xz as a whole"):
        shop.add(file=file)


def test_an_artifact_is_not_released_as_an_image(shop: Workshop) -> None:
    shop.file.write_bytes(ARTIFACT.bytes())
    with pytest.raises(ReleaseRefused, match="no image of a root filesystem; let its installer be"):
        shop.add(installer="rootfs-ab")
    assert list(shop.clone.iterdir()) == []


@pytest.mark.parametrize("signed", [True, False])
def test_the_command_shows_what_is_in_an_artifact(
    shop: Workshop, tmp_path: Path, signed: bool
) -> None:
    create_key(tmp_path / "release.pem")
    (shop.clone / ".git").mkdir()
    build = replace(ARTIFACT, payloads=({"app": b"1"}, None), kinds=("single-file",))
    build = replace(build, sign=lambda _: b"by somebody") if signed else build
    shop.file.write_bytes(build.bytes())
    options = ["--repo", str(shop.clone), "--key", f"file:{tmp_path / 'release.pem'}"]
    shown = CliRunner().invoke(
        release, ["add", "kiosk-app", "1.5", str(shop.file), "--url", "https://a/b", *options]
    )
    assert shown.exit_code == 0, shown.output
    lines = [line.strip() for line in shown.output.splitlines()]
    assert "holds       kiosk-1.5, for kiosk" in lines
    assert "payload 0   single-file, 1 file" in lines
    assert "payload 1   empty: it only provides" in lines
    assert "scripts     ArtifactInstall_Enter_00" in lines
    told = "there is one; not verified here" if signed else "none"
    assert f"signature   {told}" in lines
