"""The section of a report on the visits of users: quality as it went, by age, user and budget."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from emulator.report.page_parts import ReportRow, ReportSection, ReportTable, ReportText
from emulator.report.tables import NONE, share
from scenarios.catalogue.metrics import INTERACTION_METRICS
from wire.units import approximate_bytes

_NDCG, _OF_CLOUD = "prequential_ndcg_at_10", "prequential_ndcg_at_10_of_cloud"
_COLUMNS = {
    "visits": "visits",
    _NDCG: "NDCG@10",
    "prequential_recall_at_20": "Recall@20",
    "prequential_hit_rate_at_10": "hit rate at 10",
    _OF_CLOUD: "of the cloud's",
}
_DIMENSIONS = {
    "age": "age of what the device ranked with",
    "newcomer": "newcomer",
    "known": "items that the user knew",
    "budget_range": "budget",
    "group": "group",
}
_WHAT = (
    "Prequential quality: the items that a user met next were ranked with what the device had then, and only "
    "afterwards known and learned from. The cloud's line is the whole table with a vector learned from what "
    "the user met before."
)
Values = Mapping[str, Mapping[str, float]]
"""The numbers of each value of a dimension, by metric."""


def visits_section(
    summary: Mapping[str, Any], measured: pa.Table | None
) -> ReportSection | None:  # Any: JSON
    """Return the section; None where users meet no interactions.

    Args:
        summary: of the run.
        measured: the metrics by every dimension, if the run has them.
    """
    if not summary.get("visits"):
        return None
    by_dimension = _by_dimension(measured) if measured is not None else {}
    parts: list[ReportText | ReportTable] = []
    for name, title in _DIMENSIONS.items():
        values = by_dimension.get(name, {})
        if len(values) > 1 or (values and name == "age"):
            parts += [ReportText([_sentence(name, values)], f"By {title}"), _table(title, values)]
    return ReportSection("visits", "Visits", _finding(summary), f"{_WHAT} {_traffic(summary)}", parts)


def _finding(summary: Mapping[str, Any]) -> str:  # Any: JSON
    ratio = summary[_OF_CLOUD]
    of_cloud = "" if ratio is None else f", {share(ratio)} of the cloud's {summary[f'{_NDCG}_in_cloud']:.3f}"
    return f"In {summary['visits']:,} visits the mean NDCG@10 was {summary[_NDCG]:.3f}{of_cloud}."


def _traffic(summary: Mapping[str, Any]) -> str:  # Any: JSON
    down, up = summary["recommender_bytes_down"], summary["recommender_bytes_up"]
    if not summary["recommender_exchanges"]:
        return "Besides updates nothing was sent for them: what users met stayed on their devices."
    return (
        f"Besides updates, {summary['recommender_exchanges']:,} exchanges brought lists and vectors of "
        f"{approximate_bytes(down)}; devices sent {approximate_bytes(up)} of what their users met."
    )


def _by_dimension(measured: pa.Table) -> dict[str, dict[str, dict[str, float]]]:
    """Return the numbers of those values of each dimension that have visits."""
    ours = measured.filter(pc.is_in(measured["metric"], pa.array([*INTERACTION_METRICS])))
    found: dict[str, dict[str, dict[str, float]]] = {}
    columns = (ours[name].to_pylist() for name in ("metric", "dimension", "value", "statistic", "number"))
    for metric, dimension, value, statistic, number in zip(*columns, strict=True):
        if metric in _COLUMNS and statistic in ("value", "total") and number is not None:
            found.setdefault(dimension, {}).setdefault(value, {})[metric] = number
    return {
        dimension: {value: numbers for value, numbers in values.items() if numbers.get("visits")}
        for dimension, values in found.items()
    }


def _sentence(dimension: str, values: Values) -> str:
    """Return one sentence on the values of a dimension; empty where there is nothing to say."""
    named = list(values)
    if dimension == "newcomer":
        no, yes = values["no"][_NDCG], values["yes"][_NDCG]
        text = f"Newcomers had an NDCG@10 of {yes:.3f}, users that training saw one of {no:.3f}."
    elif dimension == "age" and len(named) > 1:
        young, old = (values[named[at]][_NDCG] for at in (0, -1))
        text = f"NDCG@10 was {young:.3f} with the newest and {old:.3f} with the oldest."
    else:
        low, high = (pick(values, key=lambda value: values[value][_NDCG]) for pick in (min, max))
        text = (
            f"NDCG@10 was {values[low][_NDCG]:.3f} at the lowest ({low}), {values[high][_NDCG]:.3f} at the "
            f"highest ({high})."
        )
    return text.replace("_", " ")


def _table(title: str, values: Values) -> ReportTable:
    rows = [
        ReportRow([value.replace("_", " "), *(_shown(metric, numbers.get(metric)) for metric in _COLUMNS)])
        for value, numbers in values.items()
    ]
    return ReportTable(f"Visits by {title}", [title, *_COLUMNS.values()], rows)


def _shown(metric: str, number: float | None) -> str:
    if number is None:
        return NONE
    if metric == "visits":
        return f"{number:,.0f}"
    return share(number) if metric == _OF_CLOUD else f"{number:.3f}"
