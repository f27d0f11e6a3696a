"""The section of a report on costs."""

from collections.abc import Mapping
from typing import Any

from emulator.report.page_parts import ReportRow, ReportSection, ReportTable
from emulator.report.tables import share

_ITEMS = {
    "gb_down": "GB to devices",
    "gb_up": "GB from devices",
    "messages_down": "messages to devices",
    "messages_up": "messages from devices",
    "connection_minutes": "minutes of connection",
}
_CAPTION = (
    "Look for the item and the group that most of the money goes to. Everything is charged at the prices of "
    "the scenario; messages count in units of its prices.message_unit."
)


def costs_section(summary: Mapping[str, Any]) -> ReportSection | None:  # Any: JSON
    """Return the section with the costs by item and by group, the largest first; None without prices."""
    costs = summary.get("costs")
    if not isinstance(costs, dict):
        return None
    currency, total = str(costs["currency"]), costs["total"]
    finding = (
        f"At the scenario's prices the run costs {total:,.4g} {currency}; at its mean rate a device costs "
        f"{costs['per_device_month']:,.4g} {currency} in 30 days."
    )
    items = [
        ReportRow([_ITEMS.get(name, name), f"{costs['billed'][name]:,.4g}", *_amounts(cost, total)])
        for name, cost in _largest_first(costs["by_item"])
    ]
    groups = [ReportRow([name, *_amounts(cost, total)]) for name, cost in _largest_first(costs["by_group"])]
    money = f"cost, {currency}"
    return ReportSection(
        "costs", "Costs", finding, _CAPTION,
        [
            ReportTable("Costs by item", ["item", "charged", money, "of all"], items),
            ReportTable("Costs by group", ["group", money, "of all"], groups),
        ],
    )  # fmt: skip


def _largest_first(costs: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(costs.items(), key=lambda each: -each[1])


def _amounts(cost: float, total: float) -> tuple[str, str]:
    return f"{cost:,.4g}", share(cost / total if total else 0.0, 1)
