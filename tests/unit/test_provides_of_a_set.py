"""Several artifacts in one set: what they say of themselves, whatever the journal's order."""

from pathlib import Path

from device_agent.core.component import Contents
from device_agent.core.record import consequences
from device_agent.core.states import State
from device_agent.journal import Journal
from tests.support.agent_fakes import MODULE, OTHER, a_record

SAID = {"cfg": Contents("cfg-2", modules=("files",)), "app": Contents("app-2", modules=("files",))}


def test_the_last_artifact_by_name_gives_the_device_its_name(tmp_path: Path) -> None:
    record = a_record(MODULE, OTHER, contents=SAID, state=State.FINISH)
    journal = Journal(tmp_path / "journal.db", id="0" * 32)
    journal.enter(record)
    read = journal.record()
    assert read
    assert consequences(read).installed == consequences(record).installed
    assert journal.provides()["artifact_name"] == "cfg-2"
