"""State scripts around a deployment's states, in Mender's order, and what artifacts say."""

from pathlib import Path

import pytest

from device_agent import driver
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.component import Component, Contents, RebootNeed
from device_agent.driver import Result
from device_agent.errors import InstallFailed
from device_agent.journal import Journal
from device_agent.ports import Ports
from schemas.wire.report import Event, EventKind, FailureClass, Outcome
from tests.support.agent_fakes import (
    MODULE,
    OTHER,
    ROOTFS,
    FakeInstaller,
    FakeScripts,
    FakeTrust,
    Rebooted,
    a_manifest,
    a_record,
    a_trusted,
    fake_ports,
)
from tests.support.driver_device import SlotInstaller

BROKEN = InstallFailed("it broke", FailureClass.INSTALL)
BEGIN = ["Download_Enter app", "download app", "Download_Leave app"]
INSTALLED = ["ArtifactInstall_Enter app", "install app", "ArtifactInstall_Leave app"]
COMMITTED = ["ArtifactCommit_Enter app", "commit app", "ArtifactCommit_Leave app"]
UNDONE = ["ArtifactRollback_Enter app", "rollback app", "ArtifactRollback_Leave app"]
TOLD = ["ArtifactFailure_Enter app", "failure app", "ArtifactFailure_Leave app", "cleanup app"]


class Stage:
    """A deployment whose installer and scripts write into one list."""

    def __init__(self, root: Path, installer: FakeInstaller, *failing: str) -> None:
        self.root, self.installer = root, installer
        self.scripts = FakeScripts(installer.calls, failing)
        self.components: tuple[Component, ...] = (MODULE,)

    def run(self) -> list[str]:
        """Run to the end through restarts. Return the calls, without the queries."""
        record = a_record(*self.components)
        boot(self.root)
        self.journal = Journal(self.root / "journal.db", id="0" * 32)
        driver.begin(self.journal, self._ports(), record)
        for _ in range(5):
            try:
                assert driver.run(self.journal, self._ports()) is Result.IDLE
                break
            except Rebooted:
                boot(self.root)
        queries = ("reboot_need", "supports_rollback")
        return [call for call in self.installer.calls if not call.startswith(queries)]

    def _ports(self) -> Ports:
        trusted = a_trusted(a_manifest(a_record(*self.components).content))
        return fake_ports(
            FileBootloader(self.root),
            trust=FakeTrust([trusted]),
            installer=self.installer,
            scripts=self.scripts,
        )

    @property
    def last_word(self) -> Event:
        events = self.journal.batch(room=1 << 20).events
        (word,) = [event for event in events if event.kind is EventKind.FINISHED]
        return word


def stage(root: Path, *failing: str, **answers: object) -> Stage:
    return Stage(root, FakeInstaller(**answers), *failing)  # type: ignore[arg-type]  # its fields


def test_a_good_update_with_a_restart_runs_all_scripts_in_menders_order(tmp_path: Path) -> None:
    restart = ["ArtifactReboot_Enter app", "activate app", "verify app", "ArtifactReboot_Leave app"]
    calls = stage(tmp_path, need=RebootNeed.MODULE).run()
    assert calls == [*BEGIN, *INSTALLED, *restart, *COMMITTED, "cleanup app"]


def test_the_modules_answer_about_restarts_is_asked_after_the_leave_scripts(tmp_path: Path) -> None:
    one = stage(tmp_path)
    one.run()
    at = one.installer.calls.index("reboot_need app")
    assert one.installer.calls[at - 1] == "ArtifactInstall_Leave app"


def test_a_refused_answer_about_restarts_runs_no_error_script(tmp_path: Path) -> None:
    one = stage(tmp_path, errors={"reboot_need": BROKEN})
    calls = one.run()
    assert calls == [*BEGIN, *INSTALLED, *UNDONE, *TOLD]
    assert one.last_word.inconsistent == ("app",), "the second answer failed, too"


