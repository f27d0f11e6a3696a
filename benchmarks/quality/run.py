"""The whole comparison: data in, tables, figure and files out."""

import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.quality.bootstrap import Curves, curves
from benchmarks.quality.catalogue import BEST, QUICK_SHARES, SHARES, ablations, methods, quick_methods
from benchmarks.quality.compare import Result, compare, seeds
from benchmarks.quality.figure import write_figure
from benchmarks.quality.peel import train_cached
from benchmarks.quality.rivals import best_rival, duels, rivals
from benchmarks.quality.slices import Labels, labels, parts, write_parts
from benchmarks.quality.sources import Source
from benchmarks.quality.tables import print_tables
from cloud.training.baselines.catalogue import FULL
from cloud.training.baselines.method import CompressionMethod
from cloud.training.baselines.scoring import HEAD_SHARE
from cloud.training.config import Training
from cloud.training.threads import limit_threads

NAME = "quality"


Catalogue = Literal["all", "quick", "ablation"]

CATALOGUES = {"all": methods, "quick": quick_methods, "ablation": ablations}


@dataclass(frozen=True)
class Plan:
    """Extent of the comparison."""

    seeds: int
    threads: int
    out: Path
    catalogue: Catalogue
    prefixes: tuple[str, ...] = ()
    """Only methods whose names start so; all if empty."""
    jobs: int = 1
    """Seeds at a time, each in a process of its own."""

    @property
    def shares(self) -> tuple[float, ...]:
        """The budgets."""
        return QUICK_SHARES if self.catalogue == "quick" else SHARES

    @property
    def stem(self) -> str:
        """Common stem of the names of the files."""
        return "ablation" if self.catalogue == "ablation" else NAME


def run(source: Source, plan: Plan) -> None:
    """Compare, print and write ``quality.json``, ``quality.html`` and the page of parts of the users.

    What is known is written after every seed, so that a run that is cut short leaves something.
    """
    started = time.monotonic()
    results: list[Result] = []
    kinds: dict[str, Labels] = {}
    for part in _parts(source, plan):
        results = sorted([*results, *part.results], key=lambda result: result.seed)
        kinds = kinds or part.kinds
        measured, seconds = curves(results), time.monotonic() - started
        title = f"{source.interactions.name}, {_seeds(len({result.seed for result in results}))}"
        _write_pages(results, measured, kinds, title, plan)
        _write_figures(results, measured, plan, seconds)
    print_tables(measured, duels(measured), plan.shares, title)
    print(f"{seconds:.0f} s, {_peak_mib():.0f} MiB at most a process -> {plan.out}/{plan.stem}*")


@dataclass(frozen=True)
class Part:
    """Results of one seed."""

    results: list[Result]
    kinds: dict[str, Labels]


def _parts(source: Source, plan: Plan) -> Iterator[Part]:
    """Yield what each seed gave, as they come."""
    trainings = seeds(source.model.training, plan.seeds)
    if plan.jobs == 1:
        yield from (_part(source, plan, training) for training in trainings)
        return
    spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(plan.jobs, mp_context=spawn) as pool:
        waiting = [pool.submit(_part, source, plan, training) for training in trainings]
        yield from (done.result() for done in as_completed(waiting))


def _part(source: Source, plan: Plan, training: Training) -> Part:
    methods = CATALOGUES[plan.catalogue](source.model)
    chosen = [
        method for method in methods if not plan.prefixes or method.name.startswith((FULL, *plan.prefixes))
    ]
    with limit_threads(plan.threads):
        results = compare(source.interactions, training, chosen, plan.shares, _tell)
        return Part(results, _labels(source, training, chosen))


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def _labels(source: Source, training: Training, chosen: Sequence[CompressionMethod]) -> dict[str, Labels]:
    ours = any(method.name == BEST for method in chosen)
    groups = train_cached(source.interactions, training).user_groups if ours else None
    return labels(source.interactions, groups, source.folder)


def _peak_mib() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(process).ru_maxrss for process in who) / 1024


def _tell(words: str) -> None:
    print(words, flush=True)


def _full(results: Sequence[Result]) -> Result:
    return next(result for result in results if result.method == FULL)


def _of_interest(results: Sequence[Result], measured: Curves) -> list[Result]:
    """Return the first seed's results of the full table, and at each budget of PEEL and its best rival."""
    keys = {(FULL, share) for share in measured.shares(FULL)}
    for share in measured.shares(BEST):
        keys |= {(BEST, share)} | ({best_rival(measured, share)} if rivals(measured, share) else set())
    first = results[0].seed
    return [
        result for result in results if result.seed == first and (result.method, result.budget_share) in keys
    ]


def _write_pages(
    results: Sequence[Result], measured: Curves, kinds: dict[str, Labels], title: str, plan: Plan
) -> None:
    plan.out.mkdir(parents=True, exist_ok=True)
    write_figure(measured, title, plan.out / f"{plan.stem}.html")
    chosen = parts(_of_interest(results, measured), _full(results), kinds)
    write_parts(chosen, f"{title}: parts of the users", plan.out / f"{plan.stem}-parts")


def _write_figures(results: Sequence[Result], measured: Curves, plan: Plan, seconds: float) -> None:
    content = {
        "rows": [result.row() for result in results],
        "bands": [
            {"method": method, "budget_share": share, **bands}
            for (method, share), bands in measured.bands.items()
        ],
        "duels": duels(measured),
        "choices": [
            {
                "method": result.method,
                "budget_share": result.budget_share,
                "seed": result.seed,
                "choice": result.note,
            }
            for result in results
            if result.note
        ],
        "head_share": HEAD_SHARE,
        "quick": plan.catalogue == "quick",
        "seconds": seconds,
        "peak_mib": _peak_mib(),
    }
    encoded = msgspec.json.format(msgspec.json.encode(content), indent=1)
    (plan.out / f"{plan.stem}.json").write_bytes(encoded + b"\n")
