"""The benches by name, and how many seconds each may take before it is ended."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.figures import Bench
from tests.bench.first_device import first_device
from tests.bench.ingest import ingest
from tests.bench.load import load
from tests.bench.mender_payload import mender_payload
from tests.bench.planning import planning
from tests.bench.polling import polling
from tests.bench.publish import publish
from tests.bench.slot_write import slot_write


@dataclass(frozen=True, slots=True)
class Entry:
    bench: Bench
    limit: float  # seconds


BENCHES: Mapping[str, Entry] = {
    "first-device": Entry(first_device, 400),
    "publish": Entry(publish, 600),
    "load": Entry(load, 300),
    "polling": Entry(polling, 120),
    "ingest": Entry(ingest, 400),
    "planning": Entry(planning, 300),
    "mender-payload": Entry(mender_payload, 900),
    "slot-write": Entry(slot_write, 900),
}
