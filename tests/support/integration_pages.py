"""docs/integration, read by its tests: pages, their blocks, the Yocto layer, configurations."""

import re
from pathlib import Path

from device_agent.settings import Settings, parse

ROOT = Path(__file__).parents[2]
INTEGRATION = ROOT / "docs" / "integration"
PAGES = tuple(sorted(INTEGRATION.rglob("*.md")))
LAYER = INTEGRATION / "yocto" / "meta-fleetcd"
AGENT_FILES = LAYER / "recipes-fleetcd" / "fleetcd-agent" / "files"
SERIAL = "10000000abcdef01"
LEAST = '[device]\nname = "board-1"\n[server]\ntree = "https://t"\n[trust]\nroot = "root.json"\n'


def blocks(page: Path, language: str = r"\w*") -> list[str]:
    """Return the fenced blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def loaded(text: str) -> Settings:
    """Load the sections of an agent.toml; those that cannot be left out are filled in."""
    text = text.replace("@SERIAL@", SERIAL)
    return parse((text if "[device]" in text else LEAST + text).encode(), Path("/etc/agent.toml"))
