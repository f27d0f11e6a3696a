"""The section of a report on costs: HTML."""

from collections.abc import Mapping
from html import escape
from typing import Any

from emulator.report.tables import row, table

_ITEMS = {
    "gb_down": "GB to devices",
    "gb_up": "GB from devices",
    "messages_down": "messages to devices",
    "messages_up": "messages from devices",
    "connection_minutes": "minutes of connection",
}


def costs_section(summary: Mapping[str, Any]) -> str:  # Any: JSON
    """Return the section with the costs by item and by group; empty without prices."""
    costs = summary.get("costs")
    if not isinstance(costs, dict):
        return ""
    currency = escape(str(costs["currency"]))
    items = [
        row([_ITEMS.get(name, escape(name)), f"{costs['billed'][name]:,.4g}", f"{cost:,.4g}"])
        for name, cost in costs["by_item"].items()
    ]
    groups = [row([escape(name), f"{cost:,.4g}"]) for name, cost in costs["by_group"].items()]
    return (
        f'<section><h2 id="costs">Costs</h2><p class="caption">At the scenario\'s prices the run costs '
        f"{costs['total']:,.4g} {currency}; at its mean rate a device costs {costs['per_device_month']:,.4g} "
        f"{currency} in 30 days.</p>{table(['item', 'charged', f'cost, {currency}'], items)}"
        f"{table(['group', f'cost, {currency}'], groups)}</section>"
    )
