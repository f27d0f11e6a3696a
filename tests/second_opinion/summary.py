"""The summary of a run, computed again from its tables; written from docs/metrics.md."""

import hashlib
import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from devices.event_log import COLUMNS
from tests.second_opinion.accounts import NS, accounts_of, rollout_of
from tests.second_opinion.figures import (
    ALL_FIGURES,
    Counter,
    Filters,
    Gauge,
    Level,
    Number,
    Opinion,
    Ratio,
    Stats,
    Time,
    Trend,
    nobody,
    own_of,
)
from tests.second_opinion.plan import Plan
from tests.second_opinion.tables import EVENTS, Tables

Summary = dict[str, Any]  # Any: JSON

BREAKDOWNS = {
    "budget_changes": "direction", "update_bytes": "kind", "pressure_seconds": "level", "connects": "why",
    "disconnections": "why", "messages_harmed": "harm",
}  # fmt: skip
PAIRS = {
    "budget_reports_by_cause": ("u", "cause", "result"),
    "pressure_transitions_by_level": ("x", "f", "g"),
}
FATES = ("pressure", "stage", "budget_decile", "budget_range")
"""Dimensions that devices pass through; nobody belongs to one of their values."""
SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
_RULE = re.compile(r"(?P<what>[a-z_]+)(?:\((?P<percent>[0-9.]+)\))?\s*(?P<sign>[<>=]+)\s*(?P<value>.+)")


def summary_of(folder: Path, tables: Tables, plan: Plan) -> Summary:
    """Return all that the summary says that follows from the tables and the scenario."""
    opinion = Opinion(tables)
    found = {name: opinion.found(name) for name in opinion.names}
    scenario, stop_s = plan.scenario, tables.stop_ns / NS
    whole = {name: each.get(("all", ""), nobody(ALL_FIGURES[name], "all")) for name, each in found.items()}
    own = {
        f"{name}_by_{dimension}": {
            value: found[name].get((dimension, value), {"total": 0})["total"]
            for value in _values(folder, name, dimension)
        }
        for name, dimension in BREAKDOWNS.items()
    }
    return {
        **{key: scenario[key] for key in ("seed", "clock")},
        "scenario": scenario["name"],
        "devices": tables.number("SELECT count(*) FROM dev"),
        "simulated_seconds": stop_s,
        **{name: _said(name, stats) for name, stats in whole.items()},
        **own,
        **{key: _pairs(tables, *columns) for key, columns in PAIRS.items()},
        "worst": _worst(folder, opinion),
        "stages": [
            {"name": each.name, "start_seconds": each.start_ns / NS, "end_seconds": each.end_ns / NS}
            for each in plan.stages
        ],
        **accounts_of(tables, plan),
        "warmup_seconds": plan.warmup_ns / NS,
        "event_log_sha256": _hash(tables),
        "broker_egress_bytes": whole["update_bytes"]["total"],
        "rollout": rollout_of(tables),
    }


def _said(name: str, stats: Stats) -> object:
    match ALL_FIGURES[name]:
        case Trend():
            return {key: value for key, value in stats.items() if key != "min"}
        case Level():
            return stats["mean"]
        case Ratio() | Gauge():
            return stats["value"]
    return stats["total"]


def _values(folder: Path, name: str, dimension: str) -> list[str]:
    """Return the values of a dimension in the order of metrics.parquet."""
    table = pq.read_table(folder / "metrics.parquet", columns=["metric", "dimension", "value"])
    return list(dict.fromkeys(
        row["value"] for row in table.to_pylist() if (row["metric"], row["dimension"]) == (name, dimension)
    ))  # fmt: skip


def _pairs(tables: Tables, table: str, first: str, second: str) -> dict[str, dict[str, int]]:
    where = "what = 'pressure'" if table == "x" else "true"
    found: dict[str, dict[str, int]] = {}
    for one, other, count in tables.rows(
        f"SELECT {first}, {second}, count(*) FROM {table} WHERE {where} GROUP BY ALL"
    ):
        found.setdefault(one, {})[other] = count
    return found


def _worst(folder: Path, opinion: Opinion) -> dict[str, dict[str, str | None]]:
    """Return who fares worst by each dimension that devices belong to: the first of equals is named."""
    judged = {"quality_ratio_to_full": "value", "over_budget_share": "value", "update_latency_seconds": "p95"}
    worst: dict[str, dict[str, str | None]] = {}
    for dimension in opinion.tables.dimensions:
        if dimension in FATES:
            continue
        worst[dimension] = {}
        for name, statistic in judged.items():
            found = opinion.found(name)
            numbers = {
                value: found[dimension, value][statistic]
                for value in _values(folder, name, dimension)
                if found.get((dimension, value), {}).get(statistic) is not None
            }
            choose = min if name == "quality_ratio_to_full" else max
            told = len(set(numbers.values())) > 1
            worst[dimension][name] = choose(numbers, key=lambda value: numbers[value] or 0) if told else None
    return worst


