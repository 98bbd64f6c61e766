"""How long a peer may take: device_agent.fetch.paced, with a clock that tests set."""

import pytest

from device_agent.fetch.paced import Limits, Pace, TooSlow

LIMITS = Limits(headers=30, stall=15, total=60, rate=512, window=10)


class Hands:
    """A monotonic clock."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def begun(limits: Limits = LIMITS) -> tuple[Pace, Hands]:
    hands = Hands()
    pace = Pace(limits, hands)
    pace.begin()
    return pace, hands


def test_a_read_may_block_for_the_stall_time_but_not_beyond_the_deadline() -> None:
    pace, hands = begun()
    assert pace.patience() == 15
    hands.at += 20
    assert pace.patience() == 10


def test_headers_that_take_too_long_end_the_request() -> None:
    pace, hands = begun()
    hands.at += 30
    with pytest.raises(TooSlow):
        pace.patience()


def test_the_body_has_what_is_left_of_the_total() -> None:
    pace, hands = begun()
    hands.at += 29
    pace.headers_are_in()
    hands.at += 30
    assert pace.patience() == 1
    hands.at += 1
    with pytest.raises(TooSlow):
        pace.patience()


def test_a_body_without_a_total_has_no_deadline() -> None:
    pace, hands = begun(Limits(total=None, stall=15))
    pace.headers_are_in()
    hands.at += 1e6
    assert pace.patience() == 15


def test_a_drip_below_the_minimum_rate_ends_the_request_after_a_window() -> None:
    pace, _ = begun()
    for _ in range(99):
        pace.charge(1, 0.1)
    with pytest.raises(TooSlow):
        pace.charge(1, 0.2)


def test_a_fast_beginning_does_not_pay_for_a_drip_later() -> None:
    pace, _ = begun()
    pace.charge(100_000_000, 10)
    pace.charge(1, 5)
    with pytest.raises(TooSlow):
        pace.charge(1, 5)


def test_a_peer_is_not_charged_for_a_consumer_who_is_slow() -> None:
    pace, hands = begun(Limits(total=None, rate=512, window=10))
    pace.headers_are_in()
    for _ in range(100):
        hands.at += 60  # writing to flash
        pace.charge(600, 1)


def test_each_request_starts_afresh() -> None:
    pace, hands = begun()
    hands.at += 1000
    pace.begin()
    assert pace.patience() == 15
