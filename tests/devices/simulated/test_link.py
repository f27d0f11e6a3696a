"""A link delays, takes its bandwidth one message after the other, and loses what it says."""

from typing import Any

import msgspec
import numpy as np
import pytest

from devices.simulated.link import MS, Direction, Distribution, Link, Network
from devices.timeline.faults import (
    NO_FAULT,
    BandwidthFault,
    CorruptionFault,
    DuplicationFault,
    FaultWindow,
    Impairment,
    LatencyFault,
    LinkFault,
    LossFault,
    ReorderingFault,
)
from wire.random_streams import stream
from wire.units import BitsPerSecond, Duration, Share


def test_messages_take_the_bandwidth_one_after_the_other() -> None:
    """At 8 bit a nanosecond a byte takes a nanosecond."""
    link = Link(Direction(bandwidth=BitsPerSecond(8_000_000_000)), None)
    assert [link.transfer(100, 50), link.transfer(120, 10), link.transfer(500, 1)] == [150, 160, 501]


def test_a_link_without_deviation_or_loss_draws_nothing() -> None:
    direction = Direction(latency=Duration(7))
    assert not Link.draws(direction)
    link = Link(direction, None)
    assert ({link.delay(0) for _ in range(9)}, link.unimpaired) == ({7}, True)


def test_delays_spread_as_stated_and_are_never_negative() -> None:
    link = Link(Direction(latency=Duration(1000), deviation=Duration(300)), stream(1, "link"))
    delays = np.array([link.delay(0) for _ in range(20_000)])
    assert (delays.mean(), delays.std()) == (pytest.approx(1000, rel=0.02), pytest.approx(300, rel=0.03))
    assert delays.min() >= 0


def test_losses_come_at_the_stated_rate() -> None:
    link = Link(Direction(loss=Share(0.25)), stream(1, "link"))
    assert np.mean([link.draw_impairment(0).lost is not None for _ in range(20_000)]) == pytest.approx(
        0.25, abs=0.01
    )


def test_a_link_that_loses_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"loss\(=0.95\) must be at most 0.9"):
        Direction(loss=Share(0.95))


def drawn(distribution: Distribution, mean: int, deviation: int, count: int = 200_000) -> np.ndarray:
    direction = Direction(latency=Duration(mean), deviation=Duration(deviation), distribution=distribution)
    link = Link(direction, stream(1, distribution))
    return np.array([link.delay(0) for _ in range(count)])