def _hash(tables: Tables) -> str:
    """Return the hash of the event log, as docs/events.md defines it."""
    devices = tables.number("SELECT count(*) FROM dev")
    lines = ["ranges of 2048 devices\n"]
    for at, first in enumerate(range(0, devices, 2048)):
        lines.append(f"{at} {_range_hash(tables, first)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _range_hash(tables: Tables, first: int) -> str:
    lines = []
    for name in sorted(EVENTS):
        rows: Any = tables.con.sql(  # Any: an Arrow table
            f'SELECT * FROM raw_{name} WHERE n BETWEEN {first} AND {first + 2047} ORDER BY n, t_ns, "order"'
        ).to_arrow_table()
        if not rows.num_rows:
            continue
        lines.append(f"{name}:{rows.num_rows}\n")
        for column, kind in COLUMNS[name].items():
            if column != "wall_s":
                values = rows[column].to_pylist()
                numbers = values if isinstance(kind, str) else [kind.index(word) for word in values]
                content = np.array(numbers, dtype=f"<{kind}" if isinstance(kind, str) else "u1").tobytes()
                lines.append(f"{column} {hashlib.sha256(content).hexdigest()}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verdicts(tables: Tables, plan: Plan, summary: Summary) -> list[dict[str, object]]:
    """Return what comes of the thresholds; *tables* leave out what was before the warm-up."""
    opinion = Opinion(tables)
    return [_verdict(opinion, plan, summary, selector, text) for selector, text in plan.thresholds]


def _at(summary: Summary, key: str) -> Number:
    """Return the number at a dotted key, which has no warm-up; pairs that there are not are 0."""
    found: Any = summary
    for part in key.split("."):
        found = found[int(part)] if isinstance(found, list) else found.get(part, {})
    return 0 if found == {} else found


def _verdict(opinion: Opinion, plan: Plan, summary: Summary, selector: str, text: str) -> dict[str, object]:
    name, _, rest = selector.partition("{")
    filters = dict(part.split("=") for part in rest.rstrip("}").split(",") if part)
    rule = _RULE.fullmatch(text)
    assert rule is not None
    if name in ALL_FIGURES:
        value = _value(opinion, plan, name, filters, rule["what"], rule["percent"])
    else:
        value = _at(summary, name)
    limit = _limit(opinion, filters, rule["value"])
    passed = value is not None and limit is not None and SIGNS[rule["sign"]](value, limit)
    return {"metric": selector, "rule": text, "value": value, "passed": passed}


def _value(
    opinion: Opinion, plan: Plan, name: str, filters: Filters, what: str, percent: str | None
) -> Number:
    figure, stats = ALL_FIGURES[name], opinion.narrowed(name, filters)
    match figure:
        case Trend():
            if what == "p":
                assert percent is not None
                return opinion.ranked(name, float(percent), filters)
            if what in ("sum", "total"):
                return (stats["mean"] or 0) * (stats["n"] or 0)
            return stats[{"count": "n", "avg": "mean"}.get(what, what)]
        case Counter():
            return _counted(opinion, plan, name, filters, what)
        case Level():
            return stats["mean" if what in ("time_weighted_mean", "mean", "avg", "value") else what]
        case Time():
            return stats["share" if what in ("rate", "share") else "total"]
    return stats["value"]


def _counted(opinion: Opinion, plan: Plan, name: str, filters: Filters, what: str) -> Number:
    """Return a sum, what it is a second, or its share of what filters of its own leave out."""
    total = opinion.narrowed(name, filters)["total"]
    assert total is not None
    if what == "rate":
        low, high = opinion.tables.since_ns, opinion.tables.stop_ns
        for stage in plan.stages:
            if stage.name == filters.get("stage"):
                low = max(low, stage.start_ns)
                high = high if stage is plan.stages[-1] else min(high, stage.end_ns)
        return total / ((high - low) / NS) if high > low else None
    if what != "share":
        return total
    general = {key: value for key, value in filters.items() if key not in own_of(ALL_FIGURES[name])}
    whole = opinion.narrowed(name, general if len(general) < len(filters) else {})["total"]
    return total / whole if whole else None


def _limit(opinion: Opinion, filters: Filters, text: str) -> Number:
    factor, star, base = text.partition("*")
    if star:
        mean = opinion.narrowed(f"{base}_ndcg_at_10", filters)["mean"]
        return None if mean is None else float(factor) * mean
    number = re.match(r"[0-9.]+", text)
    assert number is not None
    units: Mapping[str, float] = {
        "": 1, "s": 1, "%": 0.01, "/s": 1, "B": 1, "KiB": 1024, "MB": 1e6, "kB/s": 1000,
    }  # fmt: skip
    return float(number[0]) * units[text[number.end() :].strip()]
