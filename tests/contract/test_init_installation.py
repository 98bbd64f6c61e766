"""`fleetcd init`: one command makes an installation that works, and never harms another."""

import hashlib
import ssl
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from cryptography import x509
from typer.testing import CliRunner

from reconciler.adapters import dir_initialise
from reconciler.adapters.dir_initialise import Initialised, initialise
from reconciler.adapters.dir_release import read_release, signed_files
from reconciler.adapters.signers import load_signer
from reconciler.adapters.tuf_tree import DirectoryTree
from reconciler.cli.init import init
from reconciler.cli.timestamp import refresh_timestamp
from reconciler.errors import Misconfigured
from reconciler.ports import Publication
from reconciler.settings import Settings
from schemas.kinds.release import descriptor
from schemas.wire.decode import encode
from tests.support.publications import manifest_of
from tests.support.signed_tree import NOW, QuickDisk
from tests.support.tuf_client import StockClient

RELEASE = """\
apiVersion: fleetcd/v1
kind: Release
metadata: {name: shop-os}
spec:
  version: 1.0.0
  installer: rootfs-ab
  artifacts:
    - compatible: ""
      sha256: 8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4
      size: 10
"""


def example(folder: Path) -> Path:
    """Return a small repository to begin with, holding one release."""
    (folder / "example" / "releases" / "shop-os").mkdir(parents=True)
    (folder / "example" / "releases" / "shop-os" / "1.0.0.yaml").write_text(RELEASE)
    (folder / "example" / "README.md").write_text("Fleet")
    return folder / "example"


def installed(folder: Path) -> Initialised:
    return initialise(
        folder / "fleetcd", NOW, example=example(folder), names=("fleet.example",), disk=QuickDisk()
    )


def test_the_configuration_is_what_the_reconciler_reads(tmp_path: Path) -> None:
    made = installed(tmp_path)
    settings = Settings.load(made.config)
    assert settings.git.url == str(made.repository)
    assert settings.tree.directory == made.tree
    assert settings.tree.url == "https://localhost:8443/tree"
    assert settings.state.directory.is_dir()
    assert settings.gateway.certificate == made.ca.with_name("server.pem")


def test_its_keys_publish_into_its_tree_and_devices_trust_its_root(tmp_path: Path) -> None:
    made = installed(tmp_path)
    settings = Settings.load(made.config)
    tree = DirectoryTree(
        settings.tree.directory,
        online=load_signer(settings.keys.online),
        timestamp=load_signer(settings.keys.timestamp),
    )
    assert tree.publish(Publication({"project.json": b"{}"}), NOW)
    client = StockClient(made.tree, made.root.read_bytes(), tmp_path / "memory")
    assert client.read("project.json", now=NOW) == [b"{}"]


def test_the_releases_of_the_example_are_signed_as_they_stand_in_git(tmp_path: Path) -> None:
    made = installed(tmp_path)
    settings = Settings.load(made.config)
    release = descriptor(read_release("release.yaml", RELEASE.encode()))
    documents = {
        "releases/shop-os/1.0.0.json": encode(release),
        "fleets/shop.json": encode(manifest_of("shop", 1, release)),
    }
    tree = DirectoryTree(
        made.tree,
        online=load_signer(settings.keys.online),
        timestamp=load_signer(settings.keys.timestamp),
    )
    assert tree.publish(Publication(documents, signed_files(made.clone)), NOW)


def test_the_bare_repository_holds_the_example_on_the_configured_branch(tmp_path: Path) -> None:
    made = installed(tmp_path)
    listed = subprocess.run(
        ["git", "-C", made.repository, "ls-tree", "-r", "--name-only", "main"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout.splitlines()
    assert listed == [
        "README.md",
        "releases/.signed/releases-shop-os.json",
        "releases/.signed/releases.json",
        "releases/shop-os/1.0.0.yaml",
    ]


def test_the_certificate_is_of_the_ca_for_every_name(tmp_path: Path) -> None:
    made = installed(tmp_path)
    server = x509.load_pem_x509_certificate(made.ca.with_name("server.pem").read_bytes())
    server.verify_directly_issued_by(x509.load_pem_x509_certificate(made.ca.read_bytes()))
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"fleet.example", "localhost"} <= set(names.get_values_for_type(x509.DNSName))
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    assert set(addresses) == {"127.0.0.1", "::1"}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.ca.with_name("server.pem"), made.ca.with_name("server.key"))


def test_only_the_hash_of_the_operator_token_is_stored(tmp_path: Path) -> None:
    made = installed(tmp_path)
    line = (made.directory / "operator-tokens").read_text()
    assert line == f"admin {hashlib.sha256(made.operator_token.encode()).hexdigest()}\n"
    files = [path for path in made.directory.rglob("*") if path.is_file()]
    assert not [path for path in files if made.operator_token.encode() in path.read_bytes()]


def test_no_secret_can_be_read_by_others(tmp_path: Path) -> None:
    made = installed(tmp_path)
    secrets = [*made.keys.iterdir(), made.ca.with_name("server.key")]
    assert {path.name for path in made.keys.iterdir()} == {
        "root.pem",
        "targets.pem",
        "release.pem",
        "online.pem",
        "timestamp.pem",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


def test_a_directory_that_is_not_empty_is_left_as_it_is(tmp_path: Path) -> None:
    made = installed(tmp_path)
    before = {path: path.read_bytes() for path in made.directory.rglob("*") if path.is_file()}
    with pytest.raises(Misconfigured, match="not empty"):
        initialise(made.directory, NOW, example=tmp_path / "example")
    after = {path: path.read_bytes() for path in made.directory.rglob("*") if path.is_file()}
    assert after == before


def commands() -> typer.Typer:
    """Return the commands as `fleetcd` puts them together."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(init)
    app.command()(refresh_timestamp)
    return app


def test_the_command_shows_the_token_once_and_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dir_initialise, "example_repository", lambda: example(tmp_path))
    shown = CliRunner().invoke(commands(), ["init", str(tmp_path / "fleetcd")])
    assert shown.exit_code == 0, shown.output
    stored = (tmp_path / "fleetcd" / "operator-tokens").read_text().split()[1]
    hashes = {hashlib.sha256(word.encode()).hexdigest() for word in shown.output.split()}
    assert stored in hashes
    assert f"fleetcd run --config {tmp_path}/fleetcd/fleetcd.toml" in shown.output
    assert "Move these keys to a safe place" in shown.output


def test_the_timestamp_is_refreshed_with_nothing_but_its_key_and_the_tree(tmp_path: Path) -> None:
    made = initialise(tmp_path / "fleetcd", datetime.now(UTC), example=example(tmp_path))
    for other in ("root", "targets", "release", "online"):
        (made.keys / f"{other}.pem").unlink()
    (made.directory / "state").rmdir()
    made.repository.rename(tmp_path / "gone.git")
    shown = CliRunner().invoke(commands(), ["refresh-timestamp", "--config", str(made.config)])
    assert shown.output == "timestamp 2 signed\n"
    client = StockClient(made.tree, made.root.read_bytes(), tmp_path / "memory")
    assert client.read("project.json", now=datetime.now(UTC)) == [None]
