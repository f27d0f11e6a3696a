"""The metrics of a run, read from its merged sums."""

from collections.abc import Mapping

from emulator.metrics.run_sums import RowSelection, RunSums
from emulator.metrics.scales import Scales
from emulator.metrics.slices import Slices
from emulator.metrics.sums import CounterSums, MetricSums, Stats
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import METRICS, Kind
from wire.units import NS_PER_S


class RunMetrics:
    """The metrics of a run.

    Args:
        sums: of all its devices.
        scales: of the run.
        timeline: the stages, and when the run ended.
    """

    def __init__(self, sums: RunSums, scales: Scales, timeline: RunTimeline) -> None:
        self.sums = sums
        self.timeline = timeline
        self.slices = Slices(scales, timeline)

    def stats(self, name: str) -> Stats:
        """Return the statistics of the metric called *name* over the whole run.

        Raises:
            KeyError: there is no such metric.
        """
        return self.sums.metric(name).stats()

    def split(self, name: str, dimension: str) -> Mapping[str, Stats]:
        """Return the statistics of the metric called *name* for each value of *dimension*."""
        sums, layout = self.sums.metric(name), self.slices.layout(name)
        values = self.slices.values(dimension, METRICS[name])
        split = zip(values, (sums.stats(number) for number in layout.numbers[dimension]), strict=True)
        if METRICS[name].kind is Kind.LEVEL:  # the least and the greatest value are those of the whole run
            return {value: {"mean": stats["mean"]} for value, stats in split}
        return dict(split)

    def pair_totals(self, name: str, first: str, second: str) -> dict[str, dict[str, int]]:
        """Return the totals of a counter by two of its own dimensions, without the zeros."""
        counter, own = self.sums.metric(name), METRICS[name].own
        assert isinstance(counter, CounterSums)
        column = self.slices.layout(name).pair(first, second)
        pairs: dict[str, dict[str, int]] = {}
        for number, value in enumerate(own[first]):
            start = column.first + number * column.width
            totals = zip(own[second], counter.totals[start : start + column.width], strict=True)
            inner = {other: total for other, total in totals if total}
            if inner:
                pairs[value] = inner
        return pairs

    def selection(self, name: str, filters: Mapping[str, str]) -> MetricSums:
        """Return the sums of a metric over the rows that pass *filters*, without the warm-up.

        Raises:
            KeyError: no rule for which the sums were made is about it.
        """
        return self.sums.selection(RowSelection(name, frozenset(filters.items())))

    def duration_s(self, filters: Mapping[str, str]) -> float:
        """Return the seconds of the run without warm-up, or of the stage that *filters* select."""
        low, high = self.timeline.warmup_ns, self.timeline.stop_ns
        stages = self.timeline.stages
        for stage in stages:
            if stage.type == filters.get("stage"):
                end_ns = high if stage is stages[-1] else stage.end_ns
                low, high = max(low, stage.start_ns), min(high, end_ns)
        return max(high - low, 0) / NS_PER_S
