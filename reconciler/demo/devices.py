"""The demo's devices: a directory each, with two slot files, a file bootloader and a key."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from reconciler.demo.image import SIZE, version_of, write_image
from schemas.canonical import key_id

AGENT = "device_agent"  # the module that the supervisor starts
FACTORY = "0"  # the version of the image that a device leaves the factory with


@dataclass(frozen=True, slots=True)
class VirtualDevice:
    """`key` is the id of its device key."""

    name: str
    directory: Path
    key: str

    @property
    def config(self) -> Path:
        return self.directory / "agent.toml"

    @property
    def slots(self) -> tuple[Path, Path]:
        return self.directory / "slot-a.img", self.directory / "slot-b.img"

    def running_version(self) -> str | None:
        """Return the version of the image in the slot that the bootloader says is running."""
        try:
            copies = [json.loads(file.read_bytes()) for file in self._environment()]
        except (OSError, ValueError):
            return None  # written at this moment; it is asked again
        if not copies:
            return None
        newest = max(copies, key=lambda copy: int(copy["sequence"]))
        return version_of(self.slots["ab".index(newest["variables"]["running"])])

    def held_versions(self) -> frozenset[str]:
        """Return the versions of the images in both slots."""
        return frozenset(filter(None, map(version_of, self.slots)))

    def _environment(self) -> list[Path]:
        return sorted((self.directory / "boot").glob("env.*.json"))


def make_device(
    directory: Path, name: str, *, tree: str, gateway: str, ca: Path, root: Path
) -> VirtualDevice:
    """Make the device as the factory would: slots, key, configuration."""
    state = directory / "state"
    state.mkdir(parents=True, mode=0o700)
    (directory / "boot").mkdir()
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key_file = os.open(state / "device.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(key_file, "wb") as file:
        file.write(pem)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    device = VirtualDevice(name, directory, key_id(public))
    write_image(device.slots[0], FACTORY, health="good")
    device.slots[1].write_bytes(bytes(SIZE))
    device.config.write_text(_config(name, tree=tree, gateway=gateway, ca=ca, root=root))
    return device


def _config(name: str, *, tree: str, gateway: str, ca: Path, root: Path) -> str:
    """Return agent.toml. A JSON string is a TOML string."""
    return f"""\
[device]
name = {json.dumps(name)}
state = "state"
facts = {{ hardware = "virtual" }}

[server]
tree = {json.dumps(tree)}
gateway = {json.dumps(gateway)}
ca = {json.dumps(str(ca))}

[trust]
root = {json.dumps(str(root))}

[boot]
bootloader = "file"
directory = "boot"
slots = {{ a = "slot-a.img", b = "slot-b.img" }}

[machine]
reboot = "exit"

[poll]
interval = 1
initial_delay = 1

[reports]
heartbeat = 10
"""


def start_devices(
    devices: Sequence[VirtualDevice], log: Path, *, agent: str = AGENT
) -> subprocess.Popen[bytes]:
    """Start the supervisor over all `devices`, in a process group of its own."""
    command = [sys.executable, "-m", "device_agent.supervisor", "--agent", agent]
    command += [str(device.config) for device in devices]
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
