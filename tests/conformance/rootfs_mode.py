"""The mode daemon-rootfs: a module that installs a root filesystem, with two partitions, a boot
loader that falls back, real restarts, and many state scripts."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from tests.conformance.case import Case, Facts, Fields
from tests.conformance.daemon_mode import add_script, reports, seen
from tests.conformance.given import expect_something, expected_facts, given
from tests.support.conformance_device import MODULE, ConformanceDevice, Ended, World
from tests.support.conformance_faults import Log, Repeat

NOTHING = ("none",)  # nothing is reported at all, since the first poll fails
ORIGINAL, OTHER = "OriginalPartition", "OtherPartition"

# The scripts of a device in a case that does not name those that are there. Among them are some
# that must never run: a name of three digits, and Error scripts of states that have no error.
EVERY_SCRIPT = (
    *("Idle_Enter_08_testing", "Idle_Enter_09", "Idle_Enter_100", "Idle_Leave_09"),
    *("Idle_Leave_10", "Idle_Error_00", "Sync_Enter_02", "Sync_Enter_03", "Sync_Leave_04"),
    *("Sync_Leave_15", "Sync_Error_15", "Sync_Error_16", "Download_Enter_12"),
    *("Download_Enter_13", "Download_Leave_14", "Download_Leave_25", "Download_Error_25"),
    *("ArtifactInstall_Enter_01", "ArtifactInstall_Enter_02", "ArtifactInstall_Leave_01"),
    *("ArtifactInstall_Leave_03", "ArtifactInstall_Error_01", "ArtifactInstall_Error_02"),
    *("ArtifactInstall_Error_99", "ArtifactReboot_Enter_01", "ArtifactReboot_Enter_11"),
    *("ArtifactReboot_Leave_01", "ArtifactReboot_Leave_89", "ArtifactReboot_Leave_99"),
    *("ArtifactReboot_Error_97", "ArtifactReboot_Error_98", "ArtifactCommit_Enter_01"),
    *("ArtifactCommit_Enter_05", "ArtifactCommit_Leave_01_extra_string"),
    *("ArtifactCommit_Leave_91", "ArtifactCommit_Error_91", "ArtifactRollback_Enter_00"),
    *("ArtifactRollback_Enter_01", "ArtifactRollback_Leave_00", "ArtifactRollback_Leave_01"),
    *("ArtifactRollback_Error_15", "ArtifactRollbackReboot_Enter_00"),
    *("ArtifactRollbackReboot_Enter_99", "ArtifactRollbackReboot_Leave_01"),
    *("ArtifactRollbackReboot_Leave_99", "ArtifactFailure_Enter_22"),
    *("ArtifactFailure_Enter_33", "ArtifactFailure_Leave_44", "ArtifactFailure_Leave_55"),
    "ArtifactFailure_Error_55",
)

_MODULE = """
case "$1" in
    ArtifactInstall) echo {other} > {root}/trial;;
    ArtifactVerifyReboot) grep -q {other} {root}/running || exit 1;;
    ArtifactCommit) cp {root}/running {root}/primary; rm -f {root}/trial {root}/tried;;
    ArtifactRollback) echo {original} > {root}/primary; rm -f {root}/trial {root}/tried;;
    ArtifactVerifyRollbackReboot) grep -q {original} {root}/running || exit 1;;
esac
"""


@dataclass(frozen=True, slots=True)
class Partitions:
    """Which partition runs, and which starts next, in files below `root`."""

    root: Path

    def make(self) -> None:
        self.root.mkdir()
        (self.root / "primary").write_text(f"{ORIGINAL}\n")

    def boot(self) -> None:
        """Start the partition that is on trial once, and after that the primary."""
        trial, tried = self.root / "trial", self.root / "tried"
        if trial.exists() and not tried.exists():
            tried.touch()
            started = trial
        else:
            started = self.root / "primary"
            trial.unlink(missing_ok=True)
        (self.root / "running").write_bytes(started.read_bytes())

    def running(self) -> str:
        return (self.root / "running").read_text().strip()

    def module(self) -> str:
        """Return what the module does beside noting its calls."""
        return _MODULE.format(root=quote(str(self.root)), other=OTHER, original=ORIGINAL)


def daemon_rootfs(case: Case, root: Path) -> tuple[Facts, Facts]:
    fields = case.fields()
    expected = _expected(case, fields)
    partitions = Partitions(root / "partitions")
    partitions.make()
    polls = 1 if expected.get("status") == NOTHING else None
    device, log = ConformanceDevice(root, World(boots=partitions.boot, polls=polls)), Log(root)
    found = given(fields, Repeat.ALWAYS)
    corruptions = _corruptions(fields.inner("extra"), device, expected)
    fields.end()
    expect_something(expected)
    for name in EVERY_SCRIPT if found.scripts is None else found.scripts:
        add_script(device, log, name, found.faults, corruptions.get(name, ""))
    log.module(device.modules / MODULE, found.answers, found.faults, partitions.module())
    ended = device.run()
    return expected, {
        **seen(ended),
        "script calls": tuple(call for call in ended.calls if "_" in call),
        "status": (_last_status(ended),),
        "partition": (partitions.running(),),
    }


def _expected(case: Case, fields: Fields) -> dict[str, tuple[str, ...]]:
    expected = expected_facts(fields) | _status(case, fields)
    if "expected_script_calls" in fields:
        expected["script calls"] = fields.texts("expected_script_calls")
    if "expected_final_partition" in fields:
        expected["partition"] = fields.texts("expected_final_partition")
    return expected


def _status(case: Case, fields: Fields) -> dict[str, tuple[str, ...]]:
    """Return the expected last status; `null` in the case means that nothing is reported."""
    if "expected_final_status" not in fields:
        return {}
    if case.content["expected_final_status"] is None:
        fields.leave("expected_final_status")
        return {"status": NOTHING}
    return {"status": (fields.text("expected_final_status"),)}


def _last_status(ended: Ended) -> str:
    return reports([ended.last_word])[-1] if ended.last_word else NOTHING[0]


def _corruptions(
    extra: Fields, device: ConformanceDevice, expected: dict[str, tuple[str, ...]]
) -> dict[str, str]:
    """Return what scripts do to the version files, by their names."""
    image, kept = device.scripts / "version", device.kept_scripts / "app" / "version"
    image.parent.mkdir()
    image.write_text("3")
    words = {
        "CorruptEtcScriptVersionIn": f"echo 1000 > {quote(str(image))}",
        "RestoreEtcScriptVersionIn": f"echo 3 > {quote(str(image))}",
        "CorruptDataScriptVersionIn": f"echo 1000 > {quote(str(kept))}",
    }
    found = {extra.text(word): text for word, text in words.items() if word in extra}
    if extra.flag("SwapPartitionExpectation", False):
        expected["partition"] = (OTHER,)
    extra.end()
    return found
