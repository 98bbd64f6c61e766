"""What a team that comes from Mender does: its `.mender` files, rolled out by Git to a real fleet.

The stories run in this order on one stack; every one begins where the one before left the devices.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from reconciler.demo.devices import VirtualDevice
from reconciler.demo.stack import Stack, wait_until
from schemas.wire.report import FailureClass
from schemas.wire.status import Phase
from tests.e2e.fleet import PATIENCE, Fleet

pytestmark = pytest.mark.e2e

# An Update Module as teams have them. It keeps `app` in the device's directory: the tree is
# DEVICE/state/modules/v3/payloads/COMPONENT/tree.
MODULE = """\
#!/bin/sh
set -e
device="$2/../../../../../.."
case "$1" in
SupportsRollback) echo Yes ;;
ArtifactInstall)
    test ! -f "$device/app" || cp "$device/app" "$2/tmp/old"
    cp "$2/files/app" "$device/app"
    if grep -q broken "$device/app"; then echo "the app does not start" >&2; exit 1; fi
    ;;
ArtifactRollback)
    if test -f "$2/tmp/old"; then cp "$2/tmp/old" "$device/app"; else rm -f "$device/app"; fi
    ;;
esac
"""
SCRIPT = """\
#!/bin/sh
here="$(dirname "$0")"
echo "${0##*/}" >> "$here/../../../scripts-that-ran"
"""
AGENT = """
[modules]
directories = ["modules"]

[scripts]
directory = "image-scripts"