class TestRecovery:
    """A transport sends again what is lost: after 2 s here, the round trip, then 4, 8, ... 60 s later."""

    AGAIN = Direction(latency=Duration(1000 * MS), recovery="transport")

    def test_a_message_is_sent_again_until_it_arrives(self) -> None:
        """So many retries as there are losses in a row; each begins when the timeout before it is over."""
        link = Link(msgspec.structs.replace(self.AGAIN, loss=Share(0.4)), stream(1, "link"))
        impairments = [link.draw_impairment(0) for _ in range(20_000)]
        lates = {impairment.retries: impairment.late_ns // (1000 * MS) for impairment in impairments}
        assert {impairment.lost for impairment in impairments} == {None}
        assert {retries: lates[retries] for retries in range(8)} == {
            0: 0, 1: 2, 2: 6, 3: 14, 4: 30, 5: 62, 6: 122, 7: 182,
        }  # fmt: skip
        for retries in range(4):
            share = np.mean([impairment.retries == retries for impairment in impairments])
            assert share == pytest.approx(0.4**retries * 0.6, abs=4 * 0.5 / 20_000**0.5)

    def test_a_fault_is_lived_through_or_outlasts_the_transport(self) -> None:
        """All is lost for 10 s, or for an hour: 15 retries take 662 s."""
        for seconds, impairment in (
            (10, Impairment(resent=3, retries=3, late_ns=14_000 * MS)),
            (3600, Impairment(lost=3, retries=15)),
        ):
            loss = LossFault(at="0 s", duration=Duration(1), share=Share(1.0))
            window = FaultWindow(0, seconds * 1000 * MS, 3, loss)
            assert Link(self.AGAIN, None, [window], stream(1, "weather")).draw_impairment(0) == impairment

    @pytest.mark.parametrize(
        ("latency", "deviation", "timeout"), [(10, 0, 200), (150, 0, 300), (150, 30, 300 + 4 * 30 * 2**0.5)]
    )
    def test_the_timeout_is_a_round_trip_and_four_deviations(
        self, latency: int, deviation: int, timeout: float
    ) -> None:
        end = Direction(latency=Duration(latency * MS), deviation=Duration(deviation * MS))
        assert Network(uplink=end, downlink=end).timeout_ns == pytest.approx(timeout * MS, abs=1)


class TestDistributions:
    @pytest.mark.parametrize("distribution", ["normal", "uniform", "lognormal"])
    def test_mean_and_deviation_are_as_stated(self, distribution: Distribution) -> None:
        """Within four standard errors of the mean; the deviation's error is a percent at most here."""
        delays = drawn(distribution, 80 * MS, 20 * MS)
        assert delays.mean() == pytest.approx(80 * MS, abs=4 * 20 * MS / 200_000**0.5)
        assert delays.std() == pytest.approx(20 * MS, rel=0.02)

    @pytest.mark.parametrize("distribution", ["normal", "uniform"])
    @pytest.mark.parametrize("deviation", [20, 30, 45, 60, 150])
    def test_they_are_so_after_the_cut_at_0(self, distribution: Distribution, deviation: int) -> None:
        """Of 50 ms: what would be negative is 0, and the others make up for it."""
        delays = drawn(distribution, 50 * MS, deviation * MS)
        assert delays.min() >= 0
        assert delays.mean() == pytest.approx(50 * MS, abs=4 * deviation * MS / 200_000**0.5)
        assert delays.std() == pytest.approx(deviation * MS, rel=0.03)

    @pytest.mark.parametrize("distribution", ["normal", "uniform"])
    @pytest.mark.parametrize("mean", [0, 1])
    def test_a_deviation_of_far_more_than_the_mean_is_cut_as_it_is(
        self, distribution: Distribution, mean: int
    ) -> None:
        delays = drawn(distribution, mean, 2000 * MS, count=20_000)
        assert np.mean(delays == 0) == pytest.approx(0.5, abs=4 * 0.5 / 20_000**0.5)

    def test_uniform_delays_have_bounds(self) -> None:
        delays = drawn("uniform", 80 * MS, 20 * MS)
        half = 3**0.5 * 20 * MS
        assert delays.min() == pytest.approx(80 * MS - half, rel=1e-3)
        assert delays.max() == pytest.approx(80 * MS + half, rel=1e-3)

    def test_the_logarithm_of_lognormal_delays_is_symmetric(self) -> None:
        logs = np.log(drawn("lognormal", 80 * MS, 40 * MS))
        assert ((logs - logs.mean()) ** 3).mean() / logs.std() ** 3 == pytest.approx(
            0, abs=4 * (6 / 2e5) ** 0.5
        )

    def test_pareto_delays_have_a_least_and_a_tail_of_the_stated_shape(self) -> None:
        """The fourth moment is infinite, so the deviation is tested by the quantiles that it fixes.

        With shape a = 1 + sqrt 2 a Pareto variable of scale s has mean s a / (a - 1), and deviation the same.
        The delay is that, of mean 40 ms, on top of 40 ms; its quantile at p is 40 ms + s (1 - p)^(-1/a).
        """
        delays = drawn("pareto", 80 * MS, 40 * MS)
        shape = 1 + 2**0.5
        scale = 40 * MS * (shape - 1) / shape
        assert delays.min() == pytest.approx(40 * MS + scale, rel=1e-4)
        assert delays.mean() == pytest.approx(80 * MS, abs=5 * 40 * MS / 200_000**0.5)
        for share in (0.1, 0.5, 0.9, 0.99):
            wanted = 40 * MS + scale * (1 - share) ** (-1 / shape)
            error = 4 * (share * (1 - share) / 2e5) ** 0.5
            assert np.mean(delays <= wanted) == pytest.approx(share, abs=error)

    @pytest.mark.parametrize("distribution", ["normal", "uniform", "lognormal", "pareto"])
    def test_delays_are_never_negative(self, distribution: Distribution) -> None:
        assert drawn(distribution, 30 * MS, 30 * MS, 5000).min() >= 0


def window(start: int, end: int, fault: LinkFault, place: int = 0) -> FaultWindow[LinkFault]:
    return FaultWindow(start, end, place, fault)


def stormy(*windows: FaultWindow[LinkFault], direction: Direction = Direction()) -> Link:  # noqa: B008 - frozen
    own = stream(1, "own") if Link.draws(direction) else None
    return Link(direction, own, windows, stream(1, "weather"))


LASTING: dict[str, Any] = {"at": "0 s", "duration": Duration(1)}  # Any: what every fault takes


class TestFaults:
    def test_bandwidth_is_the_least_of_those_in_force_when_a_message_begins(self) -> None:
        """8 Gbps is a byte a nanosecond; the faults make that 2 and 10 ns."""
        link = stormy(
            window(100, 200, BandwidthFault(rate=BitsPerSecond(4 * 10**9), **LASTING)),
            window(150, 300, BandwidthFault(rate=BitsPerSecond(8 * 10**8), **LASTING)),
            window(100, 999, BandwidthFault(rate=BitsPerSecond(10**12), **LASTING)),
            direction=Direction(bandwidth=BitsPerSecond(8 * 10**9)),
        )
        assert link.transfer(0, 90) == 90
        assert link.transfer(99, 1) == 100
        assert link.transfer(100, 25) == 150
        assert link.transfer(120, 10) == 250  # it waits for the one before, and begins at 150
        assert link.transfer(290, 1) == 300
        assert link.transfer(300, 1) == 301
        assert (link.next_free_ns(0), link.next_free_ns(999)) == (301, 999)

    def test_latency_is_added_with_its_jitter_while_it_lasts(self) -> None:
        fault = LatencyFault(delay=Duration(500), jitter=Duration(400), **LASTING)
        link = stormy(window(10, 20, fault), direction=Direction(latency=Duration(7)))
        assert [link.delay(t) for t in (0, 9, 20, 99)] == [7, 7, 7, 7]
        delays = np.array([link.delay(15) for _ in range(20_000)])
        assert (delays.min(), delays.max()) == (pytest.approx(107, abs=2), pytest.approx(907, abs=2))
        assert delays.mean() == pytest.approx(507, abs=4 * 400 / 3**0.5 / 20_000**0.5)

    def test_impairments_come_at_their_stated_rates_and_independently(self) -> None:
        link = stormy(
            window(0, 9, LossFault(share=Share(0.1), **LASTING), 3),
            window(0, 9, CorruptionFault(share=Share(0.2), **LASTING), 4),
            window(0, 9, DuplicationFault(share=Share(0.3), **LASTING), 5),
            window(0, 9, ReorderingFault(share=Share(0.4), delay=Duration(77), **LASTING), 6),
        )
        impairments = [link.draw_impairment(5) for _ in range(40_000)]
        assert {impairment.lost for impairment in impairments} == {None, 3}
        assert {impairment.held_back_ns for impairment in impairments if impairment.held_back == 6} == {77}
        marks = np.array(
            [[each is not None for each in impairment[:4]] for impairment in impairments], dtype=float
        )
        shares = np.array([0.1, 0.2, 0.3, 0.4])
        error = 4 * np.sqrt(shares * (1 - shares) / 40_000)
        assert np.all(np.abs(marks.mean(axis=0) - shares) < error)
        correlations = np.corrcoef(marks.T) - np.eye(4)
        assert np.abs(correlations).max() < 4 / 40_000**0.5

    def test_outside_its_window_nothing_happens_and_nothing_is_drawn(self) -> None:
        link = stormy(window(10, 20, LossFault(share=Share(1.0), **LASTING)))
        assert [link.draw_impairment(t).lost for t in (0, 9, 10, 19, 20)] == [None, None, 0, 0, None]
        assert link.draw() == stream(1, "weather").random(3)[2]

    def test_the_loss_of_a_link_is_its_own_and_comes_first(self) -> None:
        losses = window(0, 9, LossFault(share=Share(1.0), **LASTING), 2)
        link = stormy(losses, direction=Direction(loss=Share(0.5)))
        impairments = [link.draw_impairment(5).lost for _ in range(2000)]
        assert set(impairments) == {NO_FAULT, 2}
        assert np.mean([each == NO_FAULT for each in impairments]) == pytest.approx(0.5, abs=0.05)

    def test_a_fault_leaves_what_the_link_draws_as_it_was(self) -> None:
        """The same fleet without the fault does what it did before."""
        direction = Direction(latency=Duration(50 * MS), deviation=Duration(9 * MS), loss=Share(0.3))
        calm = Link(direction, stream(1, "own"))
        fault = window(0, 9, LossFault(share=Share(0.0), **LASTING))
        link = stormy(fault, direction=direction)
        for t in range(20):
            assert (link.delay(t), link.draw_impairment(t).lost) == (
                calm.delay(t),
                calm.draw_impairment(t).lost,
            )
