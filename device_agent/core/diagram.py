"""Prints docs/state-machine.md from the tables: `python -m device_agent.core.diagram`. Pure."""

import sys

from device_agent.core.record import MAX_ENTRIES
from device_agent.core.scripts import AROUND, Around
from device_agent.core.states import MEANING, RESUME, TRANSITIONS, Outcome, Place, State

HEAD = """# The agent's state machine

This page is printed from the tables in `device_agent/core/states.py` by `make docs`; a test
compares them.

A state is journaled, together with the report of it, before its work begins. After any interruption
the journal says what was about to be done, and the bootloader says what is true; where they differ,
the bootloader wins.
"""

RESUME_HEAD = """
## After an interruption

By where the device is found: in a deployment without a root filesystem slots say nothing
(*no slot*); otherwise the old slot runs (*elsewhere*), the new one runs and is not committed
(*trial*), or it is (*committed*).
"""

RESUME_FOOT = """
`reboot`, on the same boot: again; a module that restarts no more than this agent is verified. After
a restart: `rollback` where the old slot runs (the new one did not start), else `verify-reboot`.
`rollback-reboot`: `verify-rollback` after a restart, else again. `health` without a slot, after a
second restart of what asked for one: `rollback`. A state before which a person was
asked (`--stop-before`) has not begun, and is waited in again.
"""

SCRIPTS_HEAD = """
## State scripts

Which scripts run around a state's work: *enter* before it, *leave* when it went well, *error* when
it or one of the others failed (not when it was interrupted). A failing *enter* keeps the work from
being done, except on the way back: there it is reported, and stops nothing. The names are Mender's;
`Idle` and `Sync` scripts run around the polls, outside of any deployment.
"""


def page() -> str:
    """Return the page."""
    lines = [HEAD, "## States", "", "| state | what it does |", "|---|---|"]
    lines += [f"| `{state}` | {MEANING[state]} |" for state in State]
    lines += ["", "## Transitions", "", "```mermaid", "stateDiagram-v2"]
    lines += ["    [*] --> download"]
    lines += _arrows()
    lines += ["    idle --> [*]", "```", "", *_transitions()]
    lines += [SCRIPTS_HEAD, *_scripts()]
    lines += [RESUME_HEAD, *_resume(), RESUME_FOOT.rstrip()]
    lines += [
        "",
        f"A deployment that has entered {MAX_ENTRIES} states goes round in circles: its modules",
        "are told (`failure`, `cleanup`), it is reported as failed, with all it began as",
        "inconsistent, and the device is not touched any more until a person looks or a new",
        "attempt comes.",
    ]
    return "\n".join(lines) + "\n"


def _arrows() -> list[str]:
    """A loop to oneself and the two kinds of going on are told by their labels."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for state, row in TRANSITIONS.items():
        for outcome, following in row.items():
            arrows.setdefault((state, following), []).append(outcome)
    return [
        f"    {_id(state)} --> {_id(following)}: {', '.join(outcomes)}"
        for (state, following), outcomes in arrows.items()
    ]


def _id(state: State) -> str:
    return state.replace("-", "_")


def _transitions() -> list[str]:
    lines = ["| state | " + " | ".join(Outcome) + " |", "|---" * (len(Outcome) + 1) + "|"]
    for state, row in TRANSITIONS.items():
        cells = [f"`{row[outcome]}`" if outcome in row else "" for outcome in Outcome]
        lines.append(f"| `{state}` | " + " | ".join(cells) + " |")
    return lines


def _scripts() -> list[str]:
    lines = ["| state | enter | leave | error |", "|---|---|---|---|"]
    for state, around in AROUND.items():
        lines.append(f"| `{state}` | {' | '.join(_script_names(around))} |")
    return lines


def _script_names(around: Around) -> list[str]:
    named = {"Enter": around.enter, "Leave": around.leave, "Error": around.error}
    return [f"`{state}_{action}`" if state else "" for action, state in named.items()]


def _resume() -> list[str]:
    lines = ["| interrupted in | " + " | ".join(Place) + " |", "|---" * (len(Place) + 1) + "|"]
    for state, row in RESUME.items():
        cells = [f"`{row.get(place, state)}`" for place in Place]
        lines.append(f"| `{state}` | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    sys.stdout.write(page())
