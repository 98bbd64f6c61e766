"""The Yocto layer, which is not built here: well-formed, and it names what exists."""

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.integration_pages import (
    AGENT_FILES,
    INTEGRATION,
    LAYER,
    ROOT,
    SERIAL,
    blocks,
    loaded,
)

AGENT_RECIPE = AGENT_FILES.parent / "fleetcd-agent_0.1.0.bb"
BOOT_RECIPE = LAYER / "recipes-bsp" / "fleetcd-boot" / "fleetcd-boot.bb"
BOOT_SCRIPT = INTEGRATION / "uboot" / "boot.cmd"
BITBAKE = sorted([*LAYER.rglob("*.bb"), LAYER / "conf" / "layer.conf"])
YOURS = {"root.json", "ca.pem"}  # of everybody's own server

_FUNCTION = re.compile(r"^\w+\(\) \{\n(.*?)^\}\n", re.DOTALL | re.MULTILINE)
_ASSIGNMENT = re.compile(r'[\w:${}-]+(\[\w+\])? (\??\??=|:=|\+=|\.=) "[^"]*"')
_STATEMENT = re.compile(r"inherit [\w -]+|addtask \w+ (after|before) [\w ]+|#.*|")


def agent_archive() -> ModuleType:
    """Return what `make agent` runs."""
    spec = importlib.util.spec_from_file_location("archive", ROOT / ".ci" / "agent_archive.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sources(recipe: Path) -> set[str]:
    (value,) = re.findall(r'^SRC_URI = "(.*?)"', recipe.read_text(), re.DOTALL | re.MULTILINE)
    return set(re.findall(r"file://(\S+)", value))


def searched(recipe: Path) -> Path:
    """Return the directory of the checkout that a recipe takes its files from."""
    (path,) = re.findall(r'^FILESEXTRAPATHS:prepend := "(.*):"', recipe.read_text(), re.MULTILINE)
    return Path(path.replace("${THISDIR}", str(recipe.parent))).resolve()


def setting(name: str) -> str:
    """Return a setting of boot.cmd."""
    found = re.search(rf"^{name}=(\S+)$", BOOT_SCRIPT.read_text(), re.MULTILINE)
    assert found
    return found[1]


def settings_of(unit: str) -> set[str]:
    """Return the lines of a unit that set something."""
    return {line for line in unit.splitlines() if "=" in line and not line.startswith("#")}


def test_the_first_lines_say_that_it_was_not_built() -> None:
    first = (INTEGRATION / "yocto" / "README.md").read_text().splitlines()[:4]
    assert "This layer was never built" in "\n".join(first)
    assert 'LAYERSERIES_COMPAT_fleetcd = "scarthgap"' in (LAYER / "conf/layer.conf").read_text()


@pytest.mark.parametrize("file", BITBAKE, ids=lambda file: file.name)
def test_a_recipe_has_quoted_assignments_and_functions_and_nothing_else(file: Path) -> None:
    text = _FUNCTION.sub("", file.read_text()).replace("\\\n", "")
    wrong = [
        line
        for line in text.splitlines()
        if not _ASSIGNMENT.fullmatch(line) and not _STATEMENT.fullmatch(line)
    ]
    assert not wrong


@pytest.mark.parametrize("file", BITBAKE, ids=lambda file: file.name)
def test_the_functions_of_a_recipe_are_shell(file: Path) -> None:
    for body in _FUNCTION.findall(file.read_text()):
        subprocess.run(["/bin/sh", "-n"], input=body.encode(), check=True, timeout=10)


def test_no_file_has_tabs_or_spaces_at_the_end_of_a_line() -> None:
    files = [path for path in LAYER.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if re.search(r"\t|[ ]$", path.read_text(), re.MULTILINE)]


def test_the_agents_files_are_those_that_make_agent_writes_and_those_of_the_layer() -> None:
    archive = agent_archive()
    built = {archive.ARCHIVE, archive.MODULES.parts[0]}
    assert searched(AGENT_RECIPE) == ROOT / "dist"
    assert built <= sources(AGENT_RECIPE)
    lying = {path.name for path in AGENT_FILES.iterdir()}
    assert sources(AGENT_RECIPE) - built - YOURS == lying - YOURS


def test_the_modules_that_are_installed_are_all_that_make_agent_writes() -> None:
    shipped = ROOT / "device_agent" / "modules" / "shipped"
    programs = {path.name for path in shipped.iterdir() if path.is_file()} - {"__init__.py"}
    (named,) = re.findall(r"for module in (.*); do", AGENT_RECIPE.read_text())
    assert set(named.split()) == programs
    assert f"{agent_archive().MODULES}/fleetcd_modules/*.py" in AGENT_RECIPE.read_text()


def test_everything_that_is_fetched_is_installed() -> None:
    text = AGENT_RECIPE.read_text()
    body = text[text.index("do_install()") :]
    assert all(name in body for name in sources(AGENT_RECIPE))


def test_the_boot_script_is_the_one_of_the_repository_made_as_its_head_says() -> None:
    assert sources(BOOT_RECIPE) == {BOOT_SCRIPT.name}
    assert searched(BOOT_RECIPE) == BOOT_SCRIPT.parent
    (command,) = re.findall(r"^ *(mkimage .*)$", BOOT_RECIPE.read_text(), re.MULTILINE)
    assert command in BOOT_SCRIPT.read_text()


def test_the_boot_variables_are_written_to_where_agent_and_boot_script_look() -> None:
    settings = loaded((AGENT_FILES / "agent.toml.in").read_text())
    unit = (AGENT_FILES / "fleetcd-trial-over.service").read_text()
    (asked,) = re.findall(r"for copy in 0 1; do .*fw_printenv -c (\S+) ", unit)
    copies = [Path(asked.replace("$copy", copy)) for copy in "01"]
    assert copies == list(settings.boot.environments)
    found = [(AGENT_FILES / path.name).read_text().split() for path in settings.boot.environments]
    disk = f"/dev/mmcblk0p{setting('fleetcd_environment')}"
    assert found == [[disk, "0x0", "0x4000"], [disk, "0x80000", "0x4000"]]
    text = BOOT_RECIPE.read_text()
    assert "mkenvimage -s 0x4000" in text
    (blocksize, seek) = re.findall(r"bs=(\d+) seek=(\d+)", text)[0]
    assert int(blocksize) * int(seek) == 0x80000
    script = BOOT_SCRIPT.read_text()
    assert "env import -c ${fleetcd_ram} 0x4000" in script
    assert "setexpr fleetcd_at_1 ${fleetcd_at_0} + 0x400\n" in script  # blocks of 512 bytes


def test_the_disk_has_the_partitions_of_boot_script_and_agent_in_their_order() -> None:
    settings = loaded((AGENT_FILES / "agent.toml.in").read_text())
    lines = (LAYER / "wic" / "fleetcd-uboot.wks").read_text().splitlines()
    parts = [line for line in lines if line.startswith("part ")]
    names = [re.findall(r"--(?:label|part-name) (\S+)", line)[0] for line in parts]
    assert names == ["boot", "variables", "root-a", "root-b", "data"]
    for slot in ("a", "b"):
        number = names.index(f"root-{slot}") + 1
        assert setting(f"fleetcd_part_{slot}") == str(number)
        assert settings.boot.slots[slot] == Path(f"/dev/mmcblk0p{number}")
    assert (
        "fleetcd-variables.bin" in parts[1] and "fleetcd-variables.bin" in BOOT_RECIPE.read_text()
    )
    sizes = [re.findall(r"--fixed-size (\S+)", line)[0] for line in parts]
    assert sizes[2] == sizes[3]


def test_the_image_names_recipes_and_files_of_the_layer() -> None:
    text = (LAYER / "recipes-core" / "images" / "fleetcd-image.bb").read_text()
    (disk,) = re.findall(r'^WKS_FILE = "(.*)"', text, re.MULTILINE)
    assert (LAYER / "wic" / disk).exists()
    assert "fleetcd-agent" in text and f"{BOOT_RECIPE.stem}:do_deploy" in text
    assert f"/boot/{Path(setting('fleetcd_kernel')).name}" in text


def test_the_units_are_those_of_the_pages() -> None:
    operations = blocks(ROOT / "docs" / "operations.md", "ini")
    watchdog = blocks(INTEGRATION / "watchdog.md", "ini")
    (service,) = (text for text in operations if "fleetcd-agent daemon" in text)
    (more,) = (text for text in watchdog if "StartLimitBurst" in text)
    unit = settings_of((AGENT_FILES / "fleetcd-agent.service").read_text())
    assert settings_of(service) | settings_of(more) <= unit
    for name in ("trial-over.service", "trial-deadline.timer", "agent-again.timer"):
        (shown,) = (
            text for text in watchdog if text.startswith(f"# /etc/systemd/system/fleetcd-{name}")
        )
        assert settings_of(shown) <= settings_of((AGENT_FILES / f"fleetcd-{name}").read_text())


def configured(root: Path, serial: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run `configure` on a board with that serial number, whose files lie below `root`."""
    for name in ("sys/firmware/devicetree/base", "etc/fleetcd", "run"):
        (root / name).mkdir(parents=True)
    (root / "sys/firmware/devicetree/base/serial-number").write_bytes(serial)
    (root / "etc/fleetcd/agent.toml.in").write_text((AGENT_FILES / "agent.toml.in").read_text())
    script = re.sub(r"/(?=sys/|etc/|run/)", f"{root}/", (AGENT_FILES / "configure").read_text())
    argv = ["/bin/sh", "-c", script]
    return subprocess.run(argv, capture_output=True, timeout=10, check=False)


def test_the_serial_number_becomes_the_devices_name(tmp_path: Path) -> None:
    assert configured(tmp_path, SERIAL.upper().encode() + b"\0").returncode == 0
    written = (tmp_path / "run" / "fleetcd" / "agent.toml").read_text()
    assert loaded(written).device.name == f"kiosk-{SERIAL}"


@pytest.mark.parametrize("serial", [b"\0", b"To be filled by O.E.M.\n", b"None\n", b"a/b"])
def test_what_is_no_serial_number_becomes_no_name(tmp_path: Path, serial: bytes) -> None:
    done = configured(tmp_path, serial)
    assert done.returncode == 1
    assert b"no serial number" in done.stderr
    assert not (tmp_path / "run" / "fleetcd").exists()
