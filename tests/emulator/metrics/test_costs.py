"""Costs: what is charged is counted from the tables, priced, and split by group."""

from collections.abc import Mapping
from math import ceil, isclose
from typing import Any

import pytest

from emulator.report.page import write_report
from emulator.run_directory.event_reader import read_tables
from scenarios.catalogue.summary_keys import COSTS, key_of
from scenarios.language.load import dump, parse
from scenarios.language.thresholds import rules_of
from tests.emulator.scenarios import TINY, Runner
from wire.errors import InputError

PRICES = (
    "prices={currency: EUR, per_gb_down: 90, per_gb_up: 10, per_million_messages: 1, "
    "message_unit: 1 KiB, per_million_connection_minutes: 0.08}"
)


def costs_of(summary: Mapping[str, object]) -> Mapping[str, Any]:  # Any: JSON
    costs = summary["costs"]
    assert isinstance(costs, dict)
    return costs


def test_what_is_charged_is_what_the_tables_have(runner: Runner) -> None:
    """Each part of an update in pieces of 1 KiB, each smaller message once, each connection one more."""
    run = runner.run(TINY, PRICES)
    tables = {name: table.to_pylist() for name, table in read_tables(run.folder / "events").items()}
    updates, qualities = tables["update"], [row for row in tables["quality"] if row["message_bytes"]]
    begun = [row for row in tables["connection"] if row["online"]]
    parts = sum(row["parts"] for row in updates)
    sent = [row for row in updates if row["parts"]]
    pieces = sum(row["parts"] * ceil(ceil(row["update_bytes"] / row["parts"]) / 1024) for row in sent)
    assert pieces > parts
    assert all(row["report_bytes"] <= 1024 for row in updates)
    up_bytes = sum(row["report_wire_bytes"] for row in updates) + sum(
        row["message_wire_bytes"] for row in [*qualities, *begun]
    )
    costs = costs_of(run.summary)
    assert costs["billed"] == {
        "gb_down": pytest.approx(sum(row["update_wire_bytes"] for row in updates) / 1e9),
        "gb_up": pytest.approx(up_bytes / 1e9),
        "messages_down": pieces,
        "messages_up": len(updates) + len(qualities) + 2 * len(begun) + parts,
        "connection_minutes": pytest.approx(
            (run.summary["device_seconds"] - run.summary["offline_seconds"]) / 60  # type: ignore[operator]
        ),
    }


def test_costs_add_up_and_are_shown(runner: Runner) -> None:
    run = runner.run(TINY, PRICES, 'thresholds={costs.total: ["value<1"], costs.by_group.phone: ["value>1"]}')
    costs = costs_of(run.summary)
    billed, items = costs["billed"], costs["by_item"]
    prices = {
        "gb_down": 90,
        "gb_up": 10,
        "messages_down": 1e-6,
        "messages_up": 1e-6,
        "connection_minutes": 8e-8,
    }
    assert items == {name: pytest.approx(billed[name] * price) for name, price in prices.items()}
    total = costs["total"]
    assert isclose(total, sum(items.values()))
    assert isclose(total, sum(costs["by_group"].values()))
    assert set(costs["by_group"]) == {"phone", "tvbox"}
    assert costs["per_device_month"] == pytest.approx(total / 30 * 30 * 86_400 / 1200)
    verdicts = run.summary["thresholds"]
    assert isinstance(verdicts, list)
    assert [verdict["passed"] for verdict in verdicts] == [True, False]
    page = write_report(run.folder).read_text()
    assert '<details class="card section" id="costs" open>' in page
    assert "cost, EUR" in page


def test_without_prices_there_are_no_costs(runner: Runner) -> None:
    run = runner.run(TINY)
    assert "costs" not in run.summary
    assert "prices" not in dump(parse(TINY))
    assert 'id="costs"' not in write_report(run.folder).read_text()


def test_a_confirmation_may_be_free_and_a_sample_is_scaled(runner: Runner) -> None:
    whole, part = (
        costs_of(runner.run(TINY, PRICES.replace("}", ", count_confirmations: false}"), *sample).summary)
        for sample in ((), ("sample=1.0",))
    )
    assert whole == part
    half = costs_of(runner.run(TINY, PRICES, "sample=50 %").summary)
    full = costs_of(runner.run(TINY, PRICES).summary)
    assert full["billed"]["messages_up"] > whole["billed"]["messages_up"]
    assert isclose(half["billed"]["connection_minutes"], full["billed"]["connection_minutes"], rel_tol=0.1)


def test_costs_can_have_thresholds() -> None:
    assert all(key_of(f"costs.{name}") for name in COSTS)
    assert key_of("costs.by_item.beer") is None
    assert rules_of({"costs.per_device_month": ["value<0.02"]})[0].of_summary


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ("{per_gb_down: -1}", "prices.per_gb_down"),
        ("{message_unit: 0 B}", "message_unit"),
        ("{per_gb: 1}", "unknown key 'per_gb'"),
    ],
)
def test_a_wrong_price_is_refused(prices: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        parse(TINY, "tiny", [f"prices={prices}"])
    assert said in str(error.value)
