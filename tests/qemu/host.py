"""What a board talks to: repository, reconciler, gateway and tree on this machine's loopback."""

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from reconciler.adapters.dir_initialise import initialise
from reconciler.adapters.dir_release import NewRelease, add_release
from reconciler.adapters.signers import load_signer
from reconciler.adapters.tree_view import TreeView
from reconciler.demo.stack import LOOPBACK, ROLLOUTS, Stack, free_port
from schemas.canonical import key_id
from tests.qemu.disk import COPIES, ENVIRONMENT, PARTITIONS, Disk, make_disk
from tests.qemu.rootfs import agent_archive, personal, rootfs

GUESTS_NAME_FOR_US = "10.0.2.2"  # QEMU's user networking
BOARD = "board-1"
POLICY = """\
apiVersion: fleetcd/v1
kind: RolloutPolicy
metadata:
  name: demo
spec:
  stages:
    - {name: all, percent: 100}
  gate: {success: 100, minFinished: 1, attemptTimeout: 10m, reportLost: 10m}
  onFailure: rollback
"""


class Host(Stack):
    """A demo installation whose devices are boards: it makes their images and their disks."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, devices=0, policy=POLICY)

    def prepare(self) -> None:
        """Make keys, tree, certificates and repository; a fleet of one board; the first image."""
        port = free_port()
        made = initialise(
            self.directory / "server",
            datetime.now(UTC),
            listen=f"{LOOPBACK}:{port}",
            url=f"https://{GUESTS_NAME_FOR_US}:{port}",
            names=(GUESTS_NAME_FOR_US,),
        )
        self.address = made.url
        self.made = replace(made, url=f"https://{LOOPBACK}:{port}")
        with made.config.open("a", encoding="utf-8") as file:
            file.write(ROLLOUTS)
        self.view = TreeView(made.tree)
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(made.ca)
        self.session.headers["Authorization"] = f"Bearer {made.operator_token}"
        self._plain = rootfs(agent_archive())
        self._make_key()
        (made.clone / "policies" / "demo.yaml").write_text(POLICY, encoding="utf-8")
        (made.clone / "inventory" / "demo.yaml").write_text(
            "apiVersion: fleetcd/v1\nkind: DeviceList\nmetadata:\n  name: demo\nspec:\n"
            f'  devices:\n    - {{name: {BOARD}, key: "{self.key}", labels: {{product: kiosk}}}}\n',
            encoding="utf-8",
        )

    def image(self, version: str) -> Path:
        """Return the root filesystem that says it is `version`."""
        path = self.directory / f"image-{version}.ext4"
        if not path.exists():
            files = {
                "/etc/image-version": f"{version}\n".encode(),
                "/etc/fleetcd/agent.toml": self._config().encode(),
                "/etc/fleetcd/ca.pem": self.made.ca.read_bytes(),
                "/etc/fleetcd/root.json": self.made.root.read_bytes(),
            }
            for number, at in enumerate(COPIES):
                place = f"{PARTITIONS['variables'].device} {at:#x} {ENVIRONMENT:#x}\n"
                files[f"/etc/fw_env.{number}.config"] = place.encode()
            personal(self._plain, files, path)
        return path

    def disk(self, version: str) -> Disk:
        """Make the disk that a board leaves the factory with, running `version`."""
        return make_disk(self.directory, self.image(version), self.directory / "data")

    def release_image(self, version: str, image: Path) -> None:
        """Release an image, compressed, and let the fleet want it."""
        packed = image.with_name(f"{image.name}.zst")
        argv = ["zstd", "-q", "-f", "-3", "-T2", str(image), "-o", str(packed)]
        subprocess.run(argv, check=True, timeout=120)
        add_release(
            NewRelease("demo-os", version, packed),
            repository=self.made.clone,
            tree=self.made.tree,
            signers=(load_signer(f"file:{self.made.keys / 'release.pem'}"),),
            now=datetime.now(UTC),
        )
        self.want(version)
        self.commit(f"Ship demo-os {version}")

    def runs(self) -> str | None:
        """Return the release that the board last reported to run."""
        reported: dict[str, str] = self.api("GET", f"devices/{self.key}")["components"]
        return reported.get("os")

    def refusals(self) -> list[str]:
        """Return why releases were refused for the fleet, the last one last."""
        status = self.status()
        return [refused.reason for refused in status.ledger] if status else []

    def _make_key(self) -> None:
        """Make the board's key where its data partition will have it."""
        state = self.directory / "data" / "fleetcd"
        state.mkdir(parents=True, mode=0o700)
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (state / "device.key").write_bytes(pem)
        (state / "device.key").chmod(0o600)
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.key = key_id(public)

    def _config(self) -> str:
        """Return agent.toml. A JSON string is a TOML string."""
        return f"""\
[device]
name = {json.dumps(BOARD)}
state = "/data/fleetcd"
facts = {{ hardware = "qemu-virt" }}

[server]
tree = {json.dumps(f"{self.address}/tree")}
gateway = {json.dumps(self.address)}
ca = "ca.pem"

[trust]
root = "root.json"

[boot]
bootloader = "uboot"
variables = "fleetcd"
environments = ["/etc/fw_env.0.config", "/etc/fw_env.1.config"]
slots = {{ a = "{PARTITIONS["root-a"].device}", b = "{PARTITIONS["root-b"].device}" }}

[machine]
reboot = ["/bin/busybox", "reboot", "-f"]

[poll]
interval = 2
initial_delay = 1

[reports]
heartbeat = 10
"""
