"""Memory processes against theory: what they should be in the long run, within the error of the sample.

A bound is four standard errors, so a right process fails at one seed of 16,000; the seeds are fixed.
"""

import itertools
import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from devices.memory import (
    BoundedWalk,
    DailyCurve,
    PressureLevel,
    PressureStates,
    Sawtooth,
    Shock,
    SquareWave,
)
from devices.memory.pressure import LEVELS
from devices.memory.shocks import ShockTimes
from wire.random_streams import stream
from wire.units import NS_PER_S, Bytes, Duration, Share

ERRORS = 4
MIB = 2**20
Process = BoundedWalk | DailyCurve | PressureStates | Sawtooth | SquareWave


def free_of(process: Process, count: int, seed: int = 1) -> NDArray[np.float64]:
    """The first *count* values of one device."""
    changes = process.changes(stream(seed, "theory"))
    return np.array([free for _, free in itertools.islice(changes, count)], dtype=np.float64)


def free_at(process: Process, at_ns: int, seed: int) -> int:
    """What is free at a moment."""
    now, value = 0, -1
    for wait, free in process.changes(stream(seed, "theory")):
        now += wait
        if now > at_ns:
            break
        value = free
    return value


def assert_near(found: float, expected: float, error: float) -> None:
    assert abs(found - expected) <= ERRORS * error, (found, expected, error)


def assert_uniform(found: NDArray[np.int64], end: int) -> None:
    """Compare values with a uniform distribution from 0 to *end*: none outside, mean and spread of one."""
    assert 0 < found.min() <= found.max() <= end
    assert len(set(found.tolist())) == len(found)
    assert_near(found.mean(), end / 2, end / math.sqrt(12 * len(found)))
    assert_near(found.var(), end**2 / 12, end**2 * math.sqrt((1 / 80 - 1 / 144) / len(found)))


def assert_share(found: float, expected: float, count: int) -> None:
    """Compare a share of *count* independent draws with its expectation."""
    assert_near(found, expected, math.sqrt(expected * (1 - expected) / count))


class TestOrnsteinUhlenbeck:
    """Exact at its steps: an AR(1) with the coefficient exp(-step / reversion), whatever the step."""

    COUNT = 40_000
    MEAN, DEVIATION = 900 * MIB, 10 * MIB  # ninety deviations from the bounds: nothing is clipped

    def sample(self, step_s: int, spacing: str = "fixed") -> NDArray[np.float64]:
        curve = DailyCurve(
            mean=Bytes(self.MEAN), swing=Bytes(0), deviation=Bytes(self.DEVIATION), min=Bytes(0),
            max=Bytes(2 * self.MEAN), reversion=Duration(600 * NS_PER_S),
            step_every=Duration(step_s * NS_PER_S), spacing=spacing,  # type: ignore[arg-type]
        )  # fmt: skip
        return free_of(curve, self.COUNT)

    @pytest.mark.parametrize("step_s", [30, 600, 6000])
    def test_mean_variance_and_correlation_are_stationary(self, step_s: int) -> None:
        free, kept = self.sample(step_s), math.exp(-step_s / 600)
        assert_near(
            free.mean(),
            self.MEAN - 0.5,  # whole bytes are cut off, not rounded
            self.DEVIATION * math.sqrt((1 + kept) / (1 - kept) / self.COUNT),
        )
        variance = self.DEVIATION**2
        spread = math.sqrt(2 / self.COUNT * (1 + kept**2) / (1 - kept**2))
        assert_near(free.var(), variance, variance * spread)
        correlation = float(np.corrcoef(free[:-1], free[1:])[0, 1])
        assert_near(correlation, kept, math.sqrt((1 - kept**2) / self.COUNT))

    def test_steps_at_random_times_forget_by_the_time_that_passed(self) -> None:
        """With exponential steps of mean m the correlation of neighbours is E[exp(-T/r)] = 1/(1 + m/r)."""
        free = (self.sample(600, "exponential") - self.MEAN) / self.DEVIATION
        products = free[:-1] * free[1:]
        # The products are correlated, too: their error comes from the means of 200 batches.
        batches = products[: 200 * 199].reshape(200, -1).mean(axis=1)
        assert_near(products.mean(), 1 / 2, batches.std(ddof=1) / math.sqrt(200))

    def test_it_starts_as_it_goes_on(self) -> None:
        count = 3000
        curve = DailyCurve(
            mean=Bytes(self.MEAN), swing=Bytes(0), deviation=Bytes(self.DEVIATION), max=Bytes(2 * self.MEAN)
        )
        starts = np.array([free_of(curve, 1, seed)[0] for seed in range(count)])
        assert_near(starts.mean(), self.MEAN, self.DEVIATION / math.sqrt(count))
        assert_near(starts.var(), self.DEVIATION**2, self.DEVIATION**2 * math.sqrt(2 / count))


