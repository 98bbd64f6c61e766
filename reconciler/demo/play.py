"""Plays the story on a stage and keeps the audience informed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.demo.screen import Mark, Progress
from reconciler.demo.story import CHAPTER_TIMEOUT, CHAPTERS, Chapter, Scene, Stage

LOOK = 0.25  # seconds between two looks

Show = Callable[[Scene, Progress], None]


@dataclass(frozen=True, slots=True)
class Review:
    """What came of the story: every expectation, and how long each chapter took in seconds."""

    expectations: Mapping[str, bool]
    seconds: Mapping[str, float]

    @property
    def good(self) -> bool:
        return bool(self.expectations) and all(self.expectations.values())


def play(stage: Stage, show: Show, began: float) -> Review:
    """Play every chapter until one fails. `began` is the time.monotonic() of the start."""
    marks = [Mark.TODO] * len(CHAPTERS)
    expectations: dict[str, bool] = {}
    seconds: dict[str, float] = {}

    def look() -> Scene:
        scene = stage.scene()
        chapters = tuple(zip((chapter.title for chapter in CHAPTERS), marks, strict=True))
        show(scene, Progress(chapters, time.monotonic() - began))
        return scene

    for number, chapter in enumerate(CHAPTERS):
        marks[number] = Mark.NOW
        started = time.monotonic()
        look()
        chapter.act(stage)
        scene = _watch(chapter, look)
        seconds[chapter.title] = round(time.monotonic() - started, 1)
        if scene is None:
            expectations[f"in time: {chapter.title}"] = False
        else:
            expectations |= {name: holds(stage, scene) for name, holds in _expected(chapter)}
        good = all(expectations.values())
        marks[number] = Mark.DONE if good else Mark.FAILED
        look()
        if not good:
            break
    return Review(expectations, seconds)


def _expected(chapter: Chapter) -> list[tuple[str, Callable[[Stage, Scene], bool]]]:
    return list(chapter.expectations.items())


def _watch(chapter: Chapter, look: Callable[[], Scene]) -> Scene | None:
    """Look until the chapter has ended; None when it does not."""
    deadline = time.monotonic() + CHAPTER_TIMEOUT
    while time.monotonic() < deadline:
        scene = look()
        if chapter.ended(scene):
            return scene
        time.sleep(LOOK)
    return None
