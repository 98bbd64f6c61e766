"""docs/mender-artifacts.md shows a configuration that the agent reads, and keys that exist."""

import re
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path

from device_agent.settings import Settings, parse

PAGE = Path(__file__).parents[2] / "docs" / "mender-artifacts.md"


def known_keys() -> set[str]:
    found = set()
    for section, kind in typing.get_type_hints(Settings).items():
        if is_dataclass(kind):
            found |= {f"{section}.{item.name}" for item in fields(kind)}
    return found


def test_the_configuration_on_the_page_is_read() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    settings = parse(text.encode(), Path("/etc/fleetcd/agent.toml"))
    assert settings.device.facts_file == Path("/var/lib/mender/device_type")
    assert settings.artifacts.verify_keys == (Path("/etc/mender/artifact-verify-key.pem"),)


def test_the_keys_on_the_page_exist() -> None:
    sections = "modules|scripts|artifacts|device|poll"
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)[` ]", PAGE.read_text()))
    assert len(named) > 5
    assert named <= known_keys()
