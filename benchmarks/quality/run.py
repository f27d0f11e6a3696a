"""The whole comparison: data in, tables, figures and files out."""

import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.quality.catalogue import (
    ALL_SHARES,
    BEST,
    QUICK_SHARES,
    SHARES,
    ablations,
    all_methods,
    methods,
)
from benchmarks.quality.compare import Result, compare, seeds
from benchmarks.quality.figure import write_figure
from benchmarks.quality.intervals import Curves, curves
from benchmarks.quality.populations import POPULATIONS
from benchmarks.quality.rivals import best_rival, rivals
from benchmarks.quality.slices import Labels, labels, parts, write_parts
from benchmarks.quality.sources import Source
from benchmarks.quality.tables import Case, markdown, write_csv
from cloud.training.baselines.catalogue import FULL
from cloud.training.config import Training
from cloud.training.threads import limit_threads

NAME = "quality"

Catalogue = Literal["strongest", "all", "quick", "ablation"]

CATALOGUES = {"strongest": methods, "all": all_methods, "quick": methods, "ablation": ablations}
SHARES_OF = {"strongest": SHARES, "all": ALL_SHARES, "quick": QUICK_SHARES, "ablation": ALL_SHARES}
ONLY_MEMBERS = frozenset({"all", "ablation"})
"""Catalogues with methods that train anew, and so have nothing for a user who was no part of training."""


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
        return SHARES_OF[self.catalogue]

    @property
    def stem(self) -> str:
        """Common stem of the names of the files."""
        return "ablation" if self.catalogue == "ablation" else NAME

    def populations(self, source: Source) -> tuple[str, ...]:
        """Return the kinds of users that are asked; after a cut in time newcomers have no past to fold in."""
        return ("members",) if self.catalogue in ONLY_MEMBERS or source.cut else tuple(POPULATIONS)


@dataclass(frozen=True)
class Task:
    """One training of one data set."""

    source: int
    """Its index."""
    population: str
    training: Training


@dataclass(frozen=True)
class Part:
    """The results of one task."""

    task: Task
    results: list[Result]
    kinds: dict[str, Labels]
    """The labels by which members are divided."""


def run(sources: Sequence[Source], plan: Plan) -> None:
    """Compare, print and write the tables, as Markdown and CSV, and pages of the members of each data set.

    What is known is written after every training, so that a run that is cut short leaves something.
    """
    started, done = time.monotonic(), list[Part]()
    plan.out.mkdir(parents=True, exist_ok=True)
    for part in _parts(sources, plan):
        done.append(part)
        cases = _cases(sources, done)
        text = markdown(cases, plan.shares)
        (plan.out / f"{plan.stem}.md").write_text(text, encoding="utf-8")
        write_csv(cases, plan.out / f"{plan.stem}.csv")
    for source in range(len(sources)):
        _write_pages(sources[source], [part for part in done if part.task.source == source], plan)
    print(text)
    seconds = time.monotonic() - started
    print(f"{seconds:.0f} s, {_peak_mib():.0f} MiB at most a process -> {plan.out}/{plan.stem}*")


def _parts(sources: Sequence[Source], plan: Plan) -> Iterator[Part]:
    """Yield the results of each task, as they come."""
    tasks = [
        Task(number, population, training)
        for number, source in enumerate(sources)
        for training in seeds(source.model.training, plan.seeds)
        for population in plan.populations(source)
    ]
    if plan.jobs == 1:
        yield from (_part(sources[task.source], plan, task) for task in tasks)
        return
    spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(plan.jobs, mp_context=spawn) as pool:
        waiting = [pool.submit(_part, sources[task.source], plan, task) for task in tasks]
        yield from (finished.result() for finished in as_completed(waiting))


def _part(source: Source, plan: Plan, task: Task) -> Part:
    chosen = [
        method
        for method in CATALOGUES[plan.catalogue](source.model)
        if not plan.prefixes or method.name.startswith((FULL, *plan.prefixes))
    ]
    with limit_threads(plan.threads):
        population = POPULATIONS[task.population](source.interactions, task.training)
        results = compare(population, chosen, plan.shares, _tell)
    kinds = (
        labels(source.interactions, population.groups, source.folder) if population.groups is not None else {}
    )
    return Part(task, results, kinds)


def _cases(sources: Sequence[Source], done: Sequence[Part]) -> list[Case]:
    """Return the results of each data set and kind of users, seeds together."""
    by_case: dict[tuple[int, str], list[Part]] = {}
    for part in sorted(done, key=lambda part: part.task.training.seed):
        by_case.setdefault((part.task.source, part.task.population), []).append(part)
    return [
        Case(
            sources[source].title,
            population,
            len(same),
            len({user for part in same for user in part.results[0].scored.users.tolist()}),
            curves([result for part in same for result in part.results]),
        )
        for (source, population), same in sorted(by_case.items())
    ]


def _write_pages(source: Source, done: Sequence[Part], plan: Plan) -> None:
    """Write the figure, and the page of the parts of the members with the first seed."""
    name = source.title
    stem = plan.out / f"{plan.stem}-{source.interactions.name}{'-cut' if source.cut else ''}"
    of_members = sorted(
        (part for part in done if part.task.population == "members"), key=lambda part: part.task.training.seed
    )
    results = [result for part in of_members for result in part.results]
    measured = curves(results)
    write_figure(measured, f"{name}, {len(of_members)} seeds", stem.with_suffix(".html"))
    full = next(result for result in results if result.method == FULL)
    chosen = parts(_of_interest(results, measured), full, of_members[0].kinds)
    write_parts(chosen, f"{name}: parts of the users", stem.with_name(f"{stem.name}-parts"))


def _of_interest(results: Sequence[Result], measured: Curves) -> list[Result]:
    """Return the first seed's results of the full table, and at each budget of PEEL and its best rival."""
    keys = {(FULL, share) for share in measured.shares(FULL)}
    for share in measured.shares(BEST):
        keys |= {(BEST, share)} | ({best_rival(measured, share)} if rivals(measured, share) else set())
    first = results[0].seed
    return [
        result for result in results if result.seed == first and (result.method, result.budget_share) in keys
    ]


def _peak_mib() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(process).ru_maxrss for process in who) / 1024


def _tell(words: str) -> None:
    print(words, flush=True)