class TestBoundedWalk:
    def test_a_step_is_retained_with_its_probability(self) -> None:
        walk = BoundedWalk(min=Bytes(0), max=Bytes(2**50), max_step=Bytes(2**20), retain_probability=0.3)
        count = 20_000
        assert_share(float((np.diff(free_of(walk, count + 1)) == 0).mean()), 0.3, count)

    def test_a_step_resets_to_the_start_with_its_probability(self) -> None:
        """It only rises otherwise, so what is at the start again was reset."""
        walk = BoundedWalk(
            min=Bytes(0), max=Bytes(2**50), initial=Bytes(5000), max_step=Bytes(2**20),
            increase_probability=1.0, retain_probability=0.5, reset_probability=0.1,
        )  # fmt: skip
        count = 20_000
        free = free_of(walk, count + 1)
        away = free[:-1] != 5000
        back = free[1:][away] == 5000
        assert_share(float(back.mean()), 0.1, len(back))
        rises = np.diff(free)[away][~back]
        assert (rises >= 0).all()
        assert_share(float((rises == 0).mean()), 0.5 / 0.9, len(rises))

    def test_a_reset_without_a_start_leads_anywhere(self) -> None:
        count, high = 20_000, 1_000_000
        walk = BoundedWalk(min=Bytes(0), max=Bytes(high), max_step=Bytes(1), reset_probability=1.0)
        free = free_of(walk, count)
        assert_near(free.mean(), high / 2, high / math.sqrt(12 * count))
        # The variance of a uniform variable's square deviation is (1/80 - 1/144) of the range to the 4th.
        assert_near(free.var(), high**2 / 12, high**2 * math.sqrt((1 / 80 - 1 / 144) / count))

    def test_an_even_walk_is_as_often_above_the_middle_as_below(self) -> None:
        """Many devices after 100 steps: by symmetry the mean is the middle, wherever they started."""
        walk = BoundedWalk(min=Bytes(0), max=Bytes(10_000), max_step=Bytes(2000))
        last = np.array([free_of(walk, 100, seed)[-1] for seed in range(2000)])
        assert_near(last.mean(), 5000, last.std(ddof=1) / math.sqrt(len(last)))

    def test_waits_are_exponential(self) -> None:
        count = 20_000
        changes = BoundedWalk().changes(stream(1, "theory"))
        waits = np.array([wait for wait, _ in itertools.islice(changes, 1, count + 1)]) / (60 * NS_PER_S)
        assert_near(waits.mean(), 1, 1 / math.sqrt(count))
        assert_near(waits.var(), 1, math.sqrt(8 / count))  # the fourth moment of the exponential is 9


class TestSquareWave:
    def test_the_share_of_devices_that_are_high_is_the_share_of_time_at_any_moment(self) -> None:
        wave = SquareWave(
            low=Bytes(1), high=Bytes(2), low_for=Duration(30 * NS_PER_S), high_for=Duration(70 * NS_PER_S)
        )
        count = 2000
        for at_s in (0, 12345):
            high = sum(free_at(wave, at_s * NS_PER_S, seed) == 2 for seed in range(count))
            assert_share(high / count, 0.7, count)


