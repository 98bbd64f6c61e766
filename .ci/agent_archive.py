"""Writes the agent as one file that Python runs, and its Update Modules beside it.

Usage: .venv/bin/python .ci/agent_archive.py [DIRECTORY]     (default: dist)

The archive holds the agent and what is pure Python of its dependencies, as source and compiled; the
same input gives the same bytes. cryptography has compiled parts, hence the device brings it.
"""

import io
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).resolve().parent.parent
ARCHIVE = "fleetcd-agent.pyz"
MODULES = Path("modules") / "v3"
INTERPRETER = "/usr/bin/python3 -I"  # what the caller's environment and directory hold is not run
MAIN = b"import sys\n\nfrom device_agent.cli import main\n\nsys.exit(main())\n"
PACKAGES = ("device_agent", "schemas")
BUNDLED = ("tuf", "securesystemslib", "urllib3")
LEFT_OUT = (
    "device_agent/modules/shipped/fleetcd_modules/",  # run by programs, which lie on the disk
    "schemas/kinds/",  # what people write in Git; needs more than the standard library
    "securesystemslib/_vendor/ed25519/test_",
    "urllib3/contrib/emscripten/",
)
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip file knows
COMPILE = ("-m", "compileall", "-q", "-b", "--invalidation-mode", "unchecked-hash")


def main(arguments: list[str]) -> int:
    target = Path(arguments[0]) if arguments else SOURCE / "dist"
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        tree = Path(scratch) / "agent"
        for name, content in contents():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(content)
        compile_all(tree)
        (target / ARCHIVE).write_bytes(packed(tree))
    (target / ARCHIVE).chmod(0o755)
    shutil.rmtree(target / MODULES, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "__init__.py")
    shipped = SOURCE / "device_agent" / "modules" / "shipped"
    shutil.copytree(shipped, target / MODULES, ignore=ignored)
    sys.stdout.write(f"{target / ARCHIVE} and {target / MODULES}/\n")
    return 0


def contents() -> Iterator[tuple[str, bytes]]:
    """Yield the archive's files by name."""
    yield "__main__.py", MAIN
    yield "LICENSE", (SOURCE / "LICENSE").read_bytes()
    for package in PACKAGES:
        for path in (SOURCE / package).rglob("*.py"):
            name = path.relative_to(SOURCE).as_posix()
            if not name.startswith(LEFT_OUT):
                yield name, path.read_bytes()
    for package in BUNDLED:
        yield from dependency(package)


def dependency(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the code and the licences of an installed distribution, which must be pure Python."""
    for file in distribution(name).files or ():
        path = file.as_posix()
        if file.suffix in (".so", ".pyd"):
            sys.exit(f"{path} is compiled: {name} cannot be in an archive for every processor")
        wanted = file.suffix == ".py" or file.name.startswith("LICENSE") or file.name == "METADATA"
        if wanted and not path.startswith(LEFT_OUT):
            yield path, Path(str(file.locate())).read_bytes()


def compile_all(tree: Path) -> None:
    """Compile beside the sources: a device would compile them anew at each start.

    Another Python than this one's minor version runs the sources. A fresh process, since what is
    interned in a running one shows in the bytes.
    """
    argv = [sys.executable, "-I", *COMPILE, "-s", str(tree), str(tree)]
    subprocess.run(argv, check=True, timeout=300)


def packed(tree: Path) -> bytes:
    """Return the tree as an executable archive; its order and dates do not depend on the disk's."""
    archive = io.BytesIO()
    archive.write(b"#!" + os.fsencode(INTERPRETER) + b"\n")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for path in sorted(tree.rglob("*")):
            name = path.relative_to(tree).as_posix()
            if path.is_dir():  # Python finds a package without __init__.py by its directory
                entry = zipfile.ZipInfo(f"{name}/", LONG_AGO)
                entry.external_attr = (stat.S_IFDIR | 0o755) << 16
                file.writestr(entry, b"")
            else:
                entry = zipfile.ZipInfo(name, LONG_AGO)
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                file.writestr(entry, path.read_bytes())
    return archive.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
