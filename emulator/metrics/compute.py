"""The metrics of a run, computed from its event tables and nothing else."""

from collections.abc import Mapping

from emulator.metrics.aggregates import Aggregate, Codes, Counter, Stats
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.formulas import FORMULAS
from emulator.metrics.frame import Frame
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.row_index import Columns
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import METRICS
from wire.units import NS_PER_S


class RunMetrics:
    """The metrics of a run. Each is computed when it is first asked for.

    Args:
        devices: the devices.
        timeline: the stages, and when the run ended.
        tables: the columns of the event tables, as `DeviceTable.encode` returns them.
        since_ns: time before it is left out.
    """

    def __init__(
        self, devices: DeviceTable, timeline: RunTimeline, tables: Mapping[str, Columns], since_ns: int = 0
    ) -> None:
        self.frame = Frame(devices, timeline, tables["quality"])
        self.since_ns = since_ns
        self.tables = tables
        """The columns of the event tables."""
        self._inputs = MetricInputs(self.frame, tables, since_ns)
        self._aggregates: dict[str, Aggregate] = {}

    def aggregate(self, name: str) -> Aggregate:
        """Return the metric called *name*.

        Raises:
            KeyError: there is no such metric.
        """
        if name not in self._aggregates:
            self._aggregates[name] = FORMULAS[name](self._inputs)
        return self._aggregates[name]

    def codes(self, name: str, filters: Mapping[str, str]) -> Codes:
        """Return the codes of *filters*, values by dimension, for the metric called *name*."""
        return {dimension: self._code(name, dimension, value) for dimension, value in filters.items()}

    def split(self, name: str, dimension: str) -> Mapping[str, Stats]:
        """Return the statistics of the metric called *name* for each value of *dimension*."""
        stats = self.aggregate(name).split(self.frame, dimension)
        return dict(zip(self.frame.values(dimension), stats, strict=True))

    def pair_totals(self, name: str, first: str, second: str) -> dict[str, dict[str, int]]:
        """Return the totals of a counter by two of its own dimensions, without the zeros."""
        counter, own = self.aggregate(name), METRICS[name].own
        assert isinstance(counter, Counter)
        pairs: dict[str, dict[str, int]] = {}
        for code, value in enumerate(own[first]):
            split = counter.select(self.frame, {first: code}).split(self.frame, second)
            totals = dict(zip(own[second], (stats["total"] for stats in split), strict=True))
            inner = {other: int(total) for other, total in totals.items() if total}
            if inner:
                pairs[value] = inner
        return pairs

    def since(self, since_ns: int) -> "RunMetrics":
        """Return the metrics of the same run without the time before *since_ns*."""
        return RunMetrics(self.frame.devices, self.frame.timeline, self.tables, since_ns)

    def duration_s(self, filters: Mapping[str, str]) -> float:
        """Return the duration of the run, or of the stage that *filters* select, in seconds."""
        timeline = self.frame.timeline
        low, high = self.since_ns, timeline.stop_ns
        for stage in timeline.stages:
            if stage.type == filters.get("stage"):
                end_ns = high if stage is timeline.stages[-1] else stage.end_ns
                low, high = max(low, stage.start_ns), min(high, end_ns)
        return max(high - low, 0) / NS_PER_S

    def _code(self, name: str, dimension: str, value: str) -> int:
        if dimension in METRICS[name].own:
            return list(METRICS[name].own[dimension]).index(value)
        known = dimension in self.frame.dimensions
        values = list(self.frame.values(dimension)) if known else []
        return values.index(value) if value in values else -1
