"""The mode standalone: updates by hand, command by command."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reconciler.adapters.artifact_writer import NewPayload
from tests.conformance.case import Case, Facts, Fields, Unsupported
from tests.conformance.given import Given, expect_something, expected_facts, given
from tests.support.conformance_faults import Faults, Log, Repeat
from tests.support.conformance_standalone import (
    MODULE,
    NEW,
    OLD,
    Spoken,
    StandaloneDevice,
    with_provides,
)

SKIPPED = "(not looked at)"


def standalone(case: Case, root: Path) -> tuple[Facts, Facts]:
    fields = case.fields()
    expected = _expected(fields)
    expected |= _expected_by_notes(fields.text("notes", ""))
    commands = [_command(each) for each in fields.items("commands")]
    if not commands:
        raise Unsupported("the case has no commands")
    device, log = StandaloneDevice(root, _payload(fields)), Log(root)
    found = _programs(fields, device, log)
    fields.end()
    expect_something(expected)
    device.prepare()
    spoken, counts = [], []
    for command in commands:
        spoken.append(device.run(command))
        counts.append(str(len(log.calls())))
        _meanwhile(case, device, log, found)
    seen = {
        "calls": log.calls(),
        "exit codes": tuple(_code(each.status) for each in spoken),
        "stdout": _said(expected, spoken),
        "stdout ends": _last_line(spoken),
        "calls after each command": tuple(counts),
        "outcome": (_outcome(device, spoken),),
        "artifact name": (device.artifact_name(),),
    }
    if "after a good install" in expected:
        log.module(device.root / "modules" / MODULE, found.answers, Faults())
        device.run(["install", "ARTIFACT"])
        seen["after a good install"] = (device.artifact_name(),)
    return expected, seen


def _expected_by_notes(notes: str) -> Facts:
    """Return what a case says in words of what comes after, or at the end."""
    expected: dict[str, tuple[str, ...]] = {}
    ends = re.search(r"stdout ends: (.+)", notes)
    if ends:
        expected["stdout ends"] = (ends[1].strip(),)
    if re.search(r"following good install clears", notes):
        expected["after a good install"] = (NEW,)
    return expected


def _last_line(spoken: Sequence[Spoken]) -> tuple[str, ...]:
    return tuple(spoken[-1].stdout.splitlines()[-1:])


def _meanwhile(case: Case, device: StandaloneDevice, log: Log, found: Given) -> None:
    """Do what the case says in words that happens between its commands."""
    if re.search(r"without support|\blos(es|t|ing)\b.*support|no longer support", _prose(case)):
        answers = replace(found.answers, supports_rollback="No")
        log.module(device.root / "modules" / MODULE, answers, found.faults)
    if loses_its_tree(case):
        shutil.rmtree(device.root / "state" / "modules", ignore_errors=True)


def loses_its_tree(case: Case) -> bool:
    """Say whether the module's tree disappears between commands, as no client of today lets it."""
    return bool(re.search(r"old client|work\s?dir\w* .*(removed|deleted|gone)", _prose(case)))


def _prose(case: Case) -> str:
    return f"{case.name} {case.content.get('notes', '')}".replace("_", " ").lower()


def _expected(fields: Fields) -> dict[str, tuple[str, ...]]:
    expected = expected_facts(fields)
    if "expected_exit_codes" in fields:
        codes = fields.items("expected_exit_codes")
        expected["exit codes"] = tuple(_code(code) for code in codes)
    if "expected_stdout" in fields:
        texts = fields.items("expected_stdout")
        expected["stdout"] = tuple(SKIPPED if text is None else str(text) for text in texts)
    if "expected_calls_after_each_command" in fields:
        counts = fields.items("expected_calls_after_each_command")
        expected["calls after each command"] = tuple(str(number) for number in counts)
    return expected


def _command(words: object) -> Sequence[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Unsupported(f"the command {words!r} is no list of words")
    if not words:
        raise Unsupported("a command without a word")
    return words


def _payload(fields: Fields) -> NewPayload:
    """Return the artifact's payload. A case says in words what is special about it."""
    text = fields.text("artifact", "").lower()
    if not text:
        return with_provides()
    if "bootstrap" in text:
        return NewPayload(None)
    if "legacy" in text or "no provides" in text:
        return NewPayload(MODULE)
    raise Unsupported(f"no artifact is known that is {text!r}")


def _programs(fields: Fields, device: StandaloneDevice, log: Log) -> Given:
    found = given(fields, Repeat.ALWAYS)
    log.module(device.root / "modules" / MODULE, found.answers, found.faults)
    scripts = found.scripts or ()
    struck = [name for name in (*found.faults.fail, *found.faults.kill) if "_" in name]
    for name in dict.fromkeys((*scripts, *struck)):
        of_artifact = name.startswith("Artifact")
        path = device.root / ("artifact-scripts" if of_artifact else "scripts") / name
        log.script(path, found.faults)
        if of_artifact:
            device.artifact_scripts.append(path)
    return found


def _code(status: object) -> str:
    """Return an exit status as a shell has it: one above 128 says by which signal it ended."""
    if not isinstance(status, int):
        raise Unsupported(f"{status!r} is no exit status")
    return str(128 - status if status < 0 else status)


def _said(expected: Facts, spoken: Sequence[Spoken]) -> tuple[str, ...]:
    """Return what was said by the commands of which the case says what they say."""
    wanted = expected.get("stdout", ())
    pairs = zip(wanted, spoken, strict=False)
    return tuple(SKIPPED if text == SKIPPED else each.stdout for text, each in pairs)


def _outcome(device: StandaloneDevice, spoken: Sequence[Spoken]) -> str:
    if device.is_in_progress():
        return "still_in_progress"
    name = device.artifact_name()
    if name == OLD:
        nothing = all(each.stdout == "No update in progress.\n" for each in spoken)
        return "no_update_in_progress" if nothing else "rolled_back"
    return "success" if name == NEW else "inconsistent"
