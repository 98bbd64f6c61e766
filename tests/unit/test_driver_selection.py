"""What a deployment installs, in which order, and what it refuses before anything is downloaded."""

from collections.abc import Mapping

import pytest

from device_agent.core.component import BootFacts, Component
from device_agent.core.selection import NotOnPrimary, select, target_slot
from device_agent.core.versions import satisfies
from device_agent.errors import UpdateRejected
from schemas.refusal import Refusal
from schemas.resolve import Running
from schemas.wire.descriptor import Descriptor, Scope
from schemas.wire.types import ComponentSet
from tests.support.agent_fakes import MODULE, ROOTFS, a_component, a_descriptor, a_set

X86: Mapping[str, str] = {"hardware": "x86"}
AGENTS = a_descriptor("kiosk-agent", installer="files", scope=Scope.SLOT)
OS1 = a_descriptor("kiosk-os", "1")
ALL = {"os": ROOTFS.descriptor, "app": MODULE.descriptor, "zagent": AGENTS}
CONTENT = a_set(*(a_component(name, item) for name, item in ALL.items()))


def chosen(
    content: ComponentSet, descriptors: Mapping[str, Descriptor], running: ComponentSet | None
) -> list[str]:
    known = Running(running.id, running) if running else None
    found = select(content, descriptors, running=known, attributes=X86, floors={})
    return [component.name for component in found]


def with_(**others: Descriptor) -> ComponentSet:
    return a_set(*(a_component(name, item) for name, item in (ALL | others).items()))


def test_the_rootfs_comes_first_then_slot_then_data() -> None:
    assert chosen(CONTENT, ALL, None) == ["os", "zagent", "app"]


def test_what_runs_already_is_not_installed_again() -> None:
    older = a_descriptor("kiosk-app", "1", installer="files", scope=Scope.DATA)
    assert chosen(CONTENT, ALL, with_(app=older)) == ["app"]
    assert chosen(CONTENT, ALL, CONTENT) == []


def test_a_new_rootfs_brings_the_slots_components_with_it() -> None:
    assert chosen(CONTENT, ALL, with_(os=OS1)) == ["os", "zagent"]


def test_the_first_artifact_that_fits_labels_and_facts_is_taken() -> None:
    (component,) = select(
        a_set(ROOTFS), {"os": ROOTFS.descriptor}, running=None, attributes=X86, floors={}
    )
    assert component == ROOTFS


def refusal(descriptor: Descriptor, *, floor: int = 0, running: Descriptor = OS1) -> str:
    content, old = a_set(a_component("os", descriptor)), a_set(a_component("os", running))
    with pytest.raises(UpdateRejected) as caught:
        select(
            content,
            {"os": descriptor},
            running=Running(old.id, old),
            attributes=X86,
            floors={"os": floor},
        )
    return str(caught.value)


def test_an_artifact_for_other_hardware_is_refused() -> None:
    """security.md, case 24."""
    assert "E_COMPAT" in refusal(a_descriptor("kiosk-os", compatible="hardware=arm"))


def test_an_epoch_below_the_floor_is_refused() -> None:
    """security.md, case 25."""
    assert "E_DOWNGRADE" in refusal(a_descriptor("kiosk-os", epoch=1), floor=2)


def test_a_release_barrier_is_respected() -> None:
    assert "upgrades from >=1.3, not 1" in refusal(a_descriptor("kiosk-os", upgrade_from=">=1.3"))


def test_two_root_filesystems_are_refused() -> None:
    two: tuple[Component, ...] = (ROOTFS, a_component("os2", a_descriptor("other-os")))
    with pytest.raises(UpdateRejected, match="more than one root filesystem: os, os2"):
        chosen(a_set(*two), {item.name: item.descriptor for item in two}, None)


def facts(running: str, primary: str) -> BootFacts:
    return BootFacts("1", running, primary, None)


def test_a_rootfs_goes_into_the_other_slot_and_modules_into_none() -> None:
    assert target_slot((ROOTFS,), facts("a", "a")) == "b"
    assert target_slot((ROOTFS,), facts("b", "b")) == "a"
    assert target_slot((MODULE,), facts("a", "a")) is None


def test_a_rootfs_is_refused_where_there_are_no_slots() -> None:
    with pytest.raises(UpdateRejected):
        target_slot((ROOTFS,), facts("", ""))


def test_a_rootfs_waits_where_there_would_be_no_way_back() -> None:
    with pytest.raises(NotOnPrimary):
        target_slot((ROOTFS,), facts("b", "a"))


@pytest.mark.parametrize(
    ("version", "condition", "holds"),
    [
        ("1.3.0", ">=1.3.0", True),
        ("1.3", ">=1.3.0", True),
        ("1.10", ">=1.9", True),
        ("1.2.9", ">=1.3.0", False),
        ("2.0", ">=1.3, <2", False),
        ("1.9.9", ">=1.3, <2", True),
        ("1.3.0-rc1", ">=1.3.0", False),
        ("1.3.0-rc2", ">1.3.0-rc1", True),
        ("1.3.0", "==1.3.0", True),
    ],
)
def test_versions_compare_by_their_numbers(version: str, condition: str, holds: bool) -> None:
    assert satisfies(version, condition) is holds


def test_a_condition_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(Refusal, match=r"upgradeFrom: 'about 1\.3'"):
        satisfies("1.3", "about 1.3")
