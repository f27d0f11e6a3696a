"""Costs of a run: what brokers and networks would charge for its traffic, by group of the fleet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from emulator.metrics.compute import RunMetrics
from emulator.metrics.message_units import MessageUnits
from scenarios.language.prices import Prices

GB = 1e9
MILLION = 1e6
MONTH_S = 30 * 86_400
"""Seconds in the month of `per_device_month`."""
_UP = ("report_wire_bytes", "quality_wire_bytes", "status_wire_bytes")


@dataclass(frozen=True)
class BilledTraffic:
    """Traffic of a group of devices that is charged for."""

    gb_down: float
    gb_up: float
    messages_down: float
    messages_up: float
    connection_minutes: float

    def costs(self, prices: Prices) -> Mapping[str, float]:
        """Return the cost of each item."""
        per_message = prices.per_million_messages / MILLION
        return {
            "gb_down": self.gb_down * prices.per_gb_down,
            "gb_up": self.gb_up * prices.per_gb_up,
            "messages_down": self.messages_down * per_message,
            "messages_up": self.messages_up * per_message,
            "connection_minutes": self.connection_minutes * prices.per_million_connection_minutes / MILLION,
        }

    def __add__(self, other: Self) -> Self:
        """Return the traffic of both."""
        return type(self)(*(np.array(self._numbers) + np.array(other._numbers)).tolist())

    @property
    def _numbers(self) -> tuple[float, ...]:
        return (self.gb_down, self.gb_up, self.messages_down, self.messages_up, self.connection_minutes)


def summarize_costs(
    prices: Prices, metrics: RunMetrics, devices: int, simulated_s: float
) -> dict[str, object]:
    """Return the costs of a run for its summary.

    Args:
        prices: of the scenario.
        metrics: of the run.
        devices: number of devices of the fleet.
        simulated_s: duration of the run, in simulated seconds.
    """
    units = metrics.sums.message_units
    assert units is not None
    by_group = {group: _billed(metrics, units, group, prices) for group in metrics.slices.values("group")}
    whole = BilledTraffic(0, 0, 0, 0, 0)
    for traffic in by_group.values():
        whole += traffic
    items = whole.costs(prices)
    total = sum(items.values())
    return {
        "currency": prices.currency,
        "total": total,
        "per_device_month": total / devices * MONTH_S / simulated_s,
        "by_item": dict(items),
        "by_group": {group: sum(traffic.costs(prices).values()) for group, traffic in by_group.items()},
        "billed": {
            "gb_down": whole.gb_down,
            "gb_up": whole.gb_up,
            "messages_down": whole.messages_down,
            "messages_up": whole.messages_up,
            "connection_minutes": whole.connection_minutes,
        },
    }


def _billed(metrics: RunMetrics, units: MessageUnits, group: str, prices: Prices) -> BilledTraffic:
    def total(name: str) -> float:
        return float(metrics.split(name, "group")[group]["total"] or 0)

    confirmed = units.confirmations.get(group, 0) if prices.count_confirmations else 0
    return BilledTraffic(
        gb_down=total("update_wire_bytes") / GB,
        gb_up=sum(map(total, _UP)) / GB,
        messages_down=units.down.get(group, 0),
        messages_up=units.up.get(group, 0) + confirmed,
        connection_minutes=(total("device_seconds") - total("offline_seconds")) / 60,
    )