@pytest.mark.parametrize("failing", ["Download_Enter", "Download_Leave", "download"])
def test_a_failed_download_runs_its_error_scripts_and_cleans_up(
    tmp_path: Path, failing: str
) -> None:
    one = stage(tmp_path, failing, errors={"download": BROKEN} if failing == "download" else {})
    calls = one.run()
    assert calls[-2:] == ["Download_Error app", "cleanup app"]
    assert "install app" not in calls
    assert one.last_word.inconsistent == ()


def test_a_failed_enter_script_keeps_the_install_away_and_is_undone(tmp_path: Path) -> None:
    one = stage(tmp_path, "ArtifactInstall_Enter")
    failed = ["ArtifactInstall_Enter app", "ArtifactInstall_Error app"]
    assert one.run() == [*BEGIN, *failed, *UNDONE, *TOLD]
    assert one.last_word.failure is FailureClass.SCRIPT


def test_a_failed_commit_runs_its_error_scripts_and_is_rolled_back(tmp_path: Path) -> None:
    calls = stage(tmp_path, errors={"commit": BROKEN}).run()
    failed = ["ArtifactCommit_Enter app", "commit app", "ArtifactCommit_Error app"]
    assert calls == [*BEGIN, *INSTALLED, *failed, *UNDONE, *TOLD]


def test_unknown_image_scripts_are_noticed_between_enter_and_commit(tmp_path: Path) -> None:
    calls = stage(tmp_path, "version").run()
    failed = ["ArtifactCommit_Enter app", "ArtifactCommit_Error app"]
    assert calls == [*BEGIN, *INSTALLED, *failed, *UNDONE, *TOLD]


def test_a_failed_leave_script_after_the_commit_point_is_inconsistent_and_kept(
    tmp_path: Path,
) -> None:
    one = stage(tmp_path, "ArtifactCommit_Leave")
    calls = one.run()
    assert calls == [*BEGIN, *INSTALLED, *COMMITTED, "ArtifactCommit_Error app", "cleanup app"]
    word = one.last_word
    assert (word.outcome, word.inconsistent) == (Outcome.FAILED, ("app",))
    assert one.journal.installed() is not None


@pytest.mark.parametrize(
    "failing",
    [
        "ArtifactRollback_Enter",
        "ArtifactRollback_Leave",
        "ArtifactFailure_Enter",
        "ArtifactFailure_Leave",
    ],
)
def test_on_the_way_back_a_failing_script_stops_nothing_and_is_reported(
    tmp_path: Path, failing: str
) -> None:
    one = stage(tmp_path, failing, errors={"install": BROKEN})
    assert one.run()[-7:] == [*UNDONE, *TOLD]
    assert one.last_word.inconsistent == ("app",)
    assert f"{failing}: it broke" in (one.last_word.message or "")


def test_after_a_failed_rollback_all_its_leave_scripts_run(tmp_path: Path) -> None:
    one = stage(tmp_path, errors={"install": BROKEN, "rollback": BROKEN})
    one.run()
    assert one.scripts.going_on == ["ArtifactRollback_Leave"]


def test_without_rollback_no_rollback_script_runs(tmp_path: Path) -> None:
    calls = stage(tmp_path, undoable=False, errors={"install": BROKEN}).run()
    assert calls[-5:] == ["ArtifactInstall_Error app", *TOLD]


@pytest.mark.parametrize(
    ("need", "restart"), [(RebootNeed.MODULE, ["rollback_reboot app"]), (RebootNeed.AGENT, [])]
)
def test_the_restart_back_is_entered_once_however_often_it_is_tried(
    tmp_path: Path, need: RebootNeed, restart: list[str]
) -> None:
    class Late(FakeInstaller):
        def verify_rollback(self, component: Component) -> None:
            super().verify_rollback(component)
            if self.calls.count("verify_rollback app") < 3:
                raise BROKEN

    one = Stage(tmp_path, Late(need=need, errors={"verify": BROKEN}))
    calls = one.run()
    back = [call for call in calls if "ollback" in call][3:]
    again = [*restart, "verify_rollback app"]
    assert back == [
        "ArtifactRollbackReboot_Enter app",
        *again * 3,
        "ArtifactRollbackReboot_Leave app",
    ]
    assert one.last_word.inconsistent == ()


