"""Metrics of a real device, for Prometheus."""

from collections.abc import Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from devices.standalone.device import RealDevice

PREFIX: Final = "peelfleet_device_"
"""Prefix of all metrics of a device."""
_COUNTS: Final = {
    "reports": "Reports published",
    "unanswered": "Reports without a complete answer in time",
    "connections": "Connections that were up",
    "broken": "Connections lost or not made",
    "parts": "Update parts that came, good or bad",
    "evictions": "Times that blocks were dropped because the budget had fallen",
    "write_failures": "Failed writes to the disk",
}


class DeviceCollector(Collector):
    """Yields the metrics of a device at each request.

    Args:
        device: the device, which runs in another thread.
        name: its id.
        fleet: its fleet.
    """

    def __init__(self, device: RealDevice, name: str, fleet: str) -> None:
        self._device = device
        self._labels = {"fleet": fleet, "device": name}

    def collect(self) -> Iterable[Metric]:
        """Yield every metric."""
        agent, counts = self._device.agent, self._device.counts
        labels = self._labels | {"model": agent.model or ""}
        yield InfoMetricFamily(PREFIX.rstrip("_"), "The device, and the model that it holds", value=labels)
        yield GaugeMetricFamily(
            PREFIX + "budget_bytes", "Budget of the item embeddings", value=agent.budget_bytes
        )
        yield GaugeMetricFamily(PREFIX + "held_bytes", "Blocks that it holds", value=agent.resident_bytes)
        yield GaugeMetricFamily(PREFIX + "layer", "The layer that it recommends with", value=agent.layer)
        for name, text in _COUNTS.items():
            yield CounterMetricFamily(PREFIX + name, text, getattr(counts, name))
        refused = CounterMetricFamily(PREFIX + "refused", "Messages that it refused", labels=["reason"])
        for reason, count in list(counts.refused.items()):
            refused.add_metric([reason], count)
        yield refused
        errors = CounterMetricFamily(
            PREFIX + "errors", "Errors of the cloud about its last report", labels=["reason"]
        )
        for reason, count in list(counts.errors.items()):
            errors.add_metric([reason], count)
        yield errors
