"""What boards talk to: repository, reconciler, gateway and tree on this machine's loopback."""

import random
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
from tests.qemu.disk import make_disk
from tests.qemu.kind import Kind
from tests.qemu.partitions import Disk
from tests.qemu.programs import run
from tests.qemu.rootfs import agent_archive, personal, rootfs

GUESTS_NAME_FOR_US = "10.0.2.2"  # QEMU's user networking
OWN_FILES = {"app/settings": 3_000, "app/db/records": 700_000, "app/empty": 0}  # bytes of each
CHECKS = ("network", "command:test ! -e /etc/sick")
POLICY = """\
apiVersion: fleetcd/v1
kind: RolloutPolicy
metadata:
  name: demo
spec:
  stages:
    - {name: canary, count: 1}
    - {name: all, percent: 100}
  gate: {success: 100, minFinished: 1, attemptTimeout: 1h, reportLost: 1h}
  onFailure: rollback
"""
AGENT = """\
[device]
name = "@NAME@"
state = "/data/fleetcd"
facts = {{ hardware = "{hardware}" }}

[server]
tree = "{url}/tree"
gateway = "{url}"
ca = "/etc/fleetcd/ca.pem"

[trust]
root = "/etc/fleetcd/root.json"

{boot}
{init}
[poll]
interval = 2
initial_delay = 1

[reports]
heartbeat = 10
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A board's name and key id, and what the factory puts on its data partition."""

    name: str
    key: str
    data: Path


class Host(Stack):
    """A demo installation whose devices are boards of one kind: makes their images and disks."""

    def __init__(self, directory: Path, kind: Kind, *, boards: int = 1) -> None:
        super().__init__(directory, devices=0, policy=POLICY)
        self.kind, self._boards = kind, boards

    def prepare(self) -> None:
        """Make keys, tree, certificates and repository; a fleet of boards; the plain image."""
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
        # A copy: another run may make the kept one anew.
        self._plain = self.directory / "plain.ext4"
        run("cp", "--sparse=always", rootfs(self.kind, agent_archive()), self._plain)
        self.boards = tuple(
            _identity(self.directory, f"board-{number + 1}") for number in range(self._boards)
        )
        (made.clone / "policies" / "demo.yaml").write_text(POLICY, encoding="utf-8")
        listed = "".join(
            f'    - {{name: {board.name}, key: "{board.key}", labels: {{product: kiosk}}}}\n'
            for board in self.boards
        )
        (made.clone / "inventory" / "demo.yaml").write_text(
            "apiVersion: fleetcd/v1\nkind: DeviceList\nmetadata:\n  name: demo\nspec:\n"
            f"  devices:\n{listed}",
            encoding="utf-8",
        )

    def image(self, version: str, extra: Mapping[str, str] | None = None) -> Path:
        """Return the root filesystem that says it is `version`, with `extra` files, by path.

        `/etc/story` is run by init before the agent; with `/etc/sick` the image is not healthy.
        """
        path = self.directory / f"image-{version}.ext4"
        if not path.exists():
            files = {
                "/etc/image-version": f"{version}\n".encode(),
                "/etc/fleetcd/agent.toml": self._config().encode(),
                "/etc/fleetcd/ca.pem": self.made.ca.read_bytes(),
                "/etc/fleetcd/root.json": self.made.root.read_bytes(),
            }
            files |= self.kind.image_files()
            files |= {name: content.encode() for name, content in (extra or {}).items()}
            personal(self._plain, files, path)
        return path

    def noise(self, version: str, size: int) -> Path:
        """Return an image of `size` random bytes."""
        path = self.directory / f"image-{version}.ext4"
        path.write_bytes(random.Random(version).randbytes(size))
        return path

    def disk(self, version: str, board: Identity | None = None) -> Disk:
        """Make the disk that a board (default: the first) leaves the factory with."""
        board = board or self.boards[0]
        file = self.directory / f"{board.name}.disk"
        return make_disk(self.kind, file, self.image(version), board.data)

    def release_image(self, version: str, image: Path) -> None:
        """Release an image, compressed, and let the fleet want it."""
        packed = image.with_name(f"{image.name}.zst")
        argv = ["zstd", "-q", "-f", "-3", "-T2", str(image), "-o", str(packed)]
        subprocess.run(argv, check=True, timeout=120)
        add_release(
            NewRelease("demo-os", version, packed, checks=CHECKS, within="15s"),
            repository=self.made.clone,
            tree=self.made.tree,
            signers=(load_signer(f"file:{self.made.keys / 'release.pem'}"),),
            now=datetime.now(UTC),
        )
        self.want(version)
        self.commit(f"Ship demo-os {version}")

    def runs(self, board: Identity | None = None) -> str | None:
        """Return the release that a board (default: the first) last reported to run."""
        key = (board or self.boards[0]).key
        reported: dict[str, str] = self.api("GET", f"devices/{key}")["components"]
        return reported.get("os")

    def refusals(self) -> list[str]:
        """Return why releases were refused for the fleet, the last one last."""
        status = self.status()
        return [refused.reason for refused in status.ledger] if status else []

    def _config(self) -> str:
        """Return agent.toml; init puts in the name."""
        return AGENT.format(
            hardware=f"qemu-{self.kind.name}",
            url=self.address,
            boot=self.kind.boot_section(),
            init=self.kind.init.agent,
        )


def _identity(directory: Path, name: str) -> Identity:
    """Make a key where the board's data partition will have it, and files that are not ours."""
    data = directory / f"{name}.data"
    state = data / "fleetcd"
    state.mkdir(parents=True, mode=0o700)
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (state / "device.key").write_bytes(pem)
    (state / "device.key").chmod(0o600)
    (data / "name").write_text(name)
    for path, size in OWN_FILES.items():
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(random.Random(f"{name} {path}").randbytes(size))
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Identity(name, key_id(public), data)
