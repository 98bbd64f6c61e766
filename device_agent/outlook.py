"""What the journal says about the next poll; for the resident loop, hence small."""

from dataclasses import dataclass
from datetime import datetime

from device_agent.core.schedule import ROLLING_HEARTBEAT, heartbeat_due
from device_agent.journal import Journal

LONGEST_HINT = 24 * 3600.0  # seconds: whoever holds the online key for a day must not hush a device


@dataclass(frozen=True, slots=True)
class Outlook:
    """`busy`: a deployment is at work, or a report is due: a child is needed in any case.
    `hint`: the poll interval that the last manifest asked for, in seconds. `unassigned`: no fleet
    has this device, as far as it knows: it waits for acceptance, or for Git. `scripted`: the image
    has scripts for every poll (Idle, Sync), which a child runs."""

    busy: bool
    hint: float | None = None
    unassigned: bool = False
    scripted: bool = False


def report_due(journal: Journal, now: datetime, heartbeat: float) -> bool:
    """Return whether there is something to report: events, or a heartbeat (interval in seconds)."""
    rolling = journal.recall("rolling")
    interval = min(heartbeat, ROLLING_HEARTBEAT) if rolling else heartbeat
    return bool(journal.pending()) or heartbeat_due(journal.recall_time("heartbeat"), now, interval)


def outlook(journal: Journal, *, reports: bool, scripted: bool = False) -> Outlook:
    """`reports`: something is to be reported now; `scripted` as in Outlook."""
    hint = journal.recall("poll")
    return Outlook(
        busy=journal.record() is not None or reports,
        hint=min(float(hint), LONGEST_HINT) if hint else None,
        unassigned=not journal.recall("fleet"),
        scripted=scripted,
    )
