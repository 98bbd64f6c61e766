"""What the demo does and what must come of it: a good commit, a bad one, and its revert."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from schemas.wire.status import FleetStatus, Phase

FLEET = "kiosks"
CHAPTER_TIMEOUT = 120.0  # seconds; a chapter that takes longer has failed


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be seen now. `versions` maps a device to the version of the slot it runs."""

    status: FleetStatus | None
    versions: Mapping[str, str | None]
    waiting: tuple[str, ...] = ()  # devices that wait for a person to accept them


class Stage(Protocol):
    """Where the story plays: the real stack, of which a test may also make use."""

    def scene(self) -> Scene: ...

    def accept_waiting(self) -> None: ...

    def ship(self, version: str, *, health: str, message: str) -> str:
        """Release `version`, point the fleet at it, push; return the commit."""
        ...

    def revert(self) -> str:
        """Revert the newest commit, push; return the commit."""
        ...

    def ever_held(self, version: str) -> frozenset[str]:
        """Return the devices that have `version` in any slot, or ever reported it."""
        ...


@dataclass(frozen=True, slots=True)
class Chapter:
    """One act: what is done, what ends it, and what must be true then."""

    title: str
    act: Callable[[Stage], None]
    ended: Callable[[Scene], bool]
    expectations: Mapping[str, Callable[[Stage, Scene], bool]] = field(default_factory=dict)


def _all_run(version: str) -> Callable[[Scene], bool]:
    def ended(scene: Scene) -> bool:
        rollout = scene.status.rollout if scene.status else None
        completed = rollout is not None and rollout.phase is Phase.COMPLETED
        return completed and set(scene.versions.values()) == {version}

    return ended


def _stopped(scene: Scene) -> bool:
    rollout = scene.status.rollout if scene.status else None
    if rollout is None or rollout.phase is not Phase.ROLLED_BACK:
        return False
    return set(scene.versions.values()) == {"2"}


def _reverted(scene: Scene) -> bool:
    status = scene.status
    if status is None or status.stable is None:
        return False
    settled = all(entry.closed for entry in status.ledger)
    return status.desired == status.stable.set and settled


def _canaries_went_first(_stage: Stage, scene: Scene) -> bool:
    assert scene.status is not None  # noqa: S101 - the chapter ended on it
    rollout = scene.status.rollout
    opened = [
        decision.stage
        for decision in scene.status.decisions
        if rollout and decision.rollout == rollout.id and decision.stage
    ]
    return bool(opened) and opened[0] == "canary" and "all" in opened


def _said_why(_stage: Stage, scene: Scene) -> bool:
    assert scene.status is not None  # noqa: S101 - the chapter ended on it
    return any("healthcheck" in entry.reason for entry in scene.status.ledger)


def _only_canaries_had_it(stage: Stage, scene: Scene) -> bool:
    assert scene.status is not None  # noqa: S101 - the chapter ended on it
    rollout = scene.status.rollout
    size = rollout.exposure[-1].size if rollout and rollout.exposure else 0
    held = stage.ever_held("3")
    return 0 < len(held) <= size < len(scene.versions)


def _nothing(_stage: Stage) -> None:
    """Watch."""


CHAPTERS: tuple[Chapter, ...] = (
    Chapter(
        "The devices enrol; one is not listed in Git and waits for a person",
        _nothing,
        lambda scene: len(scene.waiting) == 1,
    ),
    Chapter(
        "The person accepts it; version 1 rolls out",
        lambda stage: stage.accept_waiting(),
        _all_run("1"),
        {"every device runs version 1": lambda _, scene: set(scene.versions.values()) == {"1"}},
    ),
    Chapter(
        "A good commit: version 2, canaries first, then everybody",
        lambda stage: _ship(stage, "2", "good", "Ship demo-os 2"),
        _all_run("2"),
        {
            "every device runs version 2": lambda _, scene: set(scene.versions.values()) == {"2"},
            "the canaries went first": _canaries_went_first,
        },
    ),
    Chapter(
        "A bad commit: version 3 boots, but fails its health check",
        lambda stage: _ship(stage, "3", "bad", "Ship demo-os 3"),
        _stopped,
        {
            "the gate stopped version 3": lambda _, scene: _stopped(scene),
            "the canaries are back on version 2": lambda _, s: set(s.versions.values()) == {"2"},
            "nobody but the canaries ever had version 3": _only_canaries_had_it,
            "the status says why": _said_why,
        },
    ),
    Chapter(
        "The revert: Git says again what the devices run",
        lambda stage: _revert(stage),
        _reverted,
        {"Git and the devices agree": lambda _, scene: _reverted(scene)},
    ),
)


def _ship(stage: Stage, version: str, health: str, message: str) -> None:
    stage.ship(version, health=health, message=message)


def _revert(stage: Stage) -> None:
    stage.revert()
