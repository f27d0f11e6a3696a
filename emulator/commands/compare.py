"""``peelfleet compare``: effects first, then intervals and verdicts; as a table, as JSON, as CSV."""

import csv as csv_format
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console as Terminal
from rich.table import Table

from emulator.commands.sweep import wide_terminal
from emulator.compare import sides
from emulator.compare.metrics import METRICS
from emulator.compare.sides import Comparison
from emulator.compare.statistics import LEAST_DIFFERENT, Judged
from wire.errors import InputError
from wire.outputs import replace_file, replacing
from wire.units import approximate_bytes

SHOWN_KEYS, SHOWN_DEVICES = 12, 5

_BETTER = {metric.name: metric.better for metric in METRICS}


def compare(names: Sequence[str]) -> list[Comparison]:
    """Compare the runs of *names* with those of the first; of a sweep folder alone, its combinations.

    Raises:
        InputError: one of them is no run, or nothing can be paired.
    """
    if len(names) == 1:
        names = [str(folder) for folder in sides.combinations_in(Path(names[0]))]
    if len(names) < 2:
        raise InputError("compare needs two sides: a baseline, and what is compared with it")
    first, *others = map(sides.read_side, names)
    return [sides.compare(first, other, len(names)) for other in others]


def show(comparisons: Sequence[Comparison]) -> None:
    """Print each comparison: what is compared, what to beware of, the table, the verdict."""
    terminal = wide_terminal()
    for each in comparisons:
        for line in (*_headlines(each), *_warnings(each)):
            _print(terminal, line)
        terminal.print(effects_table(each))
        _print(terminal, conclusion(each))


def _print(terminal: Terminal, line: str) -> None:
    terminal.print(line, soft_wrap=True, highlight=False, markup=False)


def _headlines(comparison: Comparison) -> Iterator[str]:
    first, second = comparison.first.name, comparison.second.name
    runs = len(comparison.seeds)
    yield f"{second} against {first}: {comparison.devices} pairs of devices in {runs} pairs of runs"
    keys = comparison.keys
    yield "same scenario" if not keys else f"scenarios differ in {len(keys)} keys:"
    for key in keys[:SHOWN_KEYS]:
        yield f"  {key.key}: {_absent(key.first)} -> {_absent(key.second)}"
    if len(keys) > SHOWN_KEYS:
        yield f"  and {len(keys) - SHOWN_KEYS} more"


def _absent(value: str | None) -> str:
    return "(none)" if value is None else value


def _warnings(comparison: Comparison) -> Iterator[str]:
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


def effects_table(comparison: Comparison) -> Table:
    """Return a table for people: effect, interval, verdict."""
    level = f"{comparison.level * 100:.4g} %"
    title = f"intervals hold together with {level}; {comparison.unit} drawn anew"
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for name in ("metric", "baseline", "compared", "difference", "relative", "interval", "verdict"):
        table.add_column(name, justify="left" if name in ("metric", "verdict") else "right", no_wrap=True)
    for name, judged in comparison.metrics.items():
        table.add_row(name, *_cells(name, judged))
    return table


def _cells(name: str, judged: Judged) -> Iterator[str]:
    for value in (judged.first, judged.second):
        yield _number(name, value)
    sign = "+" if judged.difference > 0 else ""
    yield sign + _number(name, judged.difference)
    yield "-" if judged.relative is None else f"{judged.relative:+.2%}"
    yield f"{_number(name, judged.low)} to {_number(name, judged.high)}" if judged.judged else "-"
    yield verdict(name, judged)


def _number(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "-" if math.isnan(value) else f"{value:+}"
    if "bytes" in name:
        return ("-" if value < 0 else "") + approximate_bytes(abs(value))
    return f"{value:.4g}"


def verdict(name: str, judged: Judged) -> str:
    """Return in words what is to be thought of a difference."""
    if judged.equal:
        return "equal"
    if not judged.judged:
        return f"not judged: only {judged.differing_units} units differ, of {LEAST_DIFFERENT} needed"
    if not judged.differs:
        return "no difference"
    better = _BETTER[name] * (1 if judged.difference > 0 else -1)
    return {1: "better", 0: "differs", -1: "worse"}[better]


def conclusion(comparison: Comparison) -> str:
    """Return the verdict on the whole in one line."""
    differing = [name for name, judged in comparison.metrics.items() if judged.differs]
    if not differing:
        return "verdict: no difference"
    return (
        f"verdict: differs in {len(differing)} of {len(comparison.metrics)} metrics: {', '.join(differing)}"
    )


def write(comparisons: Sequence[Comparison], json: Path | None, csv: Path | None) -> None:
    """Write what was found as JSON and as CSV, where wanted.

    Raises:
        InputError: a file cannot be written.
    """
    try:
        if json is not None:
            text = msgspec.json.format(
                msgspec.json.encode([as_plain(each) for each in comparisons]), indent=2
            )
            replace_file(json, text + b"\n")
        if csv is not None:
            with replacing(csv) as draft, draft.open("w", newline="", encoding="utf-8") as file:
                rows = [row for each in comparisons for row in _rows(each)]
                writer = csv_format.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from None


def as_plain(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON has it."""
    return {
        "baseline": comparison.first.name,
        "compared": comparison.second.name,
        "differs": comparison.differs,
        "level": comparison.level,
        "unit": comparison.unit,
        "devices": comparison.devices,
        "seeds": [list(pair) for pair in comparison.seeds],
        "models": {"baseline": comparison.first.models, "compared": comparison.second.models},
        "only_in_baseline": list(comparison.only_first),
        "only_in_compared": list(comparison.only_second),
        "keys": {key.key: [key.first, key.second] for key in comparison.keys},
        "metrics": list(_rows(comparison)),
    }


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    for name, judged in comparison.metrics.items():
        yield {
            "baseline": comparison.first.name,
            "compared": comparison.second.name,
            "metric": name,
            "baseline_value": _finite(judged.first),
            "compared_value": _finite(judged.second),
            "difference": _finite(judged.difference),
            "relative_difference": judged.relative,
            "low": _finite(judged.low) if judged.judged else None,
            "high": _finite(judged.high) if judged.judged else None,
            "differing_units": judged.differing_units,
            "verdict": verdict(name, judged),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
