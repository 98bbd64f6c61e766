"""Root filesystem images: Debian's packages, unpacked, and the agent's archive.

Without mounts, loop devices or emulation: nothing of the other processor is run here.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.qemu.cache import SOURCE, kept, one_at_a_time
from tests.qemu.init import Init
from tests.qemu.kind import Kind
from tests.qemu.partitions import SLOT
from tests.qemu.programs import run

PACKAGES = ("busybox-static", "zstd", "python3", "python3-cryptography")
# What the packages bring and a device with this little does not use.
LEFT_OUT = (
    *("./dev/*", "./boot/*", "./lib/modules/*", "./usr/share/*", "./var/*", "./usr/lib/klibc"),
    *("./lib/udev", "./lib/systemd", "./bin/udevadm", "./etc/*", "./usr/lib/linux-image*"),
    *(
        "./usr/lib/*-linux-gnu/perl*",
        "./usr/lib/*-linux-gnu/gconv",
    ),
    *("./usr/lib/*-linux-gnu/libstdc++*", "./usr/lib/*-linux-gnu/libdb-*"),
    *("./lib/*-linux-gnu/security", "./usr/lib/apt"),
    *(f"./usr/lib/python3.11/{name}" for name in ("pydoc_data", "test", "lib2to3", "ensurepip")),
)
# In the order in which they are loaded; NVMe and ext4 are built into this kernel.
MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci"),
    *("failover", "net_failover", "virtio_net", "watchdog"),
)
WATCHDOG = "softdog"  # loaded by init itself, with its time
# Of all that packages bring, what is needed; a kind of board may name more.
PROGRAMS = ("busybox", "python3", "python3.11", "zstd")
COMMANDS = (
    "cat",
    "insmod",
    "ip",
    "mkdir",
    "mount",
    "reboot",
    "sed",
    "sh",
    "sleep",
    "sync",
    "test",
)  # of busybox
DIRECTORIES = ("data", "dev", "etc/fleetcd", "proc", "run", "sys", "tmp", "var", "boot/fleetcd")
GUEST = Path(__file__).parent / "guest"


def rootfs(kind: Kind, archive: Path) -> Path:
    """Return an image with the agent's `archive`, but no configuration: see personal()."""
    packages = debian(kind)
    code = Path(__file__).read_bytes()
    inputs = [packages.name.encode(), str(SLOT).encode(), code, archive.read_bytes()]
    inputs += [path.read_bytes() for path in sorted(GUEST.iterdir())]
    init = kind.init
    inputs += [init.program.read_bytes(), repr(init.files + init.links).encode()]
    inputs += ["\n".join(kind.programs + init.left_out + init.unpacked).encode()]
    made = f"rootfs_{kind.name}.ext4"
    return kept(made, inputs, lambda image: _make(image, kind, packages, archive))


def debian(kind: Kind) -> Path:
    """Return an archive of Debian's packages as they lie on a disk before they are configured."""
    argv = ["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={kind.architecture}"]
    argv += [f"--include={','.join(PACKAGES + kind.packages)}", "bookworm"]
    made = f"debian_{kind.name}.tar"
    return kept(made, ["\n".join(argv).encode()], lambda tar: run(*argv, tar))


def personal(image: Path, files: Mapping[str, bytes], target: Path) -> None:
    """Make `target` a copy of `image` with `files`, by absolute path; they must not be there yet.

    Raises RuntimeError when they do not fit.
    """
    run("cp", "--sparse=always", image, target)
    with TemporaryDirectory() as scratch:
        commands = []
        for number, (path, content) in enumerate(files.items()):
            source = Path(scratch) / str(number)
            source.write_bytes(content)
            commands.append(f"write {source} {path}")
        script = Path(scratch) / "commands"
        script.write_text("\n".join(commands) + "\n")
        run("debugfs", "-w", "-f", script, target)
        for number, path in enumerate(files):
            back = Path(scratch) / f"{number}.back"
            run("debugfs", "-R", f"dump {path} {back}", target)
            if back.read_bytes() != files[path]:
                raise RuntimeError(f"{path} could not be written into {target}")


def _make(image: Path, kind: Kind, packages: Path, archive: Path) -> None:
    with TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT + kind.init.left_out]
        run("tar", "-C", root, "-xf", packages, *left_out)
        for place in ("bin", "sbin", "usr/bin", "usr/sbin"):
            for program in (root / place).iterdir():
                if program.name not in PROGRAMS + kind.programs:
                    program.unlink()
        for name in DIRECTORIES:
            (root / name).mkdir(parents=True, exist_ok=True)
        _kernel(root, packages, Path(scratch))
        for name in COMMANDS:
            (root / "bin" / name).symlink_to("busybox")
        (root / "var" / "lock").symlink_to("/run/lock")
        _start(root, packages, kind.init)
        _install(archive, root / "usr" / "bin" / "fleetcd-agent")
        modules = root / "usr" / "share" / "fleetcd" / "modules" / "v3"
        shutil.copytree(archive.parent / "modules" / "v3", modules)
        _compile(root)
        argv = ["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-O", "^has_journal"]
        run(*argv, "-E", "root_owner=0:0", "-d", root, image, f"{SLOT // 1024}K")


def _kernel(root: Path, packages: Path, scratch: Path) -> None:
    """Put the kernel to where the boot script loads it from, and its modules side by side."""
    whole = scratch / "kernel"
    whole.mkdir()
    run("tar", "-C", whole, "-xf", packages, "./boot", "./lib/modules")
    (kernel,) = (whole / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, root / "boot" / "vmlinuz")
    (root / "lib" / "modules").mkdir(parents=True, exist_ok=True)
    for name in (*MODULES, WATCHDOG):
        (module,) = whole.rglob(f"{name}.ko")
        shutil.copy(module, root / "lib" / "modules")
    (root / "lib" / "modules" / "order").write_text("\n".join(MODULES) + "\n")


def _start(root: Path, packages: Path, init: Init) -> None:
    """Put in what starts everything else."""
    _install(init.program, root / "sbin" / "init")
    if init.unpacked:
        run("tar", "-C", root, "-xf", packages, "--wildcards", *init.unpacked)
    for path, content in init.files:
        _place(root, path).write_bytes(content)
    for path, aim in init.links:
        _place(root, path).symlink_to(aim)


def _place(root: Path, path: str) -> Path:
    """Return where `path` of the device lies below `root`; its directory is there then."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _install(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    shutil.copy(source, target)
    target.chmod(0o755)


def _compile(root: Path) -> None:
    """Compile Python's library here: a device with a read-only root would do it at every start."""
    argv = ["/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    run(*argv, "-s", root, *(root / "usr" / "lib" / name for name in ("python3.11", "python3")))


def agent_archive() -> Path:
    """Build the agent's archive from this tree, as `make agent` does, and return where it is."""
    directory = SOURCE / "dist"
    with one_at_a_time():
        run(sys.executable, SOURCE / ".ci" / "agent_archive.py", directory)
    return directory / "fleetcd-agent.pyz"
