"""What people read of a component set tells it from every other one."""

from dataclasses import replace

import pytest

from schemas.wire.types import ComponentRef, ComponentSet

DIGEST = "sha256:" + "a1" * 32
OS, APP = ComponentRef("kiosk-os@1.5.0", DIGEST), ComponentRef("kiosk-app@3", DIGEST)
SET = ComponentSet({"os": OS, "app": APP})


def test_components_are_named_in_order() -> None:
    assert str(SET) == "app=kiosk-app@3 os=kiosk-os@1.5.0"


def test_vars_and_config_show_by_a_short_digest() -> None:
    told = replace(SET, config={"base": DIGEST}, vars={"brightness": 80})
    assert str(told).startswith(f"{SET} config=")
    assert str(replace(SET, vars={"brightness": 80})) == f"{SET} vars=7bd621e5"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"vars": {"brightness": 80}}, {"vars": {"brightness": 40}}, id="vars"),
        pytest.param({"vars": {"on": True}}, {"vars": {"on": 1}}, id="types of vars"),
        pytest.param({"config": {"base": DIGEST}}, {"vars": {"base": DIGEST}}, id="config or vars"),
        pytest.param({"vars": {}}, {"vars": {"a": ""}}, id="none or an empty one"),
    ],
)
def test_sets_that_differ_in_config_or_vars_alone_read_differently(
    one: dict[str, object], other: dict[str, object]
) -> None:
    first = replace(SET, **one)  # type: ignore[arg-type]  # fields by name
    second = replace(SET, **other)  # type: ignore[arg-type]  # fields by name
    assert str(first) != str(second)
