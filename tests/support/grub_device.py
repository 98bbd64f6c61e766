"""A device that starts by GRUB: docs/integration/grub/grub.cfg told in Python, and run by GRUB.

`boot` is the script's logic, for rigs that start often; `Emulated` runs the script itself under
grub-emu on a disk image. tests/unit/test_boot_grub_script.py holds the one against the other.
"""

import os
import re
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from device_agent.boot.grub_block import CHECK, CHECKED, SEQUENCE, SIZE, Copy, parse, seal

SCRIPT = Path(__file__).parents[2] / "docs" / "integration" / "grub" / "grub.cfg"
NAMES = ("fleetcd.env.0", "fleetcd.env.1")
PRIMARY, TRIAL, LEFT = CHECKED
BOTH = frozenset({"a", "b"})

_MIB = 1024 * 1024
_WITHIN = 20.0  # seconds
_LINUX = """\
function linux {
  for word in "$@"; do echo "argument $word"; done
  if [ -e "$1" ]; then echo "kernel is there"; else false; fi
}
"""


def settled(primary: str = "a", *, sequence: int = 1, trial: str = "none", left: int = 0) -> bytes:
    """Return the block of a device with these variables."""
    return seal(Copy(sequence, {PRIMARY: primary, TRIAL: trial, LEFT: str(left)}))


def boot(copies: tuple[Path, Path], loadable: Collection[str] = BOTH) -> str | None:
    """Return the slot that grub.cfg starts; None when neither can be loaded."""
    found = [_load(path) for path in copies]
    counting = 1 if _sequence(found[1]) > _sequence(found[0]) else 0
    now = found[counting] or {}
    order = ("b", "a") if now.get(PRIMARY) == "b" else ("a", "b")
    left = now.get(LEFT, "")
    if now.get(TRIAL) == order[1] and re.fullmatch("[1-9]", left):
        counted = {**now, LEFT: str(int(left) - 1)}
        counted[CHECK] = _check(counted)
        if _save(copies[counting], counted):
            order = order[::-1]
    slot = next((slot for slot in order if slot in loadable), None)
    if slot and found == [None, None]:
        for path in copies:
            _save(path, parse(settled(slot)) or {})
    return slot


def _load(path: Path) -> Mapping[str, str] | None:
    variables = parse(path.read_bytes()) if path.is_file() else None
    intact = variables is not None and variables.get(CHECK) == _check(variables)
    return variables if intact else None


def _sequence(variables: Mapping[str, str] | None) -> int:
    return int(variables[SEQUENCE]) if variables else 0


def _check(variables: Mapping[str, str]) -> str:
    return ":".join(variables.get(name, "") for name in (SEQUENCE, *CHECKED))


def _save(path: Path, variables: Mapping[str, str]) -> bool:
    """As save_env does it: into a file that is there, has the signature, and has no holes."""
    data = path.read_bytes() if path.is_file() else b""
    if parse(data) is None or bytes(SIZE) in data:
        return False
    text = data.decode("latin-1").rstrip("#")
    if not text.endswith("\n"):
        return False
    for name in (SEQUENCE, *CHECKED, CHECK):
        line = f"{name}={variables[name]}\n"
        text, found = re.subn(rf"^{name}=.*\n", line, text, count=1, flags=re.MULTILINE)
        text += "" if found else line
    path.write_bytes(text.encode("latin-1").ljust(len(data), b"#"))
    return True


@dataclass(frozen=True, slots=True)
class Started:
    """The slot that GRUB started first, its kernel's arguments, and all that GRUB printed."""

    slot: str | None
    arguments: tuple[str, ...]
    printed: str


class Emulated:
    """A disk with a boot partition (ext2) and two slots, and GRUB 2.06 as grub-emu runs it.

    grub-emu has no `linux`: one of ours looks whether the kernel is there, and `boot` fails, so
    that the script goes on as if the kernel had not come up.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._image = directory / "disk.img"
        self._grub = directory / "grub"
        self._grub.mkdir()
        (directory / "device.map").write_text(f"(hd0) {self._image}\n")
        script = SCRIPT.read_text().replace("sleep 5\n", "")
        (self._grub / "grub.cfg").write_text(_LINUX + script)
        with self._image.open("wb") as file:
            file.truncate(14 * _MIB)
        table = "label: gpt\n" + "".join(
            f"start={start * 2048},size={size * 2048}\n"
            for start, size in ((1, 1), (2, 2), (4, 4), (8, 4))
        )
        _tool("sfdisk", "-q", str(self._image), given=table)

    def start(self, copies: tuple[Path, Path], loadable: Collection[str] = BOTH) -> Started:
        """Start the device with `copies` on its disk; they are as GRUB left them afterwards."""
        self._write_disk(copies, loadable)
        printed = self._run_grub()
        for path, name in zip(copies, NAMES, strict=True):
            if path.exists():
                path.write_bytes(self._read_back(name))
        first, loaded, _ = printed.partition("kernel is there")
        arguments = tuple(re.findall(r"^argument (.*)$", first, re.MULTILINE)) if loaded else ()
        slots = [word[-1] for word in arguments if word.startswith("fleetcd.slot=")]
        return Started(slots[-1] if slots else None, arguments, printed)

    def _write_disk(self, copies: tuple[Path, Path], loadable: Collection[str]) -> None:
        environment = {
            name: path.read_bytes()
            for path, name in zip(copies, NAMES, strict=True)
            if path.exists()
        }
        self._make_filesystem("ext2", 2, 2, environment)
        for slot, start in (("a", 4), ("b", 8)):
            kernel = {"boot/vmlinuz": b"kernel"} if slot in loadable else {}
            self._make_filesystem("ext4", start, 4, kernel)

    def _make_filesystem(self, kind: str, start: int, size: int, files: dict[str, bytes]) -> None:
        tree = self._directory / f"tree-{kind}-{start}"
        for path in tree.rglob("*") if tree.exists() else ():
            if path.is_file():
                path.unlink()
        (tree / "boot").mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (tree / name).write_bytes(data)
        offset = f"offset={start * _MIB}"
        _tool(
            *("mke2fs", "-q", "-t", kind, "-d", str(tree), "-E", offset),
            *(str(self._image), f"{size}m"),
        )

    def _run_grub(self) -> str:
        raw = _tool(
            *("grub-emu", "-d", str(self._grub), "-r", "host"),
            *("-m", str(self._directory / "device.map")),
        )
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", raw.decode("ascii", "replace"))

    def _read_back(self, name: str) -> bytes:
        return _tool("debugfs", "-R", f"cat /{name}", f"{self._image}?offset={2 * _MIB}")


def _tool(*argv: str, given: str = "") -> bytes:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        argv,
        input=given.encode(),
        capture_output=True,
        timeout=_WITHIN,
        check=True,
        env={"PATH": path, "TERM": "dumb", "LC_ALL": "C"},
    )
    return done.stdout
