"""The arm64 board with systemd: its first process, and the units that our documentation shows."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.qemu.cache import SOURCE
from tests.qemu.init import Init
from tests.qemu.uboot import UBootKind

GUEST = Path(__file__).parent / "guest_systemd"
UNITS = "/etc/systemd/system"
AGENT = "fleetcd-agent.service"
TARGETS = (
    *("basic", "final", "local-fs", "multi-user", "network", "paths", "reboot", "shutdown"),
    *("slices", "sockets", "swap", "sysinit", "timers", "umount"),
)
SERVICES = ("systemd-journald.service", "systemd-journald.socket", "systemd-reboot.service")
PROGRAMS = ("systemd", "systemd-journald", "systemd-shutdown")
# A slot is small, and this board does not do what these are there for.
LIBRARIES = (
    *("cryptsetup", "engines-3", "libfdisk", "libgssapi_krb5", "libk5crypto", "libkrb5"),
    *("libp11-kit", "libsemanage", "libsmartcols", "libsystemd.so"),
)
PYTHON = ("idlelib", "lib-dynload/_codecs_*", "lib-dynload/_test*", "turtle*", "unittest", "xml")

_BLOCK = re.compile(r"^```ini\n(.*?)^```", re.DOTALL | re.MULTILINE)


def documented() -> dict[str, bytes]:
    """Return what the pages show, by the path in the first line of each block of watchdog.md."""
    (agent,) = (block for block in _blocks("operations.md") if "fleetcd-agent daemon" in block)
    shown = {f"{UNITS}/{AGENT}": agent.encode()}
    for block in _blocks("integration/watchdog.md"):
        head, _, text = block.partition("\n")
        shown[head.removeprefix("# ")] = text.encode()
    return shown


def _blocks(page: str) -> list[str]:
    return _BLOCK.findall((SOURCE / "docs" / page).read_text(encoding="utf-8"))


def _of_the_board() -> dict[str, bytes]:
    """Return what somebody who makes an image has anyway."""
    units = {f"{UNITS}/{name}": _read(name) for name in ("board.service", "story.service")}
    return units | {
        "/usr/lib/board.sh": _read("board.sh"),
        "/etc/systemd/journald.conf.d/console.conf": _read("console.conf"),
        "/etc/machine-id": b"",  # another one at each start
        "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "/etc/group": b"root:x:0:\n",
    }


def _read(name: str) -> bytes:
    return (GUEST / name).read_bytes()


def _enabled() -> dict[str, str]:
    """Return the links that `systemctl enable` would make, and those that Debian brings."""
    ours = {
        "multi-user": ("board.service", "story.service", AGENT),
        "timers": ("fleetcd-trial-deadline.timer",),
    }
    links = {
        f"{UNITS}/{target}.target.wants/{unit}": f"{UNITS}/{unit}"
        for target, units in ours.items()
        for unit in units
    }
    vendors = {
        "default.target": "multi-user.target",
        "sockets.target.wants/systemd-journald.socket": "systemd-journald.socket",
        "sysinit.target.wants/systemd-journald.service": "systemd-journald.service",
    }
    links |= {f"{UNITS}/{path}": f"/lib/systemd/system/{unit}" for path, unit in vendors.items()}
    return links | {f"/bin/{name}": "busybox" for name in ("grep", "kill", "umount")}


SYSTEMD = Init(
    GUEST / "init",
    agent="",  # systemd keeps the watchdog, and `systemctl reboot` is the agent's default
    left_out=(
        *(f"./*lib/*-linux-gnu/{name}*" for name in LIBRARIES),
        *(f"./usr/lib/python3.11/{name}" for name in PYTHON),
    ),
    unpacked=(
        *(f"./lib/systemd/{name}" for name in PROGRAMS),
        *(f"./lib/systemd/system/{name}.target" for name in TARGETS),
        *(f"./lib/systemd/system/{name}" for name in SERVICES),
    ),
    files=tuple((documented() | _of_the_board()).items()),
    links=tuple(_enabled().items()),
)


@dataclass(frozen=True, slots=True)
class SystemdKind(UBootKind):
    """The same board, whose first process is systemd."""

    name: str = "systemd"
    packages: tuple[str, ...] = ("linux-image-cloud-arm64", "libubootenv-tool", "systemd")
    programs: tuple[str, ...] = ("fw_printenv", "fw_setenv", "systemctl")
    init: Init = SYSTEMD
