"""Where we differ from Mender on purpose: which cases, why, and what we do instead.

Each row is a row of docs/mender-compatibility.md. What we do instead is compared as strictly as
what Mender does would be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from device_agent.core.states import State
from tests.conformance.case import Case, Facts
from tests.conformance.chain_model import Around, expected_chain
from tests.conformance.daemon_mode import idle_scripts, world_of
from tests.conformance.given import given
from tests.conformance.standalone_mode import loses_its_tree
from tests.support.conformance_faults import Faults, Repeat


@dataclass(frozen=True, slots=True)
class Divergence:
    """`applies` looks at what a case says, `ours` turns what Mender does into what we do."""

    row: str
    reason: str
    applies: Callable[[Case], bool]
    ours: Callable[[Case, Facts], Facts]


def rows_of(case: Case) -> tuple[Divergence, ...]:
    return tuple(each for each in DIVERGENCES if each.applies(case))


def expected_of_us(case: Case, expected: Facts) -> Facts:
    """Return what we should do, given what Mender does."""
    for divergence in rows_of(case):
        expected = divergence.ours(case, expected)
    return expected


def _given(case: Case, name: str) -> object:
    given = case.content.get("given")
    return given.get(name) if isinstance(given, dict) else None


def _instead(aspect: str, *lines: str) -> Callable[[Case, Facts], Facts]:
    return lambda _, expected: {**expected, aspect: lines}


_FORMAT: tuple[Divergence, ...] = (
    Divergence(
        "range-that-starts-early",
        "An answer that starts before the offset asked for is right and complete; what is there"
        " already is skipped, and the digest decides.",
        lambda case: case.mode == "download-resume" and _given(case, "early_range_start") == "true",
        _instead("download", "exact bytes"),
    ),
    Divergence(
        "range-without-a-total",
        "RFC 9110 asks for the total or `*` in Content-Range; an answer without it is not used.",
        lambda case: (
            case.mode == "download-resume" and _given(case, "missing_content_length") == "true"
        ),
        _instead("download", "an error, no byte wrong"),
    ),
    Divergence(
        "reboot-command-that-fails",
        "A reboot command that exits with an error has failed: the device rolls back at once, not"
        " after ten minutes.",
        lambda case: case.mode == "update-module" and case.name == "system_reboot_returns",
        _instead("result", "refused"),
    ),
)

_DOWNLOAD = frozenset(
    (
        "Download_Enter_00",
        "ProvidePayloadFileSizes",
        "Download",
        "DownloadWithFileSizes",
        "Download_Leave_00",
    )
)


def _our_chain(case: Case, _: Facts | None = None) -> Facts:
    """Return what our model of the agent says of a daemon case."""
    fields = case.fields()
    found = given(fields, Repeat.ONCE)
    environment = fields.inner("environment")
    idle = idle_scripts(environment)
    world = world_of(environment)
    withdrawn = {State.INSTALL_WAIT: "install", State.REBOOT_WAIT: "reboot", None: None}
    around = Around(
        withdrawn=withdrawn[world.withdrawn_at],
        broken_download=world.broken_download,
        writes=world.writes,
        idle_scripts=idle,
    )
    return expected_chain(found.faults, found.answers, around)


def _faults(case: Case) -> Faults:
    return given(case.fields(), Repeat.ONCE).faults


def _environment(case: Case, name: str) -> Any:
    return case.content.get("environment", {}).get(name)


def _in_daemon(says: Callable[[Case], object]) -> Callable[[Case], bool]:
    return lambda case: case.mode == "daemon" and bool(says(case))


def _for_ever(case: Case) -> bool:
    faults = _faults(case)
    kills = Repeat.ALWAYS in faults.kill.values()
    return kills or faults.fail.get("ArtifactVerifyRollbackReboot") is Repeat.ALWAYS


def _good_with_a_bad_end(case: Case) -> bool:
    faults = _faults(case)
    return "Cleanup" in {*faults.fail, *faults.kill, *faults.hang} and (
        _our_chain(case)["outcome"] == ("success",)
    )


_DAEMON: tuple[Divergence, ...] = (
    Divergence(
        "interrupted-download-goes-on",
        "A download that was interrupted is begun again, and the deployment goes on; Mender fails"
        " it.",
        _in_daemon(lambda case: _DOWNLOAD & _faults(case).kill.keys()),
        _our_chain,
    ),
    Divergence(
        "no-report-gates",
        "No report to a server stands between a deployment and its commit: the gateway may be away"
        " for days.",
        _in_daemon(
            lambda case: (
                _environment(case, "fail_status_report_count")
                and not _environment(case, "fail_status_aborted")
            )
        ),
        _our_chain,
    ),
    Divergence(
        "abort-is-asked-for",
        "An abort is a manifest that wants something else. It is asked for before the install and"
        " before the reboot, and the outcome is neutral: the set is not blamed.",
        _in_daemon(lambda case: _environment(case, "fail_status_aborted")),
        _our_chain,
    ),
    Divergence(
        "network-trouble-is-neutral",
        "A download is tried again at later polls; when the network stays away the outcome is"
        " neutral, as it says nothing about the set, which may be tried again.",
        _in_daemon(lambda case: _environment(case, "broken_download")),
        _our_chain,
    ),
    Divergence(
        "loop-guard",
        "Who goes round in circles is stopped after as many states as no honest deployment has;"
        " ArtifactFailure and Cleanup are called all the same.",
        _in_daemon(_for_ever),
        _our_chain,
    ),
    Divergence(
        "nothing-without-a-journal",
        "What could not be remembered is not done: without a journal nothing at all happens, in"
        " either direction, until it can be written again.",
        _in_daemon(
            lambda case: _environment(case, "use_non_writable_db_after_n_writes") is not None
        ),
        _our_chain,
    ),
    Divergence(
        "no-update-control-maps",
        "There are no update control maps (Mender removed them too), so none can stop an update.",
        _in_daemon(
            lambda case: _environment(case, "update_control_string") not in (None, "", "{}")
        ),
        _our_chain,
    ),
    Divergence(
        "good-update-with-a-bad-cleanup",
        "A committed update is a success, whatever its Cleanup says or whether it is interrupted.",
        _in_daemon(_good_with_a_bad_end),
        _our_chain,
    ),
    Divergence(
        "one-sync",
        "A poll is one round of Idle and Sync; there is no second one for the inventory, which"
        " travels in the reports.",
        _in_daemon(lambda case: _environment(case, "generate_idle_sync_scripts")),
        _our_chain,
    ),
)


def _by_hand_with_a_bad_cleanup(case: Case) -> bool:
    """Say whether a good update by hand fails in Mender because of its Cleanup alone."""
    module = case.content.get("module", {})
    fails = [*module.get("fail", []), *module.get("hang", [])]
    calls = case.content.get("expected_calls", [])
    return case.mode == "standalone" and "Cleanup" in fails and "ArtifactFailure" not in calls


def _committed(_: Case, expected: Facts) -> Facts:
    """Return the facts with the last command, the one that cleans up, a success."""
    changed = {**expected, "exit codes": (*expected["exit codes"][:-1], "0")}
    return changed | ({"outcome": ("success",)} if "outcome" in expected else {})


def _misspelt(case: Case) -> bool:
    """Say whether a command line is one that no parser takes."""
    lines = case.content.get("commands", []) if case.mode == "standalone" else []
    return any(not _spelt(line) for line in lines)


def _spelt(line: Sequence[str]) -> bool:
    options = {"--reboot-exit-code": 1, "--stop-before": 2}
    words, artifacts = list(line[1:]), 0
    while words:
        takes = options.get(words[0], 1)
        if words[0].startswith("-") and words[0] not in options:
            return False
        artifacts += words[0] not in options
        words = words[takes:]
    return artifacts == (line[0] == "install")


def _nobody_knows(case: Case, expected: Facts) -> Facts:
    """Return what is known once the module's tree is gone: what it was called for before that."""
    calls = expected["calls"]
    before = calls[: calls.index("ArtifactInstall") + 1]
    codes = (*expected["exit codes"][:-1], "1")
    ours = {**expected, "calls": before, "exit codes": codes, "outcome": ("inconsistent",)}
    if "stdout" in expected:
        unable = "Committing failed.\n" if ["commit"] in case.content["commands"] else ""
        last = f"{unable}Rollback failed. System may be in an inconsistent state.\n"
        ours["stdout"] = (*expected["stdout"][:-1], last)
    return ours


_STANDALONE: tuple[Divergence, ...] = (
    Divergence(
        "no-update-of-an-older-client",
        "An update that an older client began, of which the module's tree is gone, is not taken"
        " over: Mender makes a new tree for rootfs-image alone. The device says that nobody knows.",
        lambda case: case.mode == "standalone" and loses_its_tree(case),
        _nobody_knows,
    ),
    Divergence(
        "good-update-by-hand-with-a-bad-cleanup",
        "A committed update by hand is a success too: its Cleanup is told of, but the exit code is"
        " 0 and the artifact's name stays clean.",
        _by_hand_with_a_bad_cleanup,
        _committed,
    ),
    Divergence(
        "usage-is-2",
        "A command line that cannot be understood ends with exit code 2, as of every command of"
        " ours.",
        _misspelt,
        lambda _, expected: {**expected, "exit codes": ("2",) * len(expected["exit codes"])},
    ),
)

DIVERGENCES: tuple[Divergence, ...] = (*_FORMAT, *_DAEMON, *_STANDALONE)
