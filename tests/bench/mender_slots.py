"""Debian's mender-client on a device of two loop devices, which installs a root filesystem.

It runs in a mount namespace of its own, its root on the first slot, so that it finds the second one
by itself and nothing of the real system can change. Programs and libraries are the real ones; the
tools for boot variables are stubs over a file.
"""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figures import seconds
from tests.bench.loop_device import PATH, loop_device
from tests.support.differential import DEVICE_TYPE

ROOT_SIZE = 16 * 1024 * 1024  # bytes of the slot that runs: empty directories
WITHIN = 120.0  # seconds for one install
_PRINT = """#!/bin/sh
[ $# -gt 0 ] || exec cat {variables}
for name; do
    grep "^$name=" {variables} || {{ echo "## Error: \\"$name\\" not defined" >&2; exit 1; }}
done
"""
_SET = """#!/bin/sh
sed 's/[= ]/=/' >>{variables}
"""
_ENTER = """
set -e
mount {running} {root}
cd {root}
for one in /bin /sbin /lib*; do
    if [ -L $one ]; then cp -P $one .; else mkdir -p .$one; mount --bind $one .$one; fi
done
for one in /usr /etc /proc /dev /sys {place}; do
    mkdir -p .$one
    mount --bind $one .$one
done
mount --bind {place}/etc ./etc/mender
PATH={place}/bin:$PATH exec chroot . "$@"
"""


class MenderSlots:
    """The device below `place`: `running` holds its root, artifacts go to `other`."""

    def __init__(self, place: Path, running: Path, other: Path) -> None:
        self._place, self._number = place, running.name.removeprefix("loop")
        self._variables = place / "variables"
        for name in ("etc", "bin", "root"):
            (place / name).mkdir()
        (place / "etc" / "artifact_info").write_text("artifact_name=base-1\n")
        (place / "etc" / "mender.conf").write_text(
            f'{{"RootfsPartA": "{running}", "RootfsPartB": "{other}"}}'
        )
        for name, text in (("fw_printenv", _PRINT), ("fw_setenv", _SET)):
            tool = place / "bin" / name
            tool.write_text(text.format(variables=self._variables))
            tool.chmod(0o755)
        self._enter = _ENTER.format(
            running=running, root=place / "root", place=shlex.quote(str(place))
        )

    def install(self, artifact: Path) -> float:
        """Install `artifact` on a device that knows of none, and return the seconds it took."""
        data = self._place / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        (data / "device_type").write_text(f"device_type={DEVICE_TYPE}\n")
        boot = f"mender_boot_part={self._number}\nupgrade_available=0\nbootcount=0\n"
        self._variables.write_text(boot)
        mender = ("mender", "--no-syslog", "--log-level", "error", "--data", str(data))
        argv = ("unshare", "--mount", "sh", "-c", self._enter, "sh", *mender, "install")
        took = seconds(
            lambda: subprocess.run(
                (*argv, str(artifact)),
                capture_output=True,
                check=True,
                timeout=WITHIN,
                env={"PATH": PATH, "LANG": "C.UTF-8"},
            )
        )
        assert "upgrade_available=1" in self._variables.read_text()
        return took


@contextmanager
def mender_slots(place: Path, other: Path) -> Iterator[MenderSlots]:
    """Make the device in the new directory `place`."""
    place.mkdir()
    with loop_device(place / "running.img", ROOT_SIZE) as running:
        subprocess.run(("mkfs.ext4", "-q", str(running)), check=True, env={"PATH": PATH})
        yield MenderSlots(place, running, other)


def rootfs_artifact(image: Path, output: Path) -> Path:
    """Let Debian's mender-artifact pack `image` by gzip."""
    argv = ("mender-artifact", "write", "rootfs-image", "-t", DEVICE_TYPE, "-n", "kiosk-2")
    options = ("-f", str(image), "--compression", "gzip", "-o", str(output))
    subprocess.run((*argv, *options), check=True, capture_output=True)
    return output
