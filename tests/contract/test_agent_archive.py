"""The archive of `make agent` on Debian's Python, with nothing of this installation in reach."""

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from device_agent.boot.environment import load
from device_agent.boot.firmware import boot
from device_agent.exit_codes import ExitCode
from reconciler.demo.devices import VirtualDevice
from reconciler.demo.image import version_of
from reconciler.demo.stack import Stack, wait_until
from tests.support.artifacts import Build

pytestmark = pytest.mark.ci  # they need Debian's python3-cryptography

BUILDER = Path(__file__).parents[2] / ".ci" / "agent_archive.py"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


def build(directory: Path) -> Path:
    subprocess.run([sys.executable, BUILDER, directory], check=True, timeout=120)
    return directory


def run(built: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the archive as a program, from its own first line."""
    argv = [str(built / "fleetcd-agent.pyz"), *map(str, words)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": "/nonexistent"}
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=60, cwd="/", env=environment, check=False
    )


def device(root: Path, modules: Sequence[Path] = ()) -> Path:
    """Write the configuration of a device that is only updated by hand."""
    directories = ", ".join(f'"{path}"' for path in modules)
    config = root / "agent.toml"
    config.write_text(
        '[device]\nname = "kiosk"\nstate = "state"\nfacts = { device_type = "kiosk" }\n'
        f'[modules]\ndirectories = [{directories}]\n[owner]\nstatus = "none"\n'
        '[scripts]\ndirectory = "scripts"\n'
    )
    return config


def artifact(root: Path) -> Path:
    """Write an artifact that places `app.conf` below `root`."""
    files = {"dest_dir": f"{root}\n", "filename": "app.conf\n", "permissions": "644\n"}
    payload = {name: text.encode() for name, text in files.items()} | {"app.conf": b"new"}
    path = root / "app.mender"
    path.write_bytes(Build(payloads=(payload,)).bytes())
    return path


def test_it_tells_what_it_can_do(built: Path) -> None:
    told = run(built, "--help")
    assert told.returncode == 0
    assert "Keeps this device at what its fleet's signed manifest says" in told.stdout


def test_it_shows_how_a_device_stands(built: Path, tmp_path: Path) -> None:
    told = run(built, "show", "--config", device(tmp_path))
    assert told.returncode == 0, told.stderr
    assert "runs: nothing that fleetcd installed" in told.stdout


def test_it_installs_an_artifact_with_a_module_that_came_beside_it(
    built: Path, tmp_path: Path
) -> None:
    config = device(tmp_path, [built / "modules" / "v3"])
    done = run(built, "install", artifact(tmp_path), "--config", config)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "app.conf").read_bytes() == b"new"
    assert run(built, "commit", "--config", config).returncode == 0


def test_without_the_modules_an_artifact_is_refused_by_their_name(
    built: Path, tmp_path: Path
) -> None:
    done = run(built, "install", artifact(tmp_path), "--config", device(tmp_path))
    assert done.returncode == 1
    assert "no module 'single-file'" in done.stderr
    assert not (tmp_path / "app.conf").exists()


def test_it_follows_a_published_tree_to_the_fleets_version_and_commits_it(
    built: Path, tmp_path: Path
) -> None:
    with Stack(tmp_path / "stack", devices=2) as stack:  # of which the fleet lists the first
        stack.prepare()
        stack.start_reconciler()
        listed = stack.devices[0]
        with listed.config.open("a") as file:
            file.write('[owner]\nstatus = "none"\n')
        firmware = listed.directory / "boot"
        boot(firmware)

        def done() -> bool:
            asked = run(built, "install", "--config", listed.config)
            assert asked.returncode in (ExitCode.DONE, ExitCode.WAITING, ExitCode.REBOOT), asked
            if asked.returncode == ExitCode.REBOOT:
                boot(firmware)
            return primary_version(listed) == "1"

        wait_until(done, 60.0, "the fleet's version is committed")


def primary_version(device: VirtualDevice) -> str | None:
    variables = load(device.directory / "boot")
    assert variables is not None
    return version_of(device.slots["ab".index(variables.primary)])


def test_it_holds_the_same_bytes_each_time(built: Path, tmp_path: Path) -> None:
    again = build(tmp_path) / "fleetcd-agent.pyz"
    assert again.read_bytes() == (built / "fleetcd-agent.pyz").read_bytes()


def test_it_holds_nothing_for_one_processor_only_and_every_licence(built: Path) -> None:
    with zipfile.ZipFile(built / "fleetcd-agent.pyz") as archive:
        names = archive.namelist()
    assert not [name for name in names if name.endswith(".so")]
    assert {name.split("/")[0].split("-")[0] for name in names if "LICENSE" in name} == {
        *("LICENSE", "tuf", "securesystemslib", "urllib3")
    }
