"""docs/integration: configurations load, commands and options exist, links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device_agent import cli as agent
from device_agent.app_device import bootloader
from device_agent.boot.environment_bootloader import EnvironmentBootloader
from reconciler.cli.commands import app as fleetcd
from tests.support.integration_pages import INTEGRATION, PAGES, blocks, loaded

CONFIGURATIONS = [(page, text) for page in PAGES for text in blocks(page, "toml")]
_ENDS = re.compile(r"&&|\|\||[|;!\]]|\bthen\b|\bif\b|=/usr/bin/")  # of a command, in a line of sh


def command_lines() -> Iterator[tuple[Path, list[str]]]:
    """Yield the words of every call of `fleetcd` or `fleetcd-agent` in a block of a page."""
    for page in PAGES:
        indented = re.findall(r"^    (.*)$", page.read_text(), re.MULTILINE)
        for line in "\n".join([*blocks(page), *indented]).replace("\\\n", " ").splitlines():
            for part in _ENDS.split(line):
                if re.match(r"\s*fleetcd(-agent)? ", part):
                    yield page, shlex.split(part, comments=True)


LINES = list(command_lines())


def accepts_agent(words: list[str]) -> bool:
    try:
        agent._parser().parse_args(words)  # main() would do it
    except SystemExit as leaving:
        return leaving.code == 0
    return True


def accepts_fleetcd(words: list[str]) -> bool:
    """Say whether the words are a command with options that it takes: else there is no help."""
    return CliRunner().invoke(fleetcd, [*words, "--help"]).exit_code == 0


def accepts(words: list[str]) -> bool:
    return (accepts_fleetcd if words[0] == "fleetcd" else accepts_agent)(words[1:])


@pytest.mark.parametrize(("page", "text"), CONFIGURATIONS)
def test_a_configuration_on_a_page_is_one_that_the_agent_starts_with(page: Path, text: str) -> None:
    settings = loaded(text)
    if settings.boot.bootloader in ("uboot", "grub"):
        assert isinstance(bootloader(settings), EnvironmentBootloader)


def test_the_pages_show_a_configuration_for_each_bootloader_of_boards() -> None:
    boots = [loaded(text).boot for _, text in CONFIGURATIONS]
    shown = {(boot.bootloader, boot.variables) for boot in boots}
    assert shown >= {("uboot", "fleetcd"), ("uboot", "mender"), ("grub", "fleetcd")}


@pytest.mark.parametrize(("page", "words"), LINES, ids=[shlex.join(words) for _, words in LINES])
def test_a_command_on_a_page_exists_and_takes_its_options(page: Path, words: list[str]) -> None:
    assert accepts(words), f"{page.name}: {shlex.join(words)}"


@pytest.mark.parametrize(
    "line",
    [
        "fleetcd release adds kiosk-os 1 file",
        "fleetcd release add kiosk-os 1 file --healthcheck network",
        "fleetcd-agent chek",
        "fleetcd-agent show --json",
    ],
)
def test_a_command_or_an_option_that_does_not_exist_is_noticed(line: str) -> None:
    assert not accepts(shlex.split(line))


def test_the_pages_show_the_commands_that_bring_a_board_up() -> None:
    shown = {tuple(words[:3]) for _, words in LINES}
    assert {("fleetcd", "release", "add"), ("fleetcd", "device", "accept")} <= shown
    assert {"check", "show"} <= {words[1] for _, words in LINES}


def test_commands_in_the_text_exist() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for line in re.findall(r"`(fleetcd(?:-agent)? [a-z][^`…]*)`", text):
            words = shlex.split(line)
            assert accepts(words), f"{page.name}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(INTEGRATION)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in map(anchor, titles), target


def anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_every_page_is_in_the_index() -> None:
    index = INTEGRATION / "README.md"
    linked = {index.parent / path for path in re.findall(r"\]\(([^)#]+)", index.read_text())}
    assert set(PAGES) - {index} <= {
        path / "README.md" if path.is_dir() else path for path in linked
    }
