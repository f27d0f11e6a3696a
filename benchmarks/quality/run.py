"""The whole comparison: data in, tables, figure and files out."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.quality.bootstrap import Curves, curves
from benchmarks.quality.catalogue import BEST, FULL, QUICK_SHARES, SHARES, methods, quick_methods
from benchmarks.quality.compare import Result, compare, seeds
from benchmarks.quality.figure import write_figure
from benchmarks.quality.method import Method
from benchmarks.quality.peel import trained
from benchmarks.quality.rivals import best_rival, duels, rivals
from benchmarks.quality.scoring import HEAD_SHARE
from benchmarks.quality.slices import Labels, labels, parts, write_parts
from benchmarks.quality.sources import Source
from benchmarks.quality.tables import print_tables
from cloud.config import Training

NAME = "quality"


@dataclass(frozen=True)
class Plan:
    """How much to compare."""

    seeds: int
    threads: int
    out: Path
    quick: bool
    prefixes: tuple[str, ...] = ()
    """Only methods whose names start so; all if empty."""

    @property
    def shares(self) -> tuple[float, ...]:
        """The budgets."""
        return QUICK_SHARES if self.quick else SHARES


def run(source: Source, plan: Plan) -> None:
    """Compare, print and write ``quality.json``, ``quality.html`` and the page of parts of the users.

    What is known is written after every seed, so that a run that is cut short leaves something.
    """
    started = time.monotonic()
    chosen = _chosen(source, plan)
    results: list[Result] = []
    kinds: dict[str, Labels] = {}
    with threadpool_limits(limits=plan.threads):
        for training in seeds(source.model.training, plan.seeds):
            results += compare(source.interactions, training, chosen, plan.shares, _tell)
            kinds = kinds or _labels(source, training, chosen)
            found, title = curves(results), _title(source, training.seed + 1)
            _write_pages(results, found, kinds, title, plan.out)
            seconds = time.monotonic() - started
            _write_figures(results, found, plan, seconds)
    print_tables(found, duels(found), plan.shares, title)
    print(f"{seconds:.0f} s, {_peak_mib():.0f} MiB at most -> {plan.out}/{NAME}*")


def _title(source: Source, seed_count: int) -> str:
    return f"{source.interactions.name}, {seed_count} seed{'s' if seed_count > 1 else ''}"


def _labels(source: Source, training: Training, chosen: Sequence[Method]) -> dict[str, Labels]:
    ours = any(method.name == BEST for method in chosen)
    groups = trained(source.interactions, training).user_groups if ours else None
    return labels(source.interactions, groups, source.folder)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _chosen(source: Source, plan: Plan) -> list[Method]:
    every = (quick_methods if plan.quick else methods)(source.model)
    return [each for each in every if not plan.prefixes or each.name.startswith((FULL, *plan.prefixes))]


def _tell(words: str) -> None:
    print(words, flush=True)


def _full(results: Sequence[Result]) -> Result:
    return next(result for result in results if result.method == FULL)


def _of_interest(results: Sequence[Result], found: Curves) -> list[Result]:
    """Return the first seed's results of the full table, and at each budget of PEEL and its best rival."""
    keys = {(FULL, share) for share in found.shares(FULL)}
    for share in found.shares(BEST):
        keys |= {(BEST, share)} | ({best_rival(found, share)} if rivals(found, share) else set())
    first = results[0].seed
    return [each for each in results if each.seed == first and (each.method, each.budget_share) in keys]


def _write_pages(
    results: Sequence[Result], found: Curves, kinds: dict[str, Labels], title: str, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_figure(found, title, folder / f"{NAME}.html")
    chosen = parts(_of_interest(results, found), _full(results), kinds)
    write_parts(chosen, f"{title}: parts of the users", folder / f"{NAME}-parts")


def _write_figures(results: Sequence[Result], found: Curves, plan: Plan, seconds: float) -> None:
    content = {
        "rows": [result.row() for result in results],
        "bands": [
            {"method": method, "budget_share": share, **bands}
            for (method, share), bands in found.bands.items()
        ],
        "duels": duels(found),
        "choices": [
            {"method": each.method, "budget_share": each.budget_share, "seed": each.seed, "choice": each.note}
            for each in results
            if each.note
        ],
        "head_share": HEAD_SHARE,
        "quick": plan.quick,
        "seconds": seconds,
        "peak_mib": _peak_mib(),
    }
    encoded = msgspec.json.format(msgspec.json.encode(content), indent=1)
    (plan.out / f"{NAME}.json").write_bytes(encoded + b"\n")
