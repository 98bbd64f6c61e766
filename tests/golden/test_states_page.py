"""docs/state-machine.md says what the tables say."""

from pathlib import Path

from device_agent.core.diagram import page

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"


def test_the_page_of_the_state_machine_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"
