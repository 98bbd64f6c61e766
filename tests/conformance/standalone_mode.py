"""The mode standalone: updates by hand, command by command."""

from collections.abc import Sequence
from pathlib import Path

from reconciler.adapters.artifact_writer import NewPayload
from tests.conformance.case import Case, Facts, Fields, Unsupported
from tests.conformance.given import expect_something, expected_facts, given
from tests.support.conformance_faults import Log, Repeat
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
    fields.leave("notes")
    expected = _expected(fields)
    commands = [_command(each) for each in fields.items("commands")]
    if not commands:
        raise Unsupported("the case has no commands")
    device, log = StandaloneDevice(root, _payload(fields)), Log(root)
    _programs(fields, device, log)
    fields.end()
    expect_something(expected)
    device.prepare()
    spoken, counts = [], []
    for command in commands:
        spoken.append(device.run(command))
        counts.append(str(len(log.calls())))
    return expected, {
        "calls": log.calls(),
        "exit codes": tuple(_code(each.status) for each in spoken),
        "stdout": _said(expected, spoken),
        "calls after each command": tuple(counts),
        "outcome": (_outcome(device, spoken),),
        "artifact name": (device.artifact_name(),),
    }


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


def _programs(fields: Fields, device: StandaloneDevice, log: Log) -> None:
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
