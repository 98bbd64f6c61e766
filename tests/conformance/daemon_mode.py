"""The mode daemon: one deployment, a fault anywhere, the agent killed and started again."""

from collections.abc import Iterable
from pathlib import Path

from device_agent.core.states import State
from schemas.wire.report import Event, EventKind, Outcome
from tests.conformance.case import Case, Facts, Fields
from tests.conformance.given import expect_something, expected_facts, given, one_of
from tests.support.conformance_device import (
    DEVICE_TYPE,
    MODULE,
    ConformanceDevice,
    Ended,
    World,
)
from tests.support.conformance_faults import Answers, Faults, Log, Repeat

IDLE = ("Idle", "Sync")
DEPLOYMENT = (
    "Download",
    "ArtifactInstall",
    "ArtifactReboot",
    "ArtifactCommit",
    "ArtifactRollback",
    "ArtifactRollbackReboot",
    "ArtifactFailure",
)
ACTIONS = ("Enter", "Leave", "Error")

# Mender's words for the reports that our states send.
_REPORTS = {"download": "downloading", "install": "installing", "reboot": "rebooting"}
_REPORTS |= {"commit": "installing"}
_ENDS = {Outcome.OK: "success", Outcome.FAILED: "failure", Outcome.NEUTRAL: "neutral"}

# At which of our checks an abort is noticed that Mender notices when it sends a status.
_ABORTS = {
    "Downloading": State.INSTALL_WAIT,
    "Installing": State.INSTALL_WAIT,
    "Rebooting": State.REBOOT_WAIT,
}


def daemon(case: Case, root: Path) -> tuple[Facts, Facts]:
    fields = case.fields()
    expected = expected_facts(fields)
    expect_something(expected)
    found = given(fields, Repeat.ONCE)
    environment = fields.inner("environment")
    states = (*IDLE, *DEPLOYMENT) if idle_scripts(environment) else DEPLOYMENT
    world = world_of(environment)
    fields.end()
    names = every_script(states) if found.scripts is None else found.scripts
    return expected, seen(prepared(root, world, found.faults, found.answers, names).run())


def idle_scripts(environment: Fields) -> bool:
    return environment.flag("generate_idle_sync_scripts", False)


def world_of(environment: Fields) -> World:
    """Return the world that the case describes. Reports gate nothing here, so it may be that one
    that is never sent changes nothing: divergences.py says where."""
    status = environment.text("fail_status_report_status", "Downloading")
    withdrawn = None
    if environment.flag("fail_status_aborted", False):
        withdrawn = _ABORTS[one_of(status, _ABORTS)]
    mismatch = environment.flag("device_type_mismatch", False)
    writes = environment.number("use_non_writable_db_after_n_writes", -1)
    updated = environment.number("do_schema_update_at_invocation", -1)
    world = World(
        broken_download=environment.flag("broken_download", False),
        empty_payload=environment.flag("empty_payload_artifact", False),
        device_type="mismatch-type" if mismatch else DEVICE_TYPE,
        withdrawn_at=withdrawn,
        writes=writes if writes >= 0 else None,
        updated_at=updated if updated >= 0 else None,
    )
    environment.number("fail_status_report_count", 0)
    environment.text("update_control_string", "")
    environment.number("stop_after_n_deployments", 1)
    environment.flag("long_retry_times", False)
    environment.end()
    return world


def prepared(
    root: Path, world: World, faults: Faults, answers: Answers, scripts: Iterable[str]
) -> ConformanceDevice:
    """Return a device with the module and `scripts`."""
    device, log = ConformanceDevice(root, world), Log(root)
    log.module(device.modules / MODULE, answers, faults)
    for name in scripts:
        add_script(device, log, name, faults)
    return device


def every_script(states: Iterable[str]) -> list[str]:
    """Return one script for each action of `states`."""
    return [f"{state}_{action}_00" for state in states for action in ACTIONS]


def add_script(
    device: ConformanceDevice, log: Log, name: str, faults: Faults, extra: str = ""
) -> None:
    """Give the image or the artifact the script `name`, whichever brings such ones."""
    path = _place(device, name)
    log.script(path, faults, extra)
    if name.startswith("Artifact"):
        device.artifact_scripts.append(path)


def _place(device: ConformanceDevice, name: str) -> Path:
    of_artifact = name.startswith("Artifact")
    return (device.root / "artifact-scripts" if of_artifact else device.scripts) / name


def seen(ended: Ended) -> Facts:
    return {
        "calls": ended.calls,
        "reports": reports(ended.events),
        "outcome": (outcome(ended),),
        "artifact name": (ended.artifact_name,),
    }


def reports(events: Iterable[Event]) -> tuple[str, ...]:
    """Return what a server of Mender's would have heard."""
    words = []
    for event in events:
        if event.kind is EventKind.STATE and event.state in _REPORTS:
            words.append(_REPORTS[event.state])
        if event.kind is EventKind.FINISHED and event.outcome:
            words.append(_ENDS[event.outcome])
    return tuple(words)


def outcome(ended: Ended) -> str:
    word = ended.last_word
    if word is None:
        return "unfinished"
    if word.inconsistent:
        return "inconsistent"
    return "success" if word.outcome is Outcome.OK else "rolled_back"