[artifacts]
verify_keys = ["artifacts.pem"]
"""


class Workshop:
    """Where artifacts are made; `fleetcd` is the real command."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        directory.mkdir()
        self.fleet, self.directory = fleet, directory
        self.key, self.public = directory / "private.pem", directory / "public.pem"
        private = ec.generate_private_key(ec.SECP256R1())
        self.key.write_bytes(
            private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        self.public.write_bytes(
            private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        self.script = directory / "ArtifactInstall_Enter_00_note"
        self.script.write_text(SCRIPT)

    def fleetcd(self, *arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def artifact(
        self, version: str, *options: object, content: str = "", device_type: str = "virtual"
    ) -> Path:
        """Write an artifact that brings the file `app`, signed unless `options` are given."""
        app, artifact = self.directory / "app", self.directory / f"kiosk-app-{version}.mender"
        app.write_text(content or f"app {version}\n")
        words = ("-n", f"kiosk-app-{version}", "-T", "kiosk-app", "-t", device_type, "-o", artifact)
        self.fleetcd("artifact", "write", app, *words, *(options or ("--key", self.key)))
        return artifact

    def release(self, name: str, version: str, artifact: Path) -> str:
        stack = self.fleet.stack
        places = ("--repo", stack.made.clone, "--config", stack.made.config)
        return self.fleetcd("release", "add", name, version, artifact, *places)

    def ship(self, version: str, artifact: Path, name: str = "kiosk-app") -> str:
        """Release `artifact`, let the fleet want it, wait until its rollout has begun."""
        shown = self.release(name, version, artifact)
        stack = self.fleet.stack
        stack.others = {"app": f"{name}@{version}"}
        stack.want("1")
        stack.commit(f"Ship {name} {version}")
        wanted = f"app={name}@{version}"
        wait_until(
            lambda: wanted in self.fleet.status.desired_text.split() and self._is_open(wanted),
            PATIENCE,
            f"a rollout of {wanted} has begun",
        )
        return shown

    def _is_open(self, wanted: str) -> bool:
        rollout = self.fleet.rollout
        return wanted in str(rollout.content).split() and bool(rollout.exposure)

    def refused(self, version: str, artifact: Path) -> list[tuple[object, ...]]:
        """Ship what canaries refuse; return (failure, code, message) of every device's report."""
        before = self.apps()
        self.ship(version, artifact)
        self.fleet.wait_phase(Phase.ROLLED_BACK)
        wait_until(lambda: self.apps() == before, PATIENCE, "the canaries are back")
        assert [opened.stage for opened in self.fleet.rollout.exposure] == ["canary"]
        return self.fleet.rows(
            "SELECT DISTINCT failure, code, message FROM events"
            " WHERE rollout = ? AND outcome = 'failed'",
            self.fleet.rollout.id,
        )

    def apps(self) -> set[str | None]:
        return {content_of(device.directory / "app") for device in self.fleet.stack.devices}

    def rollouts(self) -> list[dict[str, object]]:
        """Return what `fleetcd get rollouts` shows."""
        made = self.fleet.stack.made
        access = ("--url", made.url, "--token", made.operator_token, "--ca", made.ca)
        found: list[dict[str, object]] = json.loads(
            self.fleetcd("get", "rollouts", "-o", "json", *access)
        )
        return found


def content_of(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with Stack(tmp_path_factory.mktemp("mender") / "stack", devices=4) as stack:
        fleet = Fleet(stack)
        stack.prepare()
        shop = Workshop(fleet, stack.directory / "workshop")
        for device in stack.devices:
            equip(device, shop.public)
        stack.start_reconciler()
        fleet.power_on(*stack.devices)
        wait_until(lambda: len(stack.scene().waiting) == 1, PATIENCE, "one device is pending")
        stack.accept_waiting()
        fleet.wait_all_run(1)
        fleet.wait_phase(Phase.COMPLETED)
        yield shop


def equip(device: VirtualDevice, public: Path) -> None:
    """Give the device what its image had under Mender: a module, and a key for artifacts."""
    module = device.directory / "modules" / "kiosk-app"
    module.parent.mkdir()
    module.write_text(MODULE)
    module.chmod(0o755)
    (device.directory / "artifacts.pem").write_bytes(public.read_bytes())
    with device.config.open("a") as file:
        file.write(AGENT)


def test_an_artifact_reaches_every_device_in_stages_and_its_scripts_run(shop: Workshop) -> None:
    artifact = shop.artifact("1", "--key", shop.key, "--script", shop.script)
    shown = shop.ship("1", artifact)
    assert "holds       kiosk-app-1, for virtual" in shown
    assert "payload 0   kiosk-app, 1 file" in shown
    shop.fleet.wait_phase(Phase.COMPLETED)
    assert [opened.stage for opened in shop.fleet.rollout.exposure] == ["canary", "all"]
    assert shop.apps() == {"app 1\n"}
    for device in shop.fleet.stack.devices:
        ran = content_of(device.directory / "scripts-that-ran")
        assert ran == f"{shop.script.name}\n"


def test_an_artifact_that_fails_at_the_canary_is_stopped_and_taken_back(shop: Workshop) -> None:
    told = shop.refused("2", shop.artifact("2", content="broken\n"))
    message = "module kiosk-app: ArtifactInstall exited with status 1: the app does not start"
    assert told == [(FailureClass.INSTALL, None, message)]
    assert shop.apps() == {"app 1\n"}
    (rollout,) = shop.rollouts()
    assert rollout["phase"] == Phase.ROLLED_BACK
    stages = rollout["stages"]
    assert isinstance(stages, list)
    assert stages[0]["failures"].keys() == {FailureClass.INSTALL}


def test_an_artifact_for_another_device_type_is_refused_and_says_so(shop: Workshop) -> None:
    ((failure, code, message),) = shop.refused("3", shop.artifact("3", device_type="toaster"))
    assert (failure, code) == (FailureClass.POLICY, "E_COMPAT")
    assert "virtual" in str(message)
    assert "toaster" in str(message)


def test_an_artifact_that_nobody_signed_is_refused_where_keys_are_configured(
    shop: Workshop,
) -> None:
    unsigned = shop.artifact("4", "--compression", "xz")
    ((failure, code, message),) = shop.refused("4", unsigned)
    assert (failure, code) == (FailureClass.SIGNATURE, "E_SIGNATURE")
    assert "is not signed" in str(message)


def test_a_single_file_is_put_in_its_place_by_the_module_that_comes_with_the_agent(
    shop: Workshop,
) -> None:
    place, folder = shop.directory / "delivered", shop.directory / "payload"
    folder.mkdir()
    words = {"dest_dir": str(place), "filename": "app.conf", "permissions": "640"}
    for name, word in {**words, "app.conf": "volume = 11\n"}.items():
        (folder / name).write_text(f"{word}\n" if name in words else word)
    artifact = shop.directory / "conf-1.mender"
    said = ("-n", "conf-1", "-T", "single-file", "-t", "virtual", "-o", artifact)
    shop.fleetcd("artifact", "write", *sorted(folder.iterdir()), *said, "--key", shop.key)
    shop.ship("1", artifact, name="kiosk-conf")
    shop.fleet.wait_phase(Phase.COMPLETED)
    assert (place / "app.conf").read_text() == "volume = 11\n"
    assert (place / "app.conf").stat().st_mode & 0o777 == 0o640
