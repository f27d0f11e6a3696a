"""A link delays, takes its bandwidth one message after the other, and loses what it says."""

import numpy as np
import pytest

from devices.link import Direction, Link
from wire.streams import stream
from wire.units import BitsPerSecond, Duration, Share


def test_messages_take_the_bandwidth_one_after_the_other() -> None:
    """At 8 bit a nanosecond a byte takes a nanosecond."""
    link = Link(Direction(bandwidth=BitsPerSecond(8_000_000_000)), None)
    assert [link.transfer(100, 50), link.transfer(120, 10), link.transfer(500, 1)] == [150, 160, 501]


def test_a_link_without_deviation_or_loss_draws_nothing() -> None:
    direction = Direction(latency=Duration(7))
    assert not Link.draws(direction)
    link = Link(direction, None)
    assert ({link.delay(0) for _ in range(9)}, link.calm) == ({7}, True)


def test_delays_spread_as_stated_and_are_never_negative() -> None:
    link = Link(Direction(latency=Duration(1000), deviation=Duration(300)), stream(1, "link"))
    delays = np.array([link.delay(0) for _ in range(20_000)])
    assert (delays.mean(), delays.std()) == (pytest.approx(1000, rel=0.02), pytest.approx(300, rel=0.03))
    assert delays.min() >= 0


def test_losses_come_at_the_stated_rate() -> None:
    link = Link(Direction(loss=Share(0.25)), stream(1, "link"))
    assert np.mean([link.fate(0).lost is not None for _ in range(20_000)]) == pytest.approx(0.25, abs=0.01)


def test_a_link_that_loses_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loss\(=0.95\) must be at most 0.9"):
        Direction(loss=Share(0.95))
