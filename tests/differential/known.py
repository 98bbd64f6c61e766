"""Where fleetcd-agent and Debian's mender-client 3.4 are known to differ, and why.

What is not listed here must be the same. A difference that concerns some tests only is named by
them; the rest, `EVERYWHERE`, is taken out of every comparison.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from tests.support.differential import Step


@dataclass(frozen=True, slots=True)
class Known:
    """One difference. `normalise` takes it out of a step, of either agent."""

    what: str
    reason: str
    normalise: Callable[[Step], Step]


def _without(query: str) -> Callable[[Step], Step]:
    def normalise(step: Step) -> Step:
        return replace(step, calls=tuple(c for c in step.calls if not c.endswith(f" {query}")))

    return normalise


def _by_hand(step: Step) -> Step:
    """Take ArtifactFailure and its scripts out of a rollback that went well."""
    if step.command != "rollback" or step.status:
        return step
    return replace(step, calls=tuple(c for c in step.calls if "ArtifactFailure" not in c))


def _early(step: Step) -> Step:
    return replace(step, calls=(), provides={})


def _unbegun(step: Step) -> Step:
    """Take Cleanup out of the calls if the module was not called before."""
    own = [call for call in step.calls if not call.startswith(SCRIPT)]
    if len(own) != 1 or not own[0].endswith(" Cleanup"):
        return step
    return replace(step, calls=tuple(call for call in step.calls if call not in own))


def _scripts_after(failing: str) -> Callable[[Step], Step]:
    """Take out what runs after the script `failing` in its state: the second one, or Error."""
    state, action, _ = failing.split("_")
    rest = (f"{SCRIPT}{state}_{action}_10_again", f"{SCRIPT}{state}_Error_")

    def normalise(step: Step) -> Step:
        return replace(step, calls=tuple(c for c in step.calls if not c.startswith(rest)))

    return normalise


SCRIPT = "state script "

EVERYWHERE: Sequence[Known] = (
    Known(
        what="mender-client 3.4 never asks ProvidePayloadFileSizes.",
        reason="The query came with the client written in C++ (version 4), which we follow.",
        normalise=_without("ProvidePayloadFileSizes"),
    ),
    Known(
        what="mender-client 3.4 asks SupportsRollback after Download, and again before a rollback.",
        reason="Version 4 asks after ArtifactInstall, and so do we; what the answer leads to is"
        " compared.",
        normalise=_without("SupportsRollback"),
    ),
    Known(
        what="After `rollback`, mender-client 3.4 does not call ArtifactFailure.",
        reason="Version 4 has one way back, whoever asked for it, and it leads through"
        " ArtifactFailure.",
        normalise=_by_hand,
    ),
)

EARLY = Known(
    what="mender-client 3.4 fails before ArtifactInstall when SupportsRollback has no answer.",
    reason="It asks after Download. Version 4 and we ask when the answer is needed: the module has"
    " installed by then, and the device is inconsistent. Exit codes and files are compared.",
    normalise=_early,
)
UNBEGUN = Known(
    what="When Download_Enter fails, mender-client 3.4 does not call Cleanup.",
    reason="Version 4 does: the module's tree is there already.",
    normalise=_unbegun,
)


DOUBT = Known(
    what="mender-client 3.4 calls a device inconsistent when ArtifactRollback_Leave fails, not when"
    " ArtifactFailure_Enter does.",
    reason="Version 4 and we do the reverse in updates by hand: what ends a rollback that went well"
    " casts no doubt on it. Calls, exit codes and files are compared.",
    normalise=lambda step: replace(step, provides={}),
)


def other_scripts(failing: str) -> Known:
    return Known(
        what=f"After {failing} has failed, mender-client 3.4 runs other scripts.",
        reason="On the way back, and after the commit, version 4 runs the other scripts of the same"
        " state and action, and no Error scripts.",
        normalise=_scripts_after(failing),
    )


def normalised(steps: Sequence[Step], known: Sequence[Known] = ()) -> Sequence[Step]:
    for one in (*EVERYWHERE, *known):
        steps = [one.normalise(step) for step in steps]
    return steps


def differences(
    theirs: Sequence[Step], ours: Sequence[Step], known: Sequence[Known] = ()
) -> Sequence[str]:
    """Return what is different after all that is known, a line for each field of a step."""
    pairs = zip(normalised(theirs, known), normalised(ours, known), strict=True)
    return [
        f"{number}. {their.command}: {field.name}: mender {theirs_}, fleetcd {ours_}"
        for number, (their, our) in enumerate(pairs, start=1)
        for field in fields(Step)
        if (theirs_ := getattr(their, field.name)) != (ours_ := getattr(our, field.name))
    ]