class TestSawtooth:
    def test_a_cycle_takes_the_steps_to_the_floor_and_one_more(self) -> None:
        """Renewal theory: the first passage of a height D by steps of mean m and variance v takes
        D/m + (m^2 + v)/(2 m^2) steps, up to terms that vanish with D/m."""
        height, mean, jitter = 100_000, 500, 0.8
        leak = Sawtooth(
            low=Bytes(0), high=Bytes(height), leak=Bytes(mean), jitter=Share(jitter), phase="aligned",
            spacing="fixed",
        )  # fmt: skip
        free = free_of(leak, 100_000)
        kills = np.flatnonzero(free == height)
        cycles = np.diff(kills)
        variance = (2 * jitter * mean) ** 2 / 12
        expected = height / mean + (mean**2 + variance) / (2 * mean**2) + 1
        assert_near(cycles.mean(), expected, cycles.std(ddof=1) / math.sqrt(len(cycles)))
        # The central limit theorem of renewals: the variance of the count is D v / m^3, and a constant that
        # does not grow with D.
        spread = height * variance / mean**3
        assert_near(cycles.var(ddof=1), spread, spread * math.sqrt(2 / len(cycles)) + 1 / 12)


def at_level(low: int, dwell_s: int, then: dict[str, float]) -> PressureLevel:
    """A level that its sizes give away: *low* to *low* + 9."""
    return PressureLevel(min=Bytes(low), max=Bytes(low + 9), dwell=Duration(dwell_s * NS_PER_S), next=then)


STATES = PressureStates(
    normal=at_level(400, 600, {"moderate": 0.6, "low": 0.4}),
    moderate=at_level(300, 200, {"normal": 0.7, "low": 0.3}),
    low=at_level(200, 90, {"moderate": 0.5, "critical": 0.5}),
    critical=at_level(100, 30, {"normal": 0.2, "low": 0.8}),
)


