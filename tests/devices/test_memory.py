"""Every memory process keeps its contract; each does what its name says."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from devices.memory import BoundedWalk, Budget, Changes, DailyCurve, Memory, Replay, SquareWave
from devices.trace import Series, read_trace
from wire.errors import InputError
from wire.streams import stream
from wire.units import NS_PER_S, Bytes, Duration, Share

HOUR = 3600 * NS_PER_S


def first(changes: Changes, count: int) -> list[tuple[int, int]]:
    return list(itertools.islice(changes, count))


class MemoryContract:
    """What holds for every memory process."""

    process: Memory
    low: int
    high: int

    def changes(self, seed: int) -> Changes:
        assert not isinstance(self.process, Replay)
        return self.process.changes(stream(seed, "memory", "device"))

    def test_it_starts_at_once_and_time_moves_on(self) -> None:
        waits = [wait for wait, _ in first(self.changes(1), 200)]
        assert waits[0] == 0
        assert all(isinstance(wait, int) and wait > 0 for wait in waits[1:])

    def test_memory_stays_within_its_bounds(self) -> None:
        assert all(self.low <= free <= self.high for _, free in first(self.changes(1), 3000))

    def test_the_same_stream_gives_the_same_memory(self) -> None:
        assert first(self.changes(1), 300) == first(self.changes(1), 300)


class TestBoundedWalk(MemoryContract):
    process = BoundedWalk(min=Bytes(1000), max=Bytes(9000), max_step=Bytes(2500))
    low, high = 1000, 9000

    def test_another_seed_walks_elsewhere(self) -> None:
        assert first(self.changes(1), 50) != first(self.changes(2), 50)

    def test_steps_come_in_the_mean_time_and_reach_no_further_than_they_may(self) -> None:
        steps = first(self.changes(3), 20_000)
        waits = np.array([wait for wait, _ in steps[1:]])
        assert waits.mean() == pytest.approx(60 * NS_PER_S, rel=0.05)
        free = np.array([value for _, value in steps])
        assert np.abs(np.diff(free)).max() <= 2500

    def test_it_starts_where_it_is_told(self) -> None:
        walk = BoundedWalk(min=Bytes(10), max=Bytes(90), initial=Bytes(70))
        assert first(walk.changes(stream(1)), 1) == [(0, 70)]


class TestDailyCurve(MemoryContract):
    process = DailyCurve(
        mean=Bytes(5000), swing=Bytes(3000), deviation=Bytes(500), min=Bytes(1), max=Bytes(9000)
    )
    low, high = 1, 9000

    def test_most_is_free_at_the_peak(self) -> None:
        """At 04:00 the mean is 5000 + 3000, twelve hours later 5000 - 3000."""
        curve = DailyCurve(
            mean=Bytes(5000), swing=Bytes(3000), deviation=Bytes(0), min=Bytes(1), max=Bytes(9000),
            spacing="fixed", step_every=Duration(HOUR),
        )  # fmt: skip
        day = [free for _, free in first(curve.changes(stream(1)), 24)]
        assert (day[4], day[16], day[10]) == (8000, 2000, 5000)

    def test_its_spread_is_the_stated_deviation(self) -> None:
        flat = DailyCurve(
            mean=Bytes(50_000), swing=Bytes(0), deviation=Bytes(500), min=Bytes(1), max=Bytes(90_000),
            reversion=Duration(60 * NS_PER_S),
        )  # fmt: skip
        free = np.array([value for _, value in first(flat.changes(stream(4)), 20_000)])
        assert free.std() == pytest.approx(500, rel=0.05)


class TestSquareWave(MemoryContract):
    process = SquareWave(low=Bytes(10), high=Bytes(90))
    low, high = 10, 90

    def test_aligned_waves_start_high_and_keep_their_times(self) -> None:
        wave = SquareWave(
            low=Bytes(10), high=Bytes(90), low_for=Duration(2), high_for=Duration(5), phase="aligned"
        )
        assert first(wave.changes(stream(1)), 5) == [(0, 90), (5, 10), (2, 90), (5, 10), (2, 90)]

    def test_a_random_phase_only_shortens_the_first_wait(self) -> None:
        wave = SquareWave(low=Bytes(10), high=Bytes(90), low_for=Duration(20), high_for=Duration(50))
        for seed in range(20):
            (_, start), (wait, after), *rest = first(wave.changes(stream(seed)), 4)
            assert {start, after} == {10, 90}
            assert 0 < wait <= (50 if start == 90 else 20)
            assert [w for w, _ in rest] == ([20, 50] if after == 10 else [50, 20])


SERIES = Series((0, 10, 30), (7, 8, 9))


@pytest.mark.parametrize(
    ("on_end", "expected"),
    [
        ("hold", [(0, 7), (10, 8), (20, 9)]),
        ("wrap", [(0, 7), (10, 8), (20, 9), (20, 7), (10, 8), (20, 9), (20, 7)]),
    ],
)
def test_a_series_is_replayed(on_end: str, expected: list[tuple[int, int]]) -> None:
    assert first(SERIES.changes(on_end), 7) == expected


def test_a_trace_file_holds_series_by_device(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("device_id,t_s,mem_available_bytes\nb,5,70\na,0,10\na,1.5,20\nb,6,80\n")
    assert read_trace(Replay(file=str(file)), file) == (
        Series((0, 1_500_000_000), (10, 20)),
        Series((0, NS_PER_S), (70, 80)),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t_s,free\n0,1\n", "column 'mem_available_bytes' is missing; there are t_s, free"),
        ("t_s,mem_available_bytes\n", "the trace is empty"),
        ("t_s,mem_available_bytes\n0,5\n0,6\n", r"t_s\(=0\) must rise after 0"),
        ("t_s,mem_available_bytes\n0,x\n", "mem_available_bytes must be a number in every row"),
        ("t_s,mem_available_bytes\n0,-5\n", "mem_available_bytes must be whole bytes, not negative"),
        ("t_s,mem_available_bytes\n0,5\n1\n", "cannot be read as a trace"),
    ],
)
def test_a_damaged_trace_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_trace(Replay(file=str(file)), file)


def test_a_missing_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such trace file"):
        read_trace(Replay(file="x.csv"), tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (
            lambda: BoundedWalk(min=Bytes(2048), max=Bytes(1024)),
            r"min\(=2 KiB\) must not exceed max\(=1 KiB\)",
        ),
        (lambda: BoundedWalk(max_step=Bytes(0)), r"max_step\(=0 B\) must be > 0"),
        (
            lambda: BoundedWalk(initial=Bytes(1)),
            r"initial\(=1 B\) must be from min\(=256 MiB\) to max\(=4 GiB\)",
        ),
        (lambda: DailyCurve(swing=Bytes(3 * 2**30)), r"swing\(=3 GiB\) must not exceed mean\(=2 GiB\)"),
        (lambda: SquareWave(low=Bytes(2**32)), r"low\(=4 GiB\) must not exceed high\(=2 GiB\)"),
        (lambda: SquareWave(low_for=Duration(0)), r"low_for\(=0 s\) must be > 0"),
        (lambda: Replay(file="x.pickle"), r"file\(='x.pickle'\) must end in .csv or .parquet"),
        (lambda: Budget(share=Share(0)), r"share\(=0 %\) must be > 0"),
    ],
)
def test_an_impossible_process_names_the_rule(make: Callable[[], object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()


def test_a_budget_is_a_share_of_free_memory() -> None:
    assert Budget(share=Share(0.0001)).of(2**30) == 107374
