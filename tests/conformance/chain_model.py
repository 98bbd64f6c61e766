"""What our agent does with one module, fault by fault, said a second time and independently of it.

A deployment is a chain of links. A link is a list of calls (module calls and state scripts) that is
begun when the journal says so; the table says what follows when one of its calls fails, and where
an agent that was killed in it goes on.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from tests.conformance.case import Facts
from tests.support.conformance_device import NEW_NAME, OLD_NAME
from tests.support.conformance_faults import Answers, Faults, Repeat

LIMIT, LAST_LIMIT = 28, 36  # states, until the chain is given up; and until its last words are


@dataclass(frozen=True, slots=True)
class Link:
    """`states` it passes in the journal; `report` is what a server hears when it begins."""

    calls: tuple[str, ...]
    then: str
    failed: str  # the link that follows a failure
    killed: str  # the link at which a killed agent goes on
    error: str | None = None  # the script that runs after a failure
    states: int = 1
    report: str | None = None
    goes_on: bool = False  # a failure stops nothing, it only leaves the component in doubt


UNDO, END = "undo", "end"

LINKS: dict[str, Link] = {
    "download": Link(
        ("Download_Enter", "ProvidePayloadFileSizes", "Download", "Download_Leave"),
        "install", "cleanup", "download", "Download_Error", states=2, report="downloading",
    ),
    "install": Link(
        ("ArtifactInstall_Enter", "ArtifactInstall", "ArtifactInstall_Leave"),
        "ask", UNDO, UNDO, "ArtifactInstall_Error", states=2, report="installing",
    ),
    "ask": Link(("NeedsArtifactReboot",), "reboot", UNDO, UNDO, states=0),
    "reboot": Link(
        ("ArtifactReboot_Enter", "ArtifactReboot"),
        "verify", UNDO, "verify", "ArtifactReboot_Error", states=2, report="rebooting",
    ),
    "verify": Link(
        ("ArtifactVerifyReboot", "ArtifactReboot_Leave"),
        "commit", UNDO, UNDO, "ArtifactReboot_Error",
    ),
    "commit": Link(
        ("ArtifactCommit_Enter", "ArtifactCommit"),
        "after", UNDO, UNDO, "ArtifactCommit_Error", states=2, report="installing",
    ),
    "after": Link(("ArtifactCommit_Leave",), "cleanup", "cleanup", "after", "ArtifactCommit_Error"),
    "cleanup": Link(("Cleanup",), END, END, "cleanup"),
    UNDO: Link(("SupportsRollback",), "rollback", "failure", UNDO),
    "rollback": Link(
        ("ArtifactRollback_Enter", "ArtifactRollback", "ArtifactRollback_Leave"),
        "ask again", "failure", UNDO, states=0, goes_on=True,
    ),
    "ask again": Link(("NeedsArtifactReboot",), "rollback reboot", "failure", UNDO, states=0),
    "rollback reboot": Link(
        ("ArtifactRollbackReboot_Enter", "ArtifactRollbackReboot"),
        "verify rollback", "verify rollback", "verify rollback", goes_on=True,
    ),
    "verify rollback": Link(
        ("ArtifactVerifyRollbackReboot", "ArtifactRollbackReboot_Leave"),
        "failure", "rollback reboot", "verify rollback", "ArtifactRollbackReboot_Error",
    ),
    "failure": Link(
        ("ArtifactFailure_Enter", "ArtifactFailure", "ArtifactFailure_Leave"),
        "cleanup", "cleanup", "failure", goes_on=True,
    ),
}  # fmt: skip
_QUERIES = ("SupportsRollback", "NeedsArtifactReboot")


@dataclass(frozen=True, slots=True)
class Around:
    """What the world does to the chain. A link may be `withdrawn` before: nobody wants it then."""

    withdrawn: str | None = None
    broken_download: bool = False
    writes: int | None = None
    idle_scripts: bool = False


class _Killed(Exception):
    pass


class _Failed(Exception):
    pass


@dataclass
class _Walk:
    faults: Faults
    answers: Answers
    around: Around
    calls: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    states: int = 0
    end: str = "success"
    in_doubt: bool = False
    struck: set[tuple[str, str]] = field(default_factory=set)
    been: set[str] = field(default_factory=set)
    rebooted_back: bool = False

    def walk(self) -> Facts:
        if self.around.idle_scripts:
            self._rounds()
        at, before = "download", ""
        while at != END:
            if not self._enter(at, before):
                return self._facts("unfinished", OLD_NAME)
            at, before = self._next(at), at
        if self.in_doubt:
            return self._facts("inconsistent", f"{NEW_NAME}_INCONSISTENT", self.end)
        if self.end == "success":
            return self._facts("success", NEW_NAME, self.end)
        return self._facts("rolled_back", OLD_NAME, self.end)

    def _rounds(self) -> None:
        """Poll until one poll goes well. What Idle scripts say changes nothing."""
        for _ in range(10):
            try:
                for name in ("Idle_Enter", "Idle_Leave", "Sync_Enter", "Sync_Leave"):
                    self._poll(name)
            except _Killed:
                continue
            except _Failed:
                self._error("Sync_Error")
                continue
            return

    def _poll(self, name: str) -> None:
        try:
            self._call(name)
        except _Failed:
            if name.startswith("Sync"):
                raise

    def _facts(self, outcome: str, name: str, *last: str) -> Facts:
        return {
            "calls": tuple(self.calls),
            "reports": (*self.reports, *last),
            "outcome": (outcome,),
            "artifact name": (name,),
        }

    def _enter(self, at: str, before: str) -> bool:
        """Journal the link's states; return whether that was possible."""
        link = LINKS[at]
        self.states += link.states
        self.been.add(at)
        if self.around.writes is not None and self.states > self.around.writes:
            return False
        if link.report and at != before:
            self.reports.append(link.report)
        return True

    def _next(self, at: str) -> str:
        if self._too_often(at):
            return self._give_up(at)
        if self.around.withdrawn == at:
            self.reports = [each for each in self.reports if each != LINKS[at].report]
            return self._fail("neutral", UNDO if at == "reboot" else "cleanup")
        try:
            return self._go(at)
        except _Killed:
            return self._after_death(at)

    def _go(self, at: str) -> str:
        try:
            return self._pass(at)
        except _Failed:
            return self._after_failure(at)

    def _give_up(self, at: str) -> str:
        """Tell the module and clean up, unless that is what goes round in circles."""
        begun = "install" in self.been
        self.end, self.in_doubt = "failure", self.in_doubt or begun
        if at in ("failure", "cleanup"):
            return END
        if at == "after":
            return "cleanup"
        return "failure" if begun else self._fail("failure", "cleanup")

    def _too_often(self, at: str) -> bool:
        return self.states > (LAST_LIMIT if at in ("failure", "cleanup") else LIMIT)

    def _pass(self, at: str) -> str:
        link, doubtful = LINKS[at], False
        for name in self._calls_of(at):
            try:
                self._call(name)
            except _Failed:
                if name == "ArtifactRollback":
                    doubtful = True
                if not link.goes_on:
                    raise
                self.in_doubt |= name != "ArtifactRollbackReboot" and not self._forgets(at)
        return self._chosen(at, "failure" if doubtful else link.then)

    def _forgets(self, at: str) -> bool:
        """Say whether the agent's own restart comes before what went wrong can be noted."""
        return at == "rollback reboot" and self.answers.needs_reboot == "Automatic"

    def _calls_of(self, at: str) -> Iterator[str]:
        for name in LINKS[at].calls:
            if name == "Download" and self.answers.file_sizes == "Yes":
                yield "DownloadWithFileSizes"
            elif name in ("ArtifactReboot", "ArtifactRollbackReboot"):
                if self.answers.needs_reboot == "Yes":
                    yield name
            elif name == "ArtifactRollbackReboot_Enter" and self.rebooted_back:
                continue
            elif self.around.broken_download and name == "ProvidePayloadFileSizes":
                raise _Failed
            else:
                yield name
        self.rebooted_back |= at == "rollback reboot"

    def _call(self, name: str) -> None:
        full = f"{name}_00" if name.endswith(("_Enter", "_Leave", "_Error")) else name
        if name not in _QUERIES:
            self.calls.append(full)
        if self._strikes(self.faults.kill, full, "kill"):
            raise _Killed
        if self._strikes(self.faults.fail, full, "fail") or full in self.faults.hang:
            raise _Failed

    def _strikes(self, faults: Mapping[str, Repeat], name: str, what: str) -> bool:
        first = (what, name) not in self.struck
        if name in faults:
            self.struck.add((what, name))
        return name in faults and (first or faults[name] is Repeat.ALWAYS)

    def _chosen(self, at: str, then: str) -> str:
        if at in ("ask", "ask again") and self.answers.needs_reboot in ("No", ""):
            return "commit" if at == "ask" else "failure"
        if at == UNDO and self.answers.supports_rollback != "Yes":
            self.in_doubt = True
            return "failure"
        return then

    def _after_death(self, at: str) -> str:
        goes_on = LINKS[at].killed
        if goes_on == UNDO:
            self.end = "failure"
        if goes_on == at and LINKS[at].states:
            self.states += 1 - LINKS[at].states  # it is the work's state that is entered again
        return goes_on

    def _after_failure(self, at: str) -> str:
        link = LINKS[at]
        broken = at == "download" and self.around.broken_download
        if at == "cleanup":
            return END
        if link.error and not (at == "verify rollback" and self._verify_failed()):
            self._error(link.error)
        if at in ("after", UNDO, "ask again"):
            self.in_doubt = True
        if at == "verify rollback" and not self._verify_failed():
            self.in_doubt = True
            return "failure"
        return self._fail("neutral" if broken else "failure", link.failed)

    def _verify_failed(self) -> bool:
        return self.calls[-1] == "ArtifactVerifyRollbackReboot"

    def _error(self, script: str) -> None:
        with suppress(_Failed):  # it has failed already
            self._call(script)

    def _fail(self, end: str, then: str) -> str:
        self.end = end if self.end == "success" else self.end
        if then == "cleanup" and not self._begun():
            return END  # there is no tree to clean up
        return then

    def _begun(self) -> bool:
        return "ProvidePayloadFileSizes" in self.calls


def expected_chain(faults: Faults, answers: Answers, around: Around | None = None) -> Facts:
    """Return what our agent does, reports and leaves behind."""
    return _Walk(faults, answers, around or Around()).walk()
