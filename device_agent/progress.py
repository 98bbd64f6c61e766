"""How far a download is, in one line of a terminal."""

import os
from collections.abc import Callable
from typing import TextIO

INTERVAL = 0.1  # seconds between two updates of the line
_BAR = 24  # cells, at most
_COLUMNS = 80  # of a terminal that does not know
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def render(done: int, total: int | None, seconds: float, width: int) -> str:
    """Return the line for `done` of `total` bytes after `seconds`, at most `width` columns. Pure.

    Without a total there is no bar, only what came and how fast.
    """
    rate = f"{amount(done / seconds)}/s" if seconds > 0 else ""
    if not total:
        return _joined(amount(done), rate)[:width]
    share = min(done / total, 1.0)
    text = _joined(f"{int(share * 100):3}%", f"{amount(done)} of {amount(total)}", rate)
    cells = min(_BAR, width - len(text) - 4)
    if cells < 3:
        return text[:width]
    full = int(share * cells)
    return f"[{'#' * full}{'.' * (cells - full)}]  {text}"


def amount(size: float) -> str:
    """Return a number of bytes as people read it: 3 digits, and a unit of 1024s. Pure."""
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == _UNITS[0] else f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} {_UNITS[-1]}"


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


class ProgressLine:
    """Draws on `stream`, over and over in one line; `end` leaves the line empty."""

    def __init__(self, stream: TextIO, width: int, monotonic: Callable[[], float]) -> None:
        self._stream, self._width, self._monotonic = stream, width, monotonic
        self._start = monotonic()
        self._drawn: float | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Draw, unless the last time is too short ago. Everything that is there is always drawn."""
        now = self._monotonic()
        if self._drawn is not None and now - self._drawn < INTERVAL and done != total:
            return
        self._drawn = now
        line = render(done, total, now - self._start, self._width)
        # The cursor goes back, so that a message from elsewhere overwrites the line.
        self._stream.write(f"\r{line:<{self._width}}\r")
        self._stream.flush()

    def end(self) -> None:
        if self._drawn is not None:
            self._stream.write(f"\r{'':<{self._width}}\r")
            self._stream.flush()
            self._drawn = None


def progress_line(stream: TextIO, monotonic: Callable[[], float]) -> ProgressLine | None:
    """Return what draws on `stream`, None unless that is a terminal with room for it."""
    if not stream.isatty():
        return None
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except OSError:
        columns = 0
    width = (columns or _COLUMNS) - 1  # the last column would begin a new line
    return ProgressLine(stream, width, monotonic) if width >= 16 else None
