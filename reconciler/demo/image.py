"""The demo's root filesystem images: a readable first line, then bytes as of a real one."""

import hashlib
from pathlib import Path

SIZE = 1024 * 1024  # bytes of a slot, and of an image
MARK = "fleetcd demo image"


def write_image(path: Path, version: str, *, health: str) -> None:
    """Write the image of `version`; its health check passes when `health` is "good"."""
    head = f"{MARK} version={version} health={health}\n".encode()
    noise = bytearray()
    block = head
    while len(noise) < SIZE // 2:
        block = hashlib.sha256(block).digest()
        noise += block
    path.write_bytes((head + noise).ljust(SIZE, b"\0"))


def version_of(slot: Path) -> str | None:
    """Return the version of the image in a slot file, or None for an empty or foreign slot."""
    with slot.open("rb") as file:
        first = file.read(256).split(b"\n", 1)[0].decode("ascii", "replace")
    if not first.startswith(MARK):
        return None
    fields = dict(word.split("=", 1) for word in first.split() if "=" in word)
    return fields.get("version")


HEALTH_CHECK = "command:sh -c 'head -n 1 \"$FLEETCD_SLOT\" | grep -aq health=good'"
