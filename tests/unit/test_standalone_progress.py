"""The line that shows how far a download is."""

import io

from hypothesis import given
from hypothesis import strategies as st

from device_agent.progress import INTERVAL, ProgressLine, amount, progress_line, render

MIB = 1024 * 1024


def test_the_line_shows_share_amount_and_rate() -> None:
    assert render(16 * MIB, 64 * MIB, 4.0, 79) == (
        "[######..................]   25%  16 MiB of 64 MiB  4 MiB/s"
    )


def test_without_a_total_it_shows_what_came() -> None:
    assert render(3 * MIB, None, 2.0, 79) == "3 MiB  1.5 MiB/s"


def test_a_narrow_terminal_gets_no_bar() -> None:
    assert render(16 * MIB, 64 * MIB, 4.0, 35) == " 25%  16 MiB of 64 MiB  4 MiB/s"


@given(
    done=st.integers(0, 1 << 50),
    total=st.none() | st.integers(0, 1 << 50),
    seconds=st.floats(0, 1e9, allow_nan=False),
    width=st.integers(16, 300),
)
def test_the_line_always_fits(done: int, total: int | None, seconds: float, width: int) -> None:
    assert len(render(done, total, seconds, width)) <= width


def test_amounts_are_read_by_people() -> None:
    sizes = (0, 999, 1000, 1536, 1000 * 1024, 5 << 40)
    assert [amount(size) for size in sizes] == [
        *("0 B", "999 B", "0.977 KiB", "1.5 KiB", "0.977 MiB", "5 TiB")
    ]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_line_is_not_drawn_too_often_but_its_end_is() -> None:
    stream, clock = io.StringIO(), Clock()
    line = ProgressLine(stream, 40, clock)
    for done in range(1, 11):
        clock.now += INTERVAL / 5
        line(done, 10)
    assert stream.getvalue().count("%") == 3
    assert "100%" in stream.getvalue()


def test_the_line_leaves_nothing_behind() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream, 20, Clock())
    line(1, 2)
    line.end()
    line.end()
    assert stream.getvalue().endswith("\r" + " " * 20 + "\r")


def test_nothing_is_drawn_on_what_is_no_terminal() -> None:
    assert progress_line(io.StringIO(), Clock()) is None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no descriptor")


def test_a_terminal_of_unknown_width_has_the_usual_one() -> None:
    stream = Terminal()
    line = progress_line(stream, Clock())
    assert line is not None
    line(1, 2)
    assert len(stream.getvalue()) == len("\r\r") + 79
