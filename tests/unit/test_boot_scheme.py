"""What boot variables mean, in our own names and in Mender's."""

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.boot.mender_scheme import MenderScheme, partition_number
from device_agent.boot.scheme import MOST_TRIES, Choice, FleetcdScheme, Scheme
from device_agent.errors import InstallFailed

OURS = FleetcdScheme()
MENDER = MenderScheme({"a": 2, "b": 11})
ON_TRIAL = {"mender_boot_part": "11", "upgrade_available": "1"}

choices = st.sampled_from(["a", "b"]).flatmap(
    lambda primary: st.one_of(
        st.just(Choice(primary)),
        st.integers(1, MOST_TRIES).map(
            lambda tries: Choice(primary, "b" if primary == "a" else "a", tries)
        ),
    )
)


@pytest.mark.parametrize("scheme", [OURS, MENDER], ids=["fleetcd", "mender"])
@given(choice=choices, later=choices)
def test_what_is_chosen_is_what_is_read_whatever_was_there(
    scheme: Scheme, choice: Choice, later: Choice
) -> None:
    variables = {"bootlimit": "1", "other": "x"}
    for chosen in (choice, later):
        variables = variables | dict(scheme.changes(variables, chosen))
        assert scheme.choice(variables) == chosen


@pytest.mark.parametrize("primary", ["", "c", "A", "none"])
def test_a_primary_that_is_no_slot_is_said_with_what_to_set(primary: str) -> None:
    with pytest.raises(InstallFailed, match="fleetcd_primary"):
        OURS.choice({"fleetcd_primary": primary})
    with pytest.raises(InstallFailed, match="fleetcd_primary"):
        OURS.choice({})


@pytest.mark.parametrize("trial", [None, "", "none", "a", "c", "a b"])
def test_what_the_boot_script_would_not_try_is_no_trial(trial: str | None) -> None:
    variables = {"fleetcd_primary": "a", "fleetcd_left": "2"}
    if trial is not None:
        variables["fleetcd_trial"] = trial
    assert OURS.choice(variables) == Choice("a")


@pytest.mark.parametrize("left", [None, "", "x", "-1", "12", "0", "²"])
def test_tries_that_are_no_digit_are_none_left(left: str | None) -> None:
    variables = {"fleetcd_primary": "a", "fleetcd_trial": "b"}
    if left is not None:
        variables["fleetcd_left"] = left
    assert OURS.choice(variables) == Choice("a", "b", 0)


def test_mender_activates_in_one_write_of_the_names_its_boot_scripts_know() -> None:
    settled = {"mender_boot_part": "2", "upgrade_available": "0"}
    assert MENDER.changes(settled, Choice("a", "b", 1)) == {
        "mender_boot_part": "11",
        "mender_boot_part_hex": "b",
        "upgrade_available": "1",
        "bootcount": "0",
    }


def test_mender_boards_with_a_boot_limit_get_it_set_to_the_tries() -> None:
    assert MENDER.changes({"bootlimit": "1"}, Choice("a", "b", 3))["bootlimit"] == "3"


def test_mender_commits_by_clearing_upgrade_available() -> None:
    changes = MENDER.changes(ON_TRIAL, Choice("b"))
    assert changes == {
        "mender_boot_part": "11",
        "mender_boot_part_hex": "b",
        "upgrade_available": "0",
    }


def test_mender_rolls_back_to_the_other_partition() -> None:
    changes = MENDER.changes(ON_TRIAL, Choice("a"))
    assert (changes["mender_boot_part"], changes["upgrade_available"]) == ("2", "0")


@pytest.mark.parametrize(
    ("count", "limit", "left"),
    [("0", "1", 1), ("1", "1", 0), ("2", "1", 0), ("1", "3", 2), (None, None, 1), ("x", "1", 1)],
)
def test_mender_counts_starts_up_to_its_limit(
    count: str | None, limit: str | None, left: int
) -> None:
    counts = {"bootcount": count, "bootlimit": limit}
    known = {name: value for name, value in counts.items() if value is not None}
    assert MENDER.choice(ON_TRIAL | known) == Choice("a", "b", left)


@pytest.mark.parametrize("part", [None, "", "3", "b", "02"])
def test_a_mender_partition_that_is_no_slot_is_said_with_what_to_correct(part: str | None) -> None:
    variables = {} if part is None else {"mender_boot_part": part}
    with pytest.raises(InstallFailed, match=r"a = 2, b = 11.*boot\.slots"):
        MENDER.choice(variables)


def test_no_trial_is_begun_when_u_boot_keeps_its_environment_somewhere_else() -> None:
    checked = {"mender_check_saveenv_canary": "1"}
    with pytest.raises(InstallFailed, match=r"fw_env\.config"):
        MENDER.changes(checked, Choice("a", "b", 1))
    MENDER.changes(checked | {"mender_saveenv_canary": "1"}, Choice("a", "b", 1))
    MENDER.changes(checked, Choice("a"))


@pytest.mark.parametrize(
    ("device", "number"),
    [
        ("/dev/mmcblk0p2", 2),
        ("/dev/nvme0n1p13", 13),
        ("/dev/loop7p3", 3),
        ("/dev/sda2", 2),
        ("/dev/vdb12", 12),
    ],
)
def test_partition_numbers_come_from_device_names(device: str, number: int) -> None:
    assert partition_number(PurePath(device)) == number


@pytest.mark.parametrize(
    "device", ["/dev/mmcblk1", "/dev/nvme0n1", "/dev/sda", "/dev/sda0", "/srv/sda2", "/dev/root2"]
)
def test_other_names_are_refused_with_an_example(device: str) -> None:
    with pytest.raises(InstallFailed, match="mmcblk0p2"):
        partition_number(PurePath(device))


@pytest.mark.parametrize("slots", [{"a": "/dev/sda2"}, {"a": "/dev/sda2", "b": "/dev/sdb2"}])
def test_mender_needs_two_partitions(slots: dict[str, str]) -> None:
    with pytest.raises(InstallFailed, match="two partitions"):
        MenderScheme.of_devices({slot: PurePath(device) for slot, device in slots.items()})
