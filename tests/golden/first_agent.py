"""What the first agent asks of a journal, as it was: it may be in the old slot, and take over.

Never change this to make a test pass: the agents that it describes are out there. The dumps in
journal_first/ were written by that agent: one in each state of an update of a root filesystem and a
module, and one at rest after a success and a failure. Its decoder ignored fields that it did not
know, and refused a record with any other difference from the classes here.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from schemas.wire.decode import AtLeast, Matching

JOURNALS = Path(__file__).with_name("journal_first")
SCHEMA_VERSION = 1  # and whatever is higher: then it changed nothing

GOOD = (
    "download",
    "install-wait",
    "install",
    "reboot-wait",
    "reboot",
    "verify-reboot",
    "modules",
    "health",
    "commit",
    "finish",
    "cleanup",
)
BAD = ("rollback", "rollback-reboot", "verify-rollback", "failure")
# The states from which it went back when the old slot ran.
BACK = frozenset({"install", "reboot", "verify-reboot", "modules", "health", "commit", *BAD})

_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?"
_VERSION = r"[A-Za-z0-9](?:[A-Za-z0-9._+~-]{0,126}[A-Za-z0-9])?"
Name = Annotated[str, Matching(_NAME)]
Version = Annotated[str, Matching(_VERSION)]
ReleaseId = Annotated[str, Matching(f"{_NAME}@{_VERSION}")]
InstallerName = Annotated[str, Matching(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")]
Sha256 = Annotated[str, Matching(r"[0-9a-f]{64}")]
Digest = Annotated[str, Matching(r"sha256:[0-9a-f]{64}")]
SetId = Annotated[str, Matching(r"[0-9a-f]{16}")]
RolloutId = Annotated[str, Matching(r"r-[0-9a-f]{8}")]
EventId = Annotated[str, Matching(r"[0-9a-f]{32}")]
Count = Annotated[int, AtLeast(0)]
Positive = Annotated[int, AtLeast(1)]


class State(StrEnum):
    IDLE = "idle"
    DOWNLOAD = "download"
    INSTALL_WAIT = "install-wait"
    INSTALL = "install"
    REBOOT_WAIT = "reboot-wait"
    REBOOT = "reboot"
    VERIFY_REBOOT = "verify-reboot"
    MODULES = "modules"
    HEALTH = "health"
    COMMIT = "commit"
    FINISH = "finish"
    CLEANUP = "cleanup"
    ROLLBACK = "rollback"
    ROLLBACK_REBOOT = "rollback-reboot"
    VERIFY_ROLLBACK = "verify-rollback"
    FAILURE = "failure"


class RebootNeed(StrEnum):
    NO = "no"
    MODULE = "module"
    AGENT = "agent"


class Scope(StrEnum):
    SLOT = "slot"
    DATA = "data"


class Encoding(StrEnum):
    RAW = "raw"
    GZIP = "gzip"
    XZ = "xz"
    ZSTD = "zstd"


class Verdict(StrEnum):
    OK = "ok"
    FAILED = "failed"
    NEUTRAL = "neutral"


class FailureClass(StrEnum):
    DOWNLOAD = "download"
    SIGNATURE = "signature"
    CHECKSUM = "checksum"
    SPACE = "space"
    PREINSTALL = "preinstall"
    INSTALL = "install"
    REBOOT = "reboot"
    HEALTHCHECK = "healthcheck"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SCRIPT = "script"
    TIMEOUT = "timeout"
    NETWORK = "network"
    POLICY = "policy"
    UNKNOWN = "unknown"


class EventKind(StrEnum):
    STATE = "state"
    FINISHED = "finished"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ComponentRef:
    release: ReleaseId
    descriptor: Digest


@dataclass(frozen=True, slots=True)
class ComponentSet:
    components: Mapping[Name, ComponentRef]
    config: Mapping[Name, Digest] = field(default_factory=dict)
    vars: Mapping[str, bool | int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Artifact:
    compatible: str
    sha256: Sha256
    size: Positive
    uncompressed_size: Positive
    encoding: Encoding
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    within: Positive = 600
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Descriptor:
    name: Name
    version: Version
    installer: InstallerName
    scope: Scope
    epoch: Count
    artifacts: tuple[Artifact, ...]
    health: Health = field(default_factory=Health)
    upgrade_from: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    type: Literal["fleetcd/descriptor"] = "fleetcd/descriptor"
    schema: Count = 1
    critical: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Component:
    name: str
    ref: ComponentRef
    descriptor: Descriptor
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class Problem:
    verdict: Verdict
    failure: FailureClass | None
    message: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    set: SetId
    content: ComponentSet
    rollout: RolloutId | None
    attempt: Positive
    components: tuple[Component, ...]
    slot: str | None
    state: State
    boot_id: str
    stage: str | None = None
    fresh_for: Positive | None = None
    begun: Count = 0
    entries: Count = 0
    tries: Count = 0
    reboots: Mapping[str, RebootNeed] = field(default_factory=dict)
    problem: Problem | None = None
    inconsistent: tuple[str, ...] = ()
    waiting: str | None = None
    stop_before: State | None = None


@dataclass(frozen=True, slots=True)
class Event:
    id: EventId
    kind: EventKind
    at: datetime
    boot_id: str
    rollout: RolloutId | None = None
    set: SetId | None = None
    attempt: Positive | None = None
    state: str | None = None
    outcome: Verdict | None = None
    failure: FailureClass | None = None
    code: str | None = None
    message: str | None = None
    inconsistent: tuple[str, ...] = ()


STATEMENTS: tuple[tuple[str, tuple[str | int | bytes, ...]], ...] = (
    ("SELECT document FROM record", ()),
    ("SELECT name, slot, content FROM running", ()),
    ("SELECT name, attempt FROM failed", ()),
    ("SELECT component, floor FROM epochs", ()),
    ("SELECT value FROM meta WHERE name = ?", ("seq",)),
    ("SELECT document FROM outbox WHERE place <= ? ORDER BY place", (1,)),
    ("SELECT place, length(document) + 1 FROM outbox ORDER BY place", ()),
    ("SELECT count(*) FROM outbox", ()),
    ("SELECT 1 FROM refusals WHERE name = ?", ("E_COMPAT",)),
    ("INSERT OR REPLACE INTO record VALUES (1, ?)", (b"{}",)),
    ("INSERT OR REPLACE INTO running VALUES (1, ?, ?, ?)", ("a set", "b", b"{}")),
    (
        "INSERT INTO failed VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET attempt = max(attempt, excluded.attempt)",
        ("a set", 1),
    ),
    ("DELETE FROM failed WHERE rowid <= (SELECT max(rowid) FROM failed) - ?", (100,)),
    (
        "INSERT INTO epochs VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET floor = max(floor, excluded.floor)",
        ("os", 1),
    ),
    ("INSERT INTO refusals VALUES (?)", ("E_COMPAT",)),
    ("DELETE FROM refusals WHERE rowid <= (SELECT max(rowid) FROM refusals) - ?", (50,)),
    ("INSERT INTO outbox (kind, document) VALUES (?, ?)", ("state", b"{}")),
    (
        "DELETE FROM outbox WHERE kind = ? AND place NOT IN"
        " (SELECT place FROM outbox WHERE kind = ? ORDER BY place DESC LIMIT ?)",
        ("state", "state", 200),
    ),
    ("INSERT OR REPLACE INTO meta VALUES (?, ?)", ("seq", "2")),
    ("DELETE FROM meta WHERE name = ?", ("note:poll",)),
    ("DELETE FROM outbox WHERE place <= ?", (1,)),
    ("DELETE FROM record", ()),
)
"""Every statement of the first agent, with values such as it had. Most name no columns: a table
that gets another one takes nothing from that agent any more."""


def write_journal(name: str, path: Path) -> None:
    """Make the first agent's journal in the state `name` (or `resting`) at `path`."""
    with closing(sqlite3.connect(path)) as journal:
        journal.executescript((JOURNALS / f"{name}.sql").read_text(encoding="utf-8"))


def documents(journal: Path) -> tuple[bytes | None, tuple[bytes, ...]]:
    """Return the record's document, if there is one, and those of the events, in order."""
    with closing(sqlite3.connect(journal)) as opened:
        record = opened.execute("SELECT document FROM record").fetchone()
        events = opened.execute("SELECT document FROM outbox ORDER BY place").fetchall()
    return record[0] if record else None, tuple(row[0] for row in events)
