"""Stands the device on the slot that runs when the primary does not start; nobody has to come.

A boot script starts the other slot when the primary cannot be loaded. That is seen at rest, where
no deployment decides about slots (docs/operations.md).
"""

import logging
from dataclasses import replace

from device_agent.core.lost_primary import Move, asked, next_move, request
from device_agent.core.record import MAX_MESSAGE
from device_agent.errors import InstallFailed
from device_agent.journal import Journal
from device_agent.ports import BootFacts, Ports
from device_agent.status import SLOT_TROUBLE
from schemas.refusal import Code
from schemas.wire.report import Event, EventKind, FailureClass

RESTART = "restart"  # the journal's note of the restart that was asked for

log = logging.getLogger(__name__)


def settle(journal: Journal, ports: Ports) -> None:
    """Leave a trial that nobody will decide; find out whether the primary starts; if not, go on
    without it. Restarts the device at most once for that.

    Call it at rest. What cannot be done now is noted for the status and the heartbeat, and tried
    again at the next call. Raises JournalUnavailable, before anything that must be remembered.
    """
    if journal.standalone() is not None:
        return  # its module may have put a slot on trial, which is for a person to decide
    boot = ports.bootloader.facts()
    try:
        if boot.trial is not None and boot.running == boot.trial:
            log.error("slot %s runs on trial, and no deployment is known: going back", boot.running)
            if journal.recall(RESTART) is not None:
                journal.forget(RESTART)  # it was for an earlier time; before the trial is forgotten
            ports.bootloader.cancel()
            boot = ports.bootloader.facts()
        trouble = _make(next_move(boot, asked(journal.recall(RESTART))), boot, journal, ports)
    except InstallFailed as error:
        trouble = f"{_where(boot)}: {error}"
    if trouble:
        log.error("%s", trouble)
    _note(trouble, journal)


def _make(move: Move, boot: BootFacts, journal: Journal, ports: Ports) -> str | None:
    """Do what the move says; return why it cannot be done now. Raises InstallFailed."""
    match move:
        case Move.RESTART:
            return _restart(boot, journal, ports)
        case Move.WAIT:
            return f"{_where(boot)}: the device was asked to restart, and does not"
        case Move.ADOPT:
            _tell(boot, journal, ports)
            ports.bootloader.adopt()
    if journal.recall(RESTART) is not None:
        journal.forget(RESTART)  # the next time is another one
    return None


def _restart(boot: BootFacts, journal: Journal, ports: Ports) -> str:
    """Note it, then restart. The owner is not asked: what runs may be a trial that failed, whose
    own application objects. Returns only from a machine that says it restarts, and does not."""
    why = f"{_where(boot)}: a restart shows whether that starts"
    log.error("%s", why)
    wish = request(boot, asked(journal.recall(RESTART)))
    journal.remember(**{RESTART: str(wish), SLOT_TROUBLE: why})
    try:
        ports.machine.reboot()
    except InstallFailed:
        journal.remember(**{RESTART: str(replace(wish, requests=0))})  # it may still come, late
        raise
    return why


def _tell(boot: BootFacts, journal: Journal, ports: Ports) -> None:
    """Report the loss, once, however often it is told: the restart that showed it is its name."""
    what = (
        f"slot {boot.primary}, the primary, does not start: slot {boot.running}, which runs in its"
        " place, is to be the primary"
    )
    log.error("%s", what)
    event = Event(
        id=ports.new_id(),
        kind=EventKind.REFUSED,
        at=ports.clock.now(),
        boot_id=boot.boot_id,
        failure=FailureClass.REBOOT,
        code=Code.STATE,
        message=what,
    )
    journal.refuse(f"lost primary: {journal.recall(RESTART)}", event)


def _where(boot: BootFacts) -> str:
    return f"slot {boot.running} runs, not the primary {boot.primary}"


def _note(trouble: str | None, journal: Journal) -> None:
    if trouble == journal.recall(SLOT_TROUBLE):
        return
    if trouble is None:
        journal.forget(SLOT_TROUBLE)
    else:
        journal.remember(**{SLOT_TROUBLE: trouble[:MAX_MESSAGE]})
