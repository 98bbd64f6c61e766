"""A fleet's component may be named as the tree of an update by hand: they never work together."""

from pathlib import Path

from device_agent.core.component import Contents
from device_agent.core.standalone import BASE, Point, StandaloneRecord
from device_agent.driver import Result
from schemas.wire.decode import encode
from schemas.wire.descriptor import Scope
from tests.support.agent_fakes import a_descriptor
from tests.support.polling_device import Device


def test_nothing_of_a_fleet_touches_the_tree_of_an_update_by_hand(tmp_path: Path) -> None:
    same = a_descriptor(BASE, installer="files", scope=Scope.DATA)
    device = Device(tmp_path, same)
    device.wants(same)
    by_hand = StandaloneRecord(Contents("new", modules=("files",)), Point.BEFORE_COMMIT)
    device.journal.keep_standalone(encode(by_hand))
    done = device.poll()
    assert (done.result, device.installer.calls) == (Result.WAITING, [])
    device.journal.drop_standalone()
    assert device.poll().result is Result.IDLE
    assert f"install {BASE}" in device.installer.calls