def test_a_failed_leave_script_of_the_restart_back_runs_error_scripts(tmp_path: Path) -> None:
    one = stage(
        tmp_path,
        "ArtifactRollbackReboot_Leave",
        need=RebootNeed.MODULE,
        errors={"verify": BROKEN},
    )
    calls = one.run()
    at = calls.index("ArtifactRollbackReboot_Leave app")
    assert calls[at + 1 :] == ["ArtifactRollbackReboot_Error app", *TOLD]
    assert one.last_word.inconsistent == ("app",)


def test_install_scripts_run_once_around_all_components(tmp_path: Path) -> None:
    one = stage(tmp_path)
    one.components = (MODULE, OTHER)
    calls = one.run()
    at = calls.index("ArtifactInstall_Enter app cfg")
    assert calls[at + 1 : at + 4] == [
        "install app",
        "install cfg",
        "ArtifactInstall_Leave app cfg",
    ]


def test_in_a_trial_boot_the_modules_have_their_own_install_scripts(tmp_path: Path) -> None:
    one = Stage(tmp_path, SlotInstaller(tmp_path))
    one.components = (ROOTFS, MODULE)
    calls = [call for call in one.run() if "nstall" in call]
    assert calls == [
        "ArtifactInstall_Enter os",
        "install os",
        "ArtifactInstall_Leave os",
        *INSTALLED,
    ]


TOLD_ONLY = Contents("what-it-runs", provides={"rootfs-image.version": "7"})


def test_an_artifact_without_payload_only_changes_what_is_provided(tmp_path: Path) -> None:
    one = stage(tmp_path, contents={"app": TOLD_ONLY})
    assert one.run() == BEGIN
    assert one.last_word.outcome is Outcome.OK
    assert one.journal.provides() == {
        "artifact_name": "what-it-runs",
        "rootfs-image.version": "7",
    }
    assert one.journal.installed() is not None


def test_each_payload_of_an_artifact_is_installed_and_undone_by_itself(tmp_path: Path) -> None:
    two = Contents("two", modules=("single-file", "script"))
    one = stage(tmp_path, contents={"app": two}, errors={"install app_0001": BROKEN})
    calls = one.run()
    assert [call for call in calls if call.startswith(("install", "rollback", "cleanup"))] == [
        "install app",
        "install app_0001",
        "rollback app_0001",
        "rollback app",
        "cleanup app",
        "cleanup app_0001",
    ]


def test_a_failed_update_that_was_undone_changes_no_provides(tmp_path: Path) -> None:
    one = stage(
        tmp_path, contents={"app": Contents("new", modules=("m",))}, errors={"commit": BROKEN}
    )
    one.run()
    assert one.journal.provides() == {}


def test_what_nobody_knows_is_named_so(tmp_path: Path) -> None:
    inside = {"app": Contents("new", modules=("m",))}
    one = stage(tmp_path, undoable=False, contents=inside, errors={"install": BROKEN})
    one.run()
    assert one.journal.provides() == {"artifact_name": "new_INCONSISTENT"}


def test_what_cannot_be_undone_is_installed_last(tmp_path: Path) -> None:
    one = stage(tmp_path, not_undoable=("app",))
    one.components = (MODULE, OTHER)
    assert [call for call in one.run() if call.startswith("install")] == [
        "install cfg",
        "install app",
    ]


def test_two_components_that_cannot_be_undone_are_refused_before_anything_is_installed(
    tmp_path: Path,
) -> None:
    one = stage(tmp_path, undoable=False)
    one.components = (MODULE, OTHER)
    assert not [call for call in one.run() if call.startswith("install")]
    assert "app and cfg cannot be rolled back" in (one.last_word.message or "")
    assert one.last_word.failure is FailureClass.POLICY


def test_a_lone_module_is_asked_nothing_that_mender_would_not_ask(tmp_path: Path) -> None:
    one = stage(tmp_path)
    one.run()
    assert "supports_rollback app" not in one.installer.calls
