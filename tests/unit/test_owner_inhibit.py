"""inhibit.d: who objects to what, in which words, and that whatever is wrong there objects."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from device_agent.core.states import Gate
from device_agent.owner import MAX_ENTRIES, MAX_REASON, InhibitDirectory, _expect_ours, _Wrong
from device_agent.ports import Owner
from tests.support.agent_fakes import FakeOwner

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
PAYING = "a customer is paying"


def an_owner(*directories: Path, timeout: float = 10.0) -> InhibitDirectory:
    return InhibitDirectory(directories, ENVIRONMENT, timeout=timeout, termination=0.2)


def a_flag(directory: Path, name: str, content: bytes = b"") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def a_program(directory: Path, name: str, body: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def objected(directory: Path, **options: float) -> list[str]:
    """Return the gates that are objected to."""
    owner = an_owner(directory, **options)
    return [gate.value for gate in Gate if owner.objection(gate)]


def word(directory: Path, gate: Gate = Gate.REBOOT, *, timeout: float = 10.0) -> str:
    """Return the objection, which has to be there."""
    said = an_owner(directory, timeout=timeout).objection(gate)
    assert said is not None
    return said


def real(root: Path, objections: dict[Gate, str]) -> Owner:
    for gate, reason in objections.items():
        a_flag(root, f"kiosk.{gate}", reason.encode())
    return an_owner(root)


@pytest.mark.parametrize(
    "build",
    [pytest.param(real, id="real"), pytest.param(lambda _, said: FakeOwner(said), id="fake")],
)
def test_an_owner_objects_to_what_was_objected_to_each_time_it_is_asked(
    tmp_path: Path, build: Callable[[Path, dict[Gate, str]], Owner]
) -> None:
    owner = build(tmp_path, {Gate.INSTALL: PAYING})
    for _ in range(2):
        assert PAYING in (owner.objection(Gate.INSTALL) or "")
        assert owner.objection(Gate.REBOOT) is None


def test_without_directories_or_entries_nobody_objects(tmp_path: Path) -> None:
    assert objected(tmp_path / "absent") == []
    assert objected(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "gates"),
    [
        pytest.param("kiosk", ["download", "install", "reboot"], id="no suffix is all"),
        pytest.param("kiosk.download", ["download"], id="download"),
        pytest.param("kiosk.reboot", ["reboot"], id="reboot"),
        pytest.param("kiosk.install.reboot", ["install", "reboot"], id="two"),
        pytest.param("kiosk.rebot", ["download", "install", "reboot"], id="misspelled is all"),
        pytest.param("reboot", ["download", "install", "reboot"], id="a name is no suffix"),
    ],
)
@pytest.mark.parametrize("kind", ["flag", "program"])
def test_a_suffix_names_the_gates(tmp_path: Path, kind: str, name: str, gates: list[str]) -> None:
    if kind == "flag":
        a_flag(tmp_path, name)
    else:
        a_program(tmp_path, name, "exit 1")
    assert objected(tmp_path) == gates


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"a customer is paying\nsecond line\n", PAYING, id="the first line"),
        pytest.param(b"", "no reason given", id="nothing"),
        pytest.param(b"  \n", "no reason given", id="blanks"),
        pytest.param(b"a\x1b[2Jb", r"a\x1b[2Jb", id="control characters"),
        pytest.param(b"caf\xff", r"caf\xff", id="no text"),
    ],
)
def test_a_flags_first_line_is_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    a_flag(tmp_path, "kiosk.reboot", content)
    assert word(tmp_path) == f"inhibited by kiosk.reboot: {reason}"


def test_a_reason_without_an_end_is_cut(tmp_path: Path) -> None:
    a_flag(tmp_path, "kiosk", b"x" * 1_000_000)
    assert len(word(tmp_path)) < MAX_REASON + 40


def test_a_program_hears_the_gate_and_says_why(tmp_path: Path) -> None:
    a_program(tmp_path, "till", 'test "$1" = reboot || exit 0; echo "$#: $1"; echo more; exit 1')
    assert an_owner(tmp_path).objection(Gate.INSTALL) is None
    assert word(tmp_path) == "inhibited by till: 1: reboot"


def test_a_program_that_objects_without_a_word_has_no_reason(tmp_path: Path) -> None:
    a_program(tmp_path, "till", "exit 1")
    assert word(tmp_path) == "inhibited by till: no reason given"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param("echo broken >&2; exit 2", "it exited with status 2: broken", id="a status"),
        pytest.param("kill -9 $$", "it was killed by signal 9", id="a signal"),
        pytest.param("sleep 60", "it did not end in time", id="it hangs"),
        pytest.param("trap '' TERM; sleep 60", "it did not end in time", id="it ignores TERM"),
        pytest.param("trap 'exit 0' TERM; sleep 60 & wait", "it did not end", id="ends when told"),
        pytest.param("trap 'exit 1' TERM; sleep 60 & wait", "it did not end", id="too late"),
    ],
)
def test_a_program_that_does_not_answer_objects(tmp_path: Path, body: str, said: str) -> None:
    a_program(tmp_path, "till", body)
    assert word(tmp_path, timeout=0.3).startswith(f"inhibited by till: {said}")


def test_a_program_that_cannot_start_objects(tmp_path: Path) -> None:
    a_program(tmp_path, "till", "").write_text("#!/no/such/interpreter\n")
    assert "inhibited by till: cannot be run: No such file" in word(tmp_path)


@pytest.mark.parametrize(
    "name", [".hidden", "kiosk~", "kiosk.swp", "kiosk.dpkg-old", "kiosk.dpkg-new"]
)
def test_what_editors_and_packages_leave_says_nothing(tmp_path: Path, name: str) -> None:
    a_flag(tmp_path, name)
    assert objected(tmp_path) == []


def test_a_directory_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "kiosk").mkdir()
    assert objected(tmp_path) == []


def test_the_first_of_the_sorted_names_is_heard(tmp_path: Path) -> None:
    for name in ("b", "c", "a"):
        a_flag(tmp_path, name, name.encode())
    assert word(tmp_path) == "inhibited by a: a"


def test_a_program_after_the_first_objection_is_not_asked(tmp_path: Path) -> None:
    a_flag(tmp_path, "a")
    note = tmp_path / ".asked"
    a_program(tmp_path, "b", f"touch {note}")
    word(tmp_path)
    assert not note.exists()


def test_all_directories_are_asked(tmp_path: Path) -> None:
    first, second = tmp_path / "etc", tmp_path / "run"
    first.mkdir()
    second.mkdir()
    a_flag(second, "kiosk", b"busy")
    assert an_owner(first, second).objection(Gate.INSTALL) == "inhibited by kiosk: busy"


def test_links_are_followed_and_one_to_nowhere_objects(tmp_path: Path) -> None:
    places = tmp_path / "inhibit.d"
    places.mkdir()
    (places / "till").symlink_to(a_program(tmp_path, "asks", "echo linked; exit 1"))
    assert word(places) == "inhibited by till: linked"
    (places / "till").unlink()
    (places / "till").symlink_to(tmp_path / "absent")
    assert word(places) == "inhibited by till: cannot be followed: No such file or directory"


def test_a_link_that_leads_round_in_a_circle_objects(tmp_path: Path) -> None:
    (tmp_path / "till").symlink_to("till")
    assert "inhibited by till: cannot be read: Too many levels" in word(tmp_path)


def test_a_flag_that_is_taken_away_while_we_look_says_nothing(tmp_path: Path) -> None:
    flag = a_flag(tmp_path, "b")
    a_program(tmp_path, "a", f"rm {flag}")
    assert an_owner(tmp_path).objection(Gate.DOWNLOAD) is None
    assert not flag.exists()


def test_what_is_neither_a_file_nor_a_program_objects_and_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "kiosk")
    assert word(tmp_path) == "inhibited by kiosk: is neither a file nor a program"


def test_more_entries_than_anybody_needs_object(tmp_path: Path) -> None:
    for number in range(MAX_ENTRIES):
        a_flag(tmp_path, f".{number}")
    assert objected(tmp_path) == []
    a_flag(tmp_path, ".one-more")
    assert f"more than {MAX_ENTRIES} entries" in word(tmp_path)


def test_a_directory_that_cannot_be_read_objects(tmp_path: Path) -> None:
    path = a_flag(tmp_path, "inhibit.d")
    assert word(path) == f"inhibited: {path} cannot be read: Not a directory"


@pytest.mark.parametrize(
    ("what", "mode", "said"),
    [
        pytest.param("till", 0o775, "it can be changed", id="the program"),
        pytest.param(".", 0o1777, "its directory can be changed", id="its directory"),
    ],
)
def test_a_program_that_others_may_change_is_not_run_but_objects(
    tmp_path: Path, what: str, mode: int, said: str
) -> None:
    """It would run with the agent's rights: whoever may drop flags must not become root."""
    note = tmp_path / "was-run"
    places = tmp_path / "inhibit.d"
    places.mkdir()
    a_program(places, "till", f"touch {note}")
    assert objected(places) == []
    note.unlink()
    (places / what).chmod(mode)
    assert said in word(places)
    assert not note.exists()


@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_a_program_of_root_or_of_our_own_may_be_run(tmp_path: Path, uid: int) -> None:
    _expect_ours(owned_by(uid), tmp_path)


def test_a_program_of_anybody_else_may_not_be_run(tmp_path: Path) -> None:
    with pytest.raises(_Wrong, match="it can be changed by others than root"):
        _expect_ours(owned_by(os.geteuid() + 1), tmp_path)


def owned_by(uid: int) -> os.stat_result:
    """Return what stat() says of a program; only root could make a real one."""
    return os.stat_result((stat.S_IFREG | 0o755, 1, 1, 1, uid, 0, 0, 0, 0, 0))


def test_a_flag_in_a_directory_that_applications_may_write_to_counts(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    a_flag(tmp_path, "kiosk.reboot", PAYING.encode())
    assert word(tmp_path) == f"inhibited by kiosk.reboot: {PAYING}"


def test_a_name_that_is_no_text_is_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"k\xffosk\n")).touch()
    assert word(tmp_path) == r"inhibited by k\xffosk\n: no reason given"
