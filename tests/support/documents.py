"""One full example of every wire document: golden files and decoder tests are made of them."""

from datetime import UTC, datetime, timedelta

from schemas.canonical import rollout_id
from schemas.order import order
from schemas.wire.descriptor import Artifact, Descriptor, Encoding, Health, Scope
from schemas.wire.manifest import AdmitRule, Groups, Manifest, Next, Stable
from schemas.wire.project import ProjectStatus
from schemas.wire.report import (
    EnrolRequest,
    Event,
    EventKind,
    FailureClass,
    Heartbeat,
    Outcome,
    Report,
)
from schemas.wire.shard import Hold, Shard, ShardEntry
from schemas.wire.status import (
    Condition,
    Decision,
    FleetStatus,
    Opened,
    Phase,
    Refused,
    Rollout,
    StageCounts,
)
from schemas.wire.types import ComponentRef, ComponentSet

NOW = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
COMMIT = "8be01aa2c3d4e5f60718293a4b5c6d7e8f901234"
KEY = "sha256:d430bce68a78f8fd06d5af021ee02545a3a9c63acde45572a76b6cff054a2340"

DESCRIPTOR = Descriptor(
    name="kiosk-os",
    version="1.5.0",
    installer="rootfs-ab",
    scope=Scope.SLOT,
    epoch=1,
    artifacts=(
        Artifact(
            compatible="hardware=rpi4",
            sha256="8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",
            size=412_316_672,
            uncompressed_size=1_236_946_944,
            encoding=Encoding.ZSTD,
            url="https://cdn.acme.example/kiosk-os/1.5.0/rpi4.img.zst",
        ),
        Artifact(
            compatible="hardware=x86-nuc",
            sha256="2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
            size=498_073_600,
            uncompressed_size=1_494_220_800,
            encoding=Encoding.GZIP,
        ),
    ),
    health=Health(within=600, checks=("network", "systemd:kiosk.service")),
    upgrade_from=">=1.3.0",
    labels={"channel": "lts"},
)

NEW = ComponentSet(
    {"os": ComponentRef(DESCRIPTOR.release, DESCRIPTOR.digest)}, {}, {"brightness": 80}
)
OLD = ComponentSet({"os": ComponentRef("kiosk-os@1.4.2", "sha256:" + "a1" * 32)})
ROLLOUT = rollout_id("kiosks-prod-eu", NEW.id, 1)

MANIFEST = Manifest(
    fleet="kiosks-prod-eu",
    generation=7,
    commit=COMMIT,
    issued=NOW,
    stop=None,
    poll=60,
    fresh_for=60,
    windows=(),
    attempt=1,
    next=Next(
        rollout=ROLLOUT,
        set=NEW.id,
        components=NEW.components,
        config={},
        vars=NEW.vars,
        admit=(
            AdmitRule(selector="ring=canary", stage="canary"),
            AdmitRule(only=(order(ROLLOUT, "kiosk-0001"),), stage="early"),
            AdmitRule(through="0ccccccccccccccc", stage="half"),
            AdmitRule(running="5b1d22aa00000000"),
        ),
        groups=Groups(by="site", only={"paris-01": (order(ROLLOUT, "kiosk-0001"),)}),
    ),
    stable=Stable(OLD.id, 1, OLD.components, {}, {}),
    keep=("77aa01c200000000",),
)

ENTRY = ShardEntry(
    name="kiosk-0007",
    fleet="kiosks-prod-eu",
    labels={"product": "kiosk", "site": "lyon-03"},
    public_key="MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
    vars={"brightness": 40},
    pin={"os": OLD.components["os"]},
    hold=Hold(reason="RMA debug, ticket 812", until=NOW + timedelta(days=7)),
)
SHARD = Shard({KEY: ENTRY})

STATUS = FleetStatus(
    fleet="kiosks-prod-eu",
    generation=7,
    commit=COMMIT,
    issued=NOW,
    desired=NEW.id,
    desired_text=str(NEW),
    stable=MANIFEST.stable,
    keep=("77aa01c200000000",),
    rollout=Rollout(
        id=ROLLOUT,
        set=NEW.id,
        content=NEW,
        attempt=1,
        commit=COMMIT,
        phase=Phase.SOAKING,
        reason="6 of 6 succeeded, 98 % needed, soaking until 2026-11-25 07:00 UTC",
        started=NOW,
        exposure=(
            Opened(
                stage="canary",
                rules=(AdmitRule(selector="ring=canary", stage="canary"),),
                size=6,
                at=NOW,
                counts=StageCounts(admitted=6, reachable=6, started=6, ok=6),
                settled=NOW,
            ),
        ),
    ),
    attempts={NEW.id: 1},
    ledger=(
        Refused(
            set="77aa01c200000000",
            release="os=kiosk-os@1.4.9",
            rollout="r-00c0ffee",
            attempt=1,
            reason="3 of 4 failed: 2 healthcheck, 1 reboot",
            at=NOW - timedelta(days=1),
            closed=NOW,
        ),
    ),
    decisions=(
        Decision(NOW, "open stage", "6 eligible devices match ring=canary", ROLLOUT, "canary"),
    ),
    conditions=(Condition("Progressing", True, "Soaking", "until 2026-11-25 07:00 UTC", NOW),),
    devices=431,
)

PROJECT = ProjectStatus(
    attempted="c0ffee00c3d4e5f60718293a4b5c6d7e8f901234",
    since=NOW - timedelta(hours=1),
    project="acme",
    commit=COMMIT,
    conditions=(
        Condition(
            "CommitValid",
            False,
            "Invalid",
            "commit c0ffee00c3d4: fleets/kiosks.yaml:7:3: spec.selektor: unknown field",
            NOW - timedelta(hours=1),
        ),
        Condition("Published", True, "Published", "commit 8be01aa2c3d4", NOW),
    ),
    problems=("fleets/kiosks.yaml:7:3: spec.selektor: unknown field",),
)

EVENT = Event(
    id="0123456789abcdef0123456789abcdef",
    kind=EventKind.FINISHED,
    at=NOW,
    boot_id="6a1f5a30-3c8c-4b0e-9c6e-0f4f9a1b2c3d",
    rollout=ROLLOUT,
    set=NEW.id,
    attempt=1,
    state="cleanup",
    outcome=Outcome.FAILED,
    failure=FailureClass.HEALTHCHECK,
    message="systemd:kiosk.service: inactive",
)
REPORT = Report(
    iss=KEY,
    aud="fleetcd-report",
    iat=1_795_503_600,
    exp=1_795_503_720,
    journal="00112233445566778899aabbccddeeff",
    seq=41,
    heartbeat=Heartbeat(
        set=OLD.id,
        running=OLD,
        fleet="kiosks-prod-eu",
        state="idle",
        timestamp_version=1234,
        clock_trusted=True,
        agent="fleetcd-agent/0.1.0",
        boot_id=EVENT.boot_id,
        facts={"hardware": "rpi4"},
        last_outcome=EVENT,
    ),
    events=(EVENT,),
)
ENROL = EnrolRequest(
    aud="fleetcd-enrol",
    iat=1_795_503_600,
    exp=1_795_503_720,
    nonce="8f0d3c2b1a",
    name="kiosk-0007",
    public_key="MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
    facts={"hardware": "rpi4"},
)

EXAMPLES = {
    "manifest": MANIFEST,
    "descriptor": DESCRIPTOR,
    "shard": SHARD,
    "status": STATUS,
    "project": PROJECT,
    "report": REPORT,
    "enrol": ENROL,
}
