"""Metrics of a fleet that runs now, for Prometheus, from its live statuses."""

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from emulator.metrics.histogram import bucket_middle
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.timeline import RunTimeline
from wire.prometheus.families import counted_histogram
from wire.units import NS_PER_S

PREFIX: Final = "peelfleet_fleet_"
"""Prefix of all metrics of a fleet."""
LATENCY_BOUNDS_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
"""Upper bounds of the latencies of updates, in seconds of simulated time."""
_COUNTS: Final = {
    "reports": "Exchanges that have ended, whatever came of them",
    "applied": "Updates that devices have applied",
    "lost": "Exchanges without a complete answer",
    "update_bytes": "Payload of update parts that devices were sent",
}
_GAUGES: Final = {
    "devices": "Devices of the scenario",
    "started": "Devices that have started",
    "online": "Devices on the network",
    "connections": "Open MQTT connections",
    "over_budget": "Devices that hold more than their budget; must be 0",
    "budget_bytes": "Budgets of the devices that have started, together",
    "held_bytes": "Blocks that they hold, together",
    "in_flight": "Reports without an answer yet",
}


class FleetCollector(Collector):
    """Yields the metrics of a fleet at each request; statuses come from another thread.

    A shard that is killed and starts again counts from zero. What a counter has shown stays counted.

    Args:
        plan: the stages and faults of the scenario.
        scenario: the scenario's name.
    """

    def __init__(self, plan: RunTimeline, scenario: str) -> None:
        self._plan = plan
        self._labels = {"scenario": scenario}
        self._lock = threading.Lock()
        self._status: LiveStatus | None = None
        self._counts: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))
        self._latencies: Counter[float] = Counter()

    @property
    def has_status(self) -> bool:
        """True from the first status on."""
        return self._status is not None

    def add(self, status: LiveStatus) -> None:
        """Take the newest status."""
        with self._lock:
            for name in _COUNTS:
                before = 0 if self._status is None else getattr(self._status, name)
                self._counts[name] += max(getattr(status, name) - before, 0)
            for bucket, count in status.latency.items():
                self._latencies[bucket_middle(bucket) / NS_PER_S] += count
            self._status = status

    def collect(self) -> Iterable[Metric]:
        """Yield every metric; before the first status only that the fleet is there."""
        yield InfoMetricFamily(PREFIX.rstrip("_"), "The fleet that runs", value=self._labels)
        with self._lock:
            status, counts, latencies = self._status, dict(self._counts), dict(self._latencies)
        if status is None:
            return
        for name, text in _GAUGES.items():
            value = status.resident_bytes if name == "held_bytes" else getattr(status, name)
            yield GaugeMetricFamily(PREFIX + name, text, value=value)
        for name, text in _COUNTS.items():
            yield CounterMetricFamily(PREFIX + name, text, counts[name])
        yield from self._quality(status)
        yield from self._times(status)
        total_s = sum(value * count for value, count in latencies.items())
        yield counted_histogram(
            PREFIX + "update_latency_seconds",
            "From a change of the budget to the update applied, in simulated time",
            latencies, total_s, LATENCY_BOUNDS_S,
        )  # fmt: skip

    def _quality(self, status: LiveStatus) -> Iterable[Metric]:
        started = max(status.started, 1)
        yield GaugeMetricFamily(
            PREFIX + "ndcg_at_10", "Mean NDCG@10 of what is held now", value=status.ndcg_sum / started
        )
        yield GaugeMetricFamily(
            PREFIX + "best_ndcg_at_10",
            "Mean NDCG@10 of the best PEE for each budget",
            value=status.best_sum / started,
        )

    def _times(self, status: LiveStatus) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            PREFIX + "simulated_seconds", "Simulated time reached", value=status.t_ns / NS_PER_S
        )
        yield GaugeMetricFamily(
            PREFIX + "lag_seconds",
            "Greatest delay of an event in the last second, by the wall clock",
            value=max(status.lag_ns, 0) / NS_PER_S,
        )
        faults = GaugeMetricFamily(PREFIX + "faults_in_force", "Faults that hold now", labels=["type"])
        for type_ in dict.fromkeys(span.type for span in self._plan.faults):
            holding = [
                span.type == type_ and span.start_ns <= status.t_ns < span.end_ns
                for span in self._plan.faults
            ]
            faults.add_metric([type_], sum(holding))
        yield faults