class TestPressureStates:
    @pytest.mark.parametrize(
        ("distribution", "variation"),
        [("exponential", 1.0), ("fixed", 0.0), ("lognormal", math.sqrt(math.exp(0.25) - 1))],
    )
    def test_each_level_has_its_dwell_time_and_its_successors(
        self, distribution: str, variation: float
    ) -> None:
        states = msgspec.structs.replace(STATES, distribution=distribution, sigma=0.5)
        stays = list(itertools.islice(states.stays(stream(1, "theory")), 40_000))
        for name in LEVELS:
            own = STATES.level(name)
            dwell = int(own.dwell)
            times = np.array([time for at, time in stays if at == name])
            assert_near(times.mean(), dwell, dwell * variation / math.sqrt(len(times)) + 1)
            if distribution == "exponential":
                assert_near(times.var(), dwell**2, dwell**2 * math.sqrt(8 / len(times)))
            after = [then for (at, _), (then, _) in itertools.pairwise(stays) if at == name]
            for then, chance in zip(LEVELS, own.row, strict=True):
                assert_share(after.count(then) / len(after), chance, len(after))

    def test_the_shares_of_time_solve_the_balance_equations(self) -> None:
        shares = np.array(STATES.shares())
        jumps = np.array([STATES.level(name).row for name in LEVELS])
        rates = shares / [int(STATES.level(name).dwell) for name in LEVELS]  # visits per time
        assert shares.sum() == pytest.approx(1)
        assert rates @ jumps == pytest.approx(rates, rel=1e-9)

    @pytest.mark.parametrize("distribution", ["exponential", "fixed", "lognormal"])
    @pytest.mark.parametrize("at_s", [0, 60, 400, 20_000])
    def test_at_any_moment_each_level_has_its_share_of_devices(self, at_s: int, distribution: str) -> None:
        states, count = msgspec.structs.replace(STATES, distribution=distribution, sigma=0.7), 1000
        seen = [free_at(states, at_s * NS_PER_S, seed) // 100 for seed in range(count)]
        for hundreds, share in zip((4, 3, 2, 1), states.shares(), strict=True):
            assert_share(seen.count(hundreds) / count, share, count)

    @pytest.mark.parametrize(
        ("distribution", "left"),
        [
            ("exponential", lambda d: d),
            ("fixed", lambda d: d / 2),
            ("lognormal", lambda d: d * math.exp(0.49) / 2),
        ],
    )
    def test_a_device_starts_somewhere_in_a_stay(
        self, distribution: str, left: Callable[[float], float]
    ) -> None:
        """What is left of a stay that is under way: E[D^2] / 2 E[D] on average; of a fixed one any part."""
        states, count = (
            msgspec.structs.replace(STATES, distribution=distribution, sigma=0.7, step_every=None),
            4000,
        )
        waits: dict[int, list[int]] = {100: [], 200: [], 300: [], 400: []}
        for seed in range(count):
            (_, free), (wait, _) = itertools.islice(states.changes(stream(seed, "theory")), 2)
            waits[free // 100 * 100].append(wait)
        for free, dwell_s in ((400, 600), (300, 200), (200, 90)):
            found = np.array(waits[free])
            error = found.std() / math.sqrt(len(found))
            assert_near(found.mean(), left(dwell_s * NS_PER_S), error)
        if distribution == "fixed":
            assert_uniform(np.array(waits[400]), 600 * NS_PER_S)

    def test_sizes_within_a_stay_come_at_fixed_times_since_it_began(self) -> None:
        """Of a stay of 600 s with a step every 100 s: the next step comes at any time within 100 s."""
        states = msgspec.structs.replace(
            STATES, distribution="fixed", spacing="fixed", step_every=Duration(100 * NS_PER_S)
        )
        found = []
        for seed in range(2000):
            (_, free), (wait, _) = itertools.islice(states.changes(stream(seed, "theory")), 2)
            found += [wait] * (free >= 400)
        assert_uniform(np.array(found), 100 * NS_PER_S)

    def test_sizes_are_uniform_within_a_level(self) -> None:
        # One level with all of the time; the other hardly any.
        states = PressureStates(
            normal=PressureLevel(min=Bytes(0), max=Bytes(10**6), dwell=Duration(10**16), next={"low": 1.0}),
            low=at_level(5, 1, {"normal": 1.0}),
        )
        count = 20_000
        free = free_of(states, count)
        assert_near(free.mean(), 10**6 / 2, 10**6 / math.sqrt(12 * count))
        assert_near(free.var(), 10**12 / 12, 10**12 * math.sqrt((1 / 80 - 1 / 144) / count))


STEPS = {"spacing": "fixed", "step_every": Duration(100 * NS_PER_S)}


@pytest.mark.parametrize("kind", [BoundedWalk, DailyCurve, Sawtooth])
class TestFixedSteps:
    """A fleet whose steps are fixed does not step together unless it is asked to."""

    def first_steps(
        self, kind: type[BoundedWalk | DailyCurve | Sawtooth], **more: object
    ) -> NDArray[np.int64]:
        process = kind(**STEPS, **more)  # type: ignore[arg-type]
        both = [list(itertools.islice(process.changes(stream(seed, "theory")), 3)) for seed in range(2000)]
        assert {second for _, _, (second, _) in both} == {100 * NS_PER_S}
        return np.array([first for _, (first, _), _ in both])

    def test_the_first_comes_at_any_time_within_one(
        self, kind: type[BoundedWalk | DailyCurve | Sawtooth]
    ) -> None:
        assert_uniform(self.first_steps(kind), 100 * NS_PER_S)

    def test_or_all_at_once(self, kind: type[BoundedWalk | DailyCurve | Sawtooth]) -> None:
        assert set(self.first_steps(kind, phase="aligned").tolist()) == {100 * NS_PER_S}


class TestShocks:
    def test_they_come_in_the_mean_time_and_never_overlap(self) -> None:
        shock = Shock(every=Duration(1000 * NS_PER_S), lasting=Duration(200 * NS_PER_S), over=Duration(50))
        count = 20_000
        shock_times = ShockTimes(shock, stream(1, "theory"))
        gaps = np.diff([0, *(shock_times[number] for number in range(count))])
        calm = int(shock.every) - shock.duration
        assert gaps.min() >= shock.duration
        assert_near(gaps.mean(), int(shock.every), calm / math.sqrt(count))
        assert_near(gaps.var(), calm**2, calm**2 * math.sqrt(8 / count))
