"""What a case gives: the faults of its module and its scripts, and what the module answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.conformance.case import Facts, Fields, Unsupported
from tests.support.conformance_faults import Answers, Faults, Repeat

OUTCOMES = ("success", "rolled_back", "inconsistent", "still_in_progress", "no_update_in_progress")
UNCHANGED = ("not_modified", "system_not_modified", "unmodified", "unchanged")  # as good as undone


@dataclass(frozen=True, slots=True)
class Given:
    """`scripts` are those that the case names; None when it leaves that to its mode."""

    faults: Faults
    answers: Answers
    scripts: tuple[str, ...] | None


def given(fields: Fields, fails: Repeat) -> Given:
    """Take what the case says of its module and its scripts. `fails` is how often a fault strikes
    where the case does not say."""
    module, scripts = fields.inner("module"), fields.inner("scripts")
    fail_repeat = _repeat(module, "fail_repeat", fails)
    kill_repeat = _repeat(module, "kill_repeat", Repeat.ONCE)
    script_fails = _repeat(scripts, "fail_repeat", fail_repeat)
    script_kills = _repeat(scripts, "kill_repeat", kill_repeat)
    fail = dict.fromkeys(module.texts("fail", ()), fail_repeat)
    fail |= dict.fromkeys(scripts.texts("fail", ()), script_fails)
    kill = dict.fromkeys(module.texts("kill_agent", ()), kill_repeat)
    kill |= dict.fromkeys(scripts.texts("kill_agent", ()), script_kills)
    kill |= dict.fromkeys(scripts.texts("reboot", ()), Repeat.ALWAYS)
    kill |= dict.fromkeys(scripts.texts("reboot_once", ()), Repeat.ONCE)
    hang = frozenset(module.texts("hang", ()) + scripts.texts("hang", ()))
    named = "present" in scripts or "present_with_exit_code" in scripts
    status = scripts.inner("present_with_exit_code").numbers()
    present = scripts.texts("present", ()) + tuple(status)
    answers = Answers(
        supports_rollback="Yes" if fields.flag("supports_rollback", False) else "No",
        needs_reboot=one_of(fields.text("needs_reboot", "No"), ("Yes", "No", "Automatic", "")),
        file_sizes=one_of(module.text("provide_file_sizes", ""), ("Yes", "No", "")),
    )
    module.end()
    scripts.end()
    return Given(Faults(fail, kill, hang, status), answers, present if named else None)


def _repeat(fields: Fields, name: str, default: Repeat) -> Repeat:
    return Repeat(one_of(fields.text(name, default), tuple(Repeat)))


def one_of(text: str, known: Iterable[str]) -> str:
    if text not in known:
        raise Unsupported(f"{text!r} is none of {', '.join(known)}")
    return text


def expected_facts(fields: Fields) -> dict[str, tuple[str, ...]]:
    """Take what a case expects in every mode in which an agent is at work."""
    found: dict[str, tuple[str, ...]] = {}
    lists = {"calls": "expected_calls", "reports": "expected_status_reports"}
    for aspect, name in lists.items():
        if name in fields:
            found[aspect] = fields.texts(name)
    if "expected_outcome" in fields:
        word = one_of(fields.text("expected_outcome"), (*OUTCOMES, *UNCHANGED))
        found["outcome"] = ("rolled_back" if word in UNCHANGED else word,)
    if "expected_artifact_name" in fields:
        found["artifact name"] = (fields.text("expected_artifact_name"),)
    return found


def expect_something(expected: Facts) -> None:
    """Raise Unsupported for a case that could not fail."""
    if not expected:
        raise Unsupported("the case expects nothing")
