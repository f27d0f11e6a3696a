"""A comparison as text for people, and as rows for files."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from emulator.compare.resampling_units import MIN_SEEDS
from emulator.compare.run_sets import Comparison
from emulator.compare.statistics import MIN_DIFFERING_UNITS, MetricDifference
from emulator.compare.typical_runs import unseen_share
from emulator.metrics.per_device import COMPARED_METRICS, VISIT_METRICS
from wire.units import approximate_bytes

SHOWN_KEYS, SHOWN_DEVICES = 12, 5

_BETTER = {metric.name: metric.better for metric in (*COMPARED_METRICS, *VISIT_METRICS)}


def headlines(comparison: Comparison) -> Iterator[str]:
    """Yield the sides of a comparison, its size, and the settings that differ."""
    first, second = comparison.first.name, comparison.second.name
    runs = len(comparison.seeds)
    in_runs = "1 pair of runs" if runs == 1 else f"{runs} pairs of runs"
    yield f"{second} against {first}: {comparison.devices} pairs of devices in {in_runs}"
    keys = comparison.keys
    count = "1 key" if len(keys) == 1 else f"{len(keys)} keys"
    yield "same scenario" if not keys else f"scenarios differ in {count}:"
    for key in keys[:SHOWN_KEYS]:
        yield f"  {key.key}: {_absent(key.first)} -> {_absent(key.second)}"
    if len(keys) > SHOWN_KEYS:
        yield f"  and {len(keys) - SHOWN_KEYS} more"


def _absent(value: str | None) -> str:
    return "(none)" if value is None else value


def list_warnings(comparison: Comparison) -> Iterator[str]:
    """Yield warnings and notes: few seeds, seeds left out, other models, other fleets."""
    units = comparison.units
    if not units.enough:
        yield (
            f"warning: {units.runs} of {MIN_SEEDS} seeds: the devices of a run share "
            f"{', '.join(units.shared)}, so there is no statement about other runs"
        )
    elif units.kind == "users":
        yield (
            "note: some devices have the same user, and are drawn together: "
            f"{comparison.devices} pairs of devices in {units.count} units"
        )
    elif units.kind == "seeds":
        share = unseen_share(units.runs)
        yield (
            f"note: {units.runs} seeds: what happens in fewer than {share:.0%} of all runs may be in none of "
            "these; intervals hold the median run, and the mean unless such runs carry it"
        )
    if not comparison.paired:
        seeds = ", ".join(f"{one} with {two}" for one, two in comparison.seeds)
        yield f"note: no seed is on both sides; paired in order ({seeds}): equal ids are not equal lives"
    for side, other in pairwise((comparison.first, comparison.second, comparison.first)):
        left = sorted(set(side.runs) - {pair[side is comparison.second] for pair in comparison.seeds})
        if left:
            yield f"warning: {side.name}: seeds left out, not in {other.name}: {', '.join(map(str, left))}"
    if comparison.first.models != comparison.second.models:
        models = (" ".join(side.models) for side in (comparison.first, comparison.second))
        yield f"warning: the models differ: {' -> '.join(models)}"
    for side, alone in (
        (comparison.first, comparison.only_first),
        (comparison.second, comparison.only_second),
    ):
        if alone:
            more = f" and {len(alone) - SHOWN_DEVICES} more" if len(alone) > SHOWN_DEVICES else ""
            yield (
                f"warning: the fleets differ: left out, only in {side.name}: "
                f"{', '.join(alone[:SHOWN_DEVICES])}{more}"
            )


def title(comparison: Comparison) -> str:
    """Return a sentence on the confidence of the intervals."""
    if not comparison.units.enough:
        return "no intervals: too few seeds"
    level = f"{comparison.level * 100:.4g} %"
    return f"intervals hold together with {level}; {comparison.units.kind} drawn anew"


def metric_cells(name: str, judged: MetricDifference) -> tuple[str, str, str, str, str]:
    """Return both values, the difference, the relative difference and the interval, for people."""
    sign = "+" if judged.difference > 0 else ""
    return (
        _number(name, judged.first),
        _number(name, judged.second),
        sign + _number(name, judged.difference),
        "-" if judged.relative is None or math.isnan(judged.relative) else signed_share(judged.relative),
        f"{_number(name, judged.low)} to {_number(name, judged.high)}" if judged.has_interval else "-",
    )


def signed_share(share: float) -> str:
    """Return a relative difference in percent; one that is not 0 never looks like 0."""
    text = f"{share * 100:+.2f}"
    if share and float(text) == 0:
        text = f"{share * 100:+.1g}"
    return f"{text if share else '0'} %"


def _number(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "-" if math.isnan(value) else f"{value:+}"
    if "bytes" in name:
        return ("-" if value < 0 else "") + approximate_bytes(abs(value))
    return f"{value:.4g}"


def verdict(name: str, judged: MetricDifference) -> str:
    """Return the verdict on a difference, in words."""
    if judged.equal:
        return "equal"
    if not judged.judged:
        units = judged.differing_units
        count = "1 unit differs" if units == 1 else f"{units} units differ"
        return f"not judged: only {count}, of {MIN_DIFFERING_UNITS} needed"
    if judged.differs or judged.differs_here:
        better = _BETTER[name] * (1 if judged.difference > 0 else -1)
        word = {1: "better", 0: "differs", -1: "worse"}[better]
        return word if judged.differs else f"{word} in these runs"
    return "no difference" if judged.general else "not judged: too few seeds"


def conclusion(comparison: Comparison) -> str:
    """Return the verdict on a comparison, in one line."""
    differing = [name for name, judged in comparison.metrics.items() if judged.differs or judged.differs_here]
    if differing:
        where = "" if comparison.units.enough else " in these runs"
        count = f"{len(differing)} of {len(comparison.metrics)} metrics"
        return f"verdict: differs{where} in {count}: {', '.join(differing)}"
    if all(judged.equal for judged in comparison.metrics.values()):
        return "verdict: no difference: every metric is equal"
    return "verdict: no difference" if comparison.units.enough else "verdict: none: too few seeds"


def as_plain(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values, for JSON."""
    return {
        "baseline": comparison.first.name,
        "compared": comparison.second.name,
        "differs": comparison.differs,
        "level": comparison.level,
        "unit": comparison.units.kind,
        "units": comparison.units.count,
        "shared": list(comparison.units.shared),
        "enough_seeds": comparison.units.enough,
        "seeds_needed": MIN_SEEDS if comparison.units.shared else 1,
        "devices": comparison.devices,
        "seeds": [list(pair) for pair in comparison.seeds],
        "models": {"baseline": comparison.first.models, "compared": comparison.second.models},
        "only_in_baseline": list(comparison.only_first),
        "only_in_compared": list(comparison.only_second),
        "keys": {key.key: [key.first, key.second] for key in comparison.keys},
        "metrics": list(metric_rows(comparison)),
    }


def metric_rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield a row for each metric, for files and tables."""
    for name, judged in comparison.metrics.items():
        yield {
            "baseline": comparison.first.name,
            "compared": comparison.second.name,
            "metric": name,
            "baseline_value": _finite(judged.first),
            "compared_value": _finite(judged.second),
            "difference": _finite(judged.difference),
            "relative_difference": judged.relative,
            "low": _finite(judged.low) if judged.has_interval else None,
            "high": _finite(judged.high) if judged.has_interval else None,
            "differing_units": judged.differing_units,
            "verdict": verdict(name, judged),
            "chance": judged.chance,
            "enough_seeds": comparison.units.enough,
            "unit": comparison.units.kind,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
