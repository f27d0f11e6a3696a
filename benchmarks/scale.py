"""The cost of training, which must grow no faster than the number of interactions.

A catalogue of 40,000 items, 40 interactions per user, and 0.15 to 1.2 million interactions; MovieLens-1M;
and gowalla under LightGCN's protocol: settings are chosen on validation, the model is then learned from
training and validation interactions, and its full table is compared with printed figures. Every entry is
trained in all stages and encoded in a process of its own with one thread, the default; peak memory is that of
the process. ``python -m benchmarks.scale`` prints a row per entry, writes ``scale.json`` and fails if a limit
is exceeded or the table is worse than printed.

*Linear* means: twice the interactions, from 0.6 to 1.2 million, take at most 2.3 times the CPU time. The
least-squares line a + b n through all sizes is reported with its largest deviation.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.anchors import data_root
from benchmarks.figures import verdict, write
from cloud.data.interactions import Interactions
from cloud.data.load import load
from cloud.data.sources import Data, LightGCN, Synthetic
from cloud.training.baselines.scoring import score
from cloud.training.config import Training
from cloud.training.loop import Factors
from cloud.training.train import Progress, learn_global, personalize
from emulator.simulation.model_cache import encode_store
from scenarios.language.schema import Model

ITEMS = 40_000
INTERACTIONS_PER_USER = 40
USERS = (3_750, 7_500, 15_000, 30_000)
MOST_TIMES_FOR_TWICE = 2.3
MOST_PRETRAIN_CPU_SECONDS = 240


class Promise(msgspec.Struct, frozen=True):
    """The limits for the cost of an entry."""

    minutes: float
    gigabytes: float


class Entry(msgspec.Struct, frozen=True):
    """A data set to train on, and its limits if it has any."""

    name: str
    data: Data
    promise: Promise | None = None
    is_printed: bool = False
    """True to learn as printed figures are, and to measure the full tables as they do."""


PRINTED = {"BPR-MF": (0.1627, 0.1378), "LightGCN": (0.1824, 0.1554)}
"""Recall@20 and NDCG@20 on gowalla as printed in LightGCN's paper, same split, all users, known masked."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of an entry. The seconds exclude reading or generating the data; ``peak_mib`` includes it."""

    name: str
    users: int
    items: int
    interactions: int
    user_groups: int
    backbone: str
    load_seconds: float
    stage_seconds: dict[str, float]
    seconds: float
    cpu_seconds: float
    """Does not depend on what else the machine does, as ``seconds`` do."""
    peak_mib: float
    valid_ndcg_at_20: float | None
    test_ndcg_at_20: float | None
    pretrain_cpu_seconds: float
    rotate_cpu_seconds: float
    """Of all groups, and of what decides about rotation on validation."""
    encode_cpu_seconds: float
    full: dict[str, float] | None = None
    """Quality of the full tables on the test, if it is compared with print."""


def catalogue(users: int) -> Synthetic:
    """Return synthetic data with so many users."""
    return Synthetic(users=users, items=ITEMS, interactions_per_user=INTERACTIONS_PER_USER)


ENTRIES = tuple(
    Entry(f"{users:,} users", catalogue(users), Promise(15, 4) if users == USERS[-1] else None)
    for users in USERS
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write ``scale.json``; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description="Measure what training costs at several sizes.")
    parser.add_argument("--data", type=Path, default=data_root(), help="the folder that holds ml-1m")
    parser.add_argument("--sizes", type=int, default=len(ENTRIES), help="only so many of the smallest")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # in a process of its own
    given = parser.parse_args(arguments)
    if given.measure:
        print(msgspec.json.encode(measure(msgspec.json.decode(given.measure, type=Entry))).decode())
        return 0
    entries, folder = list(ENTRIES[: given.sizes]), given.data / "ml-1m"
    if folder.is_dir():
        entries.append(Entry("ml-1m", LightGCN(path=str(folder)), Promise(3, 1.5)))
    else:
        print(f"SKIPPED ml-1m: no data at {folder}; name the folder that holds it by --data")
    folder = given.data / "gowalla"
    if folder.is_dir():
        entries.append(Entry("gowalla", LightGCN(path=str(folder)), Promise(15, 3.22), is_printed=True))
    else:
        print(f"SKIPPED gowalla: no data at {folder}; name the folder that holds it by --data")
    costs = [print_cost(in_process(entry)) for entry in entries]
    line = fit_line([cost for cost in costs if cost.items == ITEMS])
    broken = [*broken_promises(entries, costs), *linearity_problem(costs), *printed_problems(costs)]
    write("scale", {**line, "broken": broken, "rows": [msgspec.to_builtins(cost) for cost in costs]})
    return verdict(broken)


# --- one entry --------------------------------------------------------------------------------------


def in_process(entry: Entry) -> Cost:
    """Measure an entry in a process of its own."""
    given = msgspec.json.encode(entry).decode()
    command = [sys.executable, "-m", "benchmarks.scale", "--measure", given]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Cost)


def measure(entry: Entry) -> Cost:
    """Train and encode; return the cost for this process."""
    begun = time.monotonic()
    interactions = load(entry.data)
    load_seconds = time.monotonic() - begun
    model = Model(training=Training(backbone="auto", refit=True) if entry.is_printed else Training())
    begun, all_cpu_begun = time.monotonic(), time.process_time()
    stages, cpu_stages, heard = stopwatch()  # begun later, so that the rest is never below 0
    start = learn_global(interactions, model.training, heard)
    pretrain_cpu_seconds = time.process_time() - all_cpu_begun
    trained = personalize(start, interactions, model.training, heard)
    stages["evaluate"] = time.monotonic() - begun - sum(stages.values())
    cpu_begun = time.process_time()
    encode_store(trained, model, lambda done, total: None)
    encode_cpu_seconds = time.process_time() - cpu_begun
    seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - all_cpu_begun
    stages["encode"] = seconds - sum(stages.values())
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    full = measure_full(start.factors, interactions) if entry.is_printed else None
    valid, test = (trained.report[part] for part in ("valid", "test"))
    assert isinstance(valid, dict)
    assert isinstance(test, dict)
    return Cost(
        name=entry.name,
        users=interactions.n_users,
        items=interactions.n_items,
        interactions=sum(
            len(part.items) for part in (interactions.train, interactions.valid, interactions.test)
        ),
        user_groups=len(trained.item_tables),
        backbone=str(start.report["backbone"]),
        load_seconds=load_seconds,
        stage_seconds=stages,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_mib=peak_mib,
        valid_ndcg_at_20=valid["ndcg_at_20"],
        test_ndcg_at_20=test["ndcg_at_20"],
        pretrain_cpu_seconds=pretrain_cpu_seconds,
        rotate_cpu_seconds=cpu_stages["rotate"],
        encode_cpu_seconds=encode_cpu_seconds,
        full=full,
    )


def measure_full(factors: Factors, interactions: Interactions) -> dict[str, float]:
    """Return the quality of the full table for all users: NDCG, recall, recall of the tail, coverage."""
    return score(
        lambda users: (factors.users[users] @ factors.items.T).astype(np.float64),
        interactions.known,
        interactions.test,
        interactions.n_items,
    ).means()


def stopwatch() -> tuple[dict[str, float], dict[str, float], Callable[[Progress], None]]:
    """Return the seconds and the CPU seconds by stage, and the progress callback.

    Time before a tick counts for its stage.
    """
    seconds: dict[str, float] = {}
    cpu_seconds: dict[str, float] = {}
    last, cpu_last = time.monotonic(), time.process_time()

    def heard(now: Progress) -> None:
        nonlocal last, cpu_last
        before, last = last, time.monotonic()
        cpu_before, cpu_last = cpu_last, time.process_time()
        seconds[now.stage] = seconds.get(now.stage, 0.0) + last - before
        cpu_seconds[now.stage] = cpu_seconds.get(now.stage, 0.0) + cpu_last - cpu_before
        print(f"{now.stage} {now.done}/{now.total} {now.note}", end="\033[K\r", file=sys.stderr, flush=True)

    return seconds, cpu_seconds, heard


def print_cost(cost: Cost) -> Cost:
    """Print an entry's row."""
    stages = "  ".join(f"{stage} {seconds:.1f}" for stage, seconds in cost.stage_seconds.items())
    print(
        f"{cost.name:<14} {cost.interactions:>9,} interactions  {cost.backbone:<5} {cost.seconds:7.1f} s  "
        f"{cost.peak_mib:6,.0f} MiB   [{stages}]\n"
        f"  CPU: {cost.cpu_seconds:.1f} s; rotation {cost.rotate_cpu_seconds:.1f} s, "
        f"encoding {cost.encode_cpu_seconds:.1f} s for {cost.user_groups} groups",
        flush=True,
    )
    if cost.full:
        print(
            f"  R@20 {cost.full['recall_at_20']:.4f}  N@20 {cost.full['ndcg_at_20']:.4f}  "
            f"tail recall {cost.full['tail_recall_at_20']:.4f}  coverage {cost.full['coverage']:.3f}  "
            f"pretraining {cost.pretrain_cpu_seconds:.0f} s of CPU; in print: "
            + ", ".join(f"{name} {recall:.4f} {ndcg:.4f}" for name, (recall, ndcg) in PRINTED.items()),
            flush=True,
        )
    return cost


# --- all together -----------------------------------------------------------------------------------


def fit_line(costs: Sequence[Cost]) -> dict[str, object]:
    """Return the line through the costs, CPU seconds = a + b n for n million interactions."""
    if len(costs) < 3:
        return {}
    millions = np.array([cost.interactions for cost in costs]) / 1e6
    seconds = np.array([cost.cpu_seconds for cost in costs])
    slope, start = np.polyfit(millions, seconds, 1)
    off = np.abs(start + slope * millions - seconds) / seconds
    return {
        "cpu_seconds_to_begin_with": float(start),
        "cpu_seconds_per_million_interactions": float(slope),
        "largest_deviation_from_the_line": float(off.max()),
    }


def broken_promises(entries: Sequence[Entry], costs: Sequence[Cost]) -> list[str]:
    """Return the limits that are exceeded."""
    broken = []
    for entry, cost in zip(entries, costs, strict=True):
        if entry.promise is None:
            continue
        minutes, gigabytes = cost.seconds / 60, cost.peak_mib * 2**20 / 1e9
        if minutes > entry.promise.minutes:
            broken.append(f"{entry.name}: minutes(={minutes:.1f}) must be <= {entry.promise.minutes}")
        if gigabytes > entry.promise.gigabytes:
            broken.append(f"{entry.name}: gigabytes(={gigabytes:.2f}) must be <= {entry.promise.gigabytes}")
    return broken


def linearity_problem(costs: Sequence[Cost]) -> list[str]:
    """Return a message if the largest catalogue takes too many times the CPU time of half of it."""
    seconds = {cost.users: cost.cpu_seconds for cost in costs if cost.items == ITEMS}
    if not {USERS[-2], USERS[-1]} <= seconds.keys():
        return []
    times = seconds[USERS[-1]] / seconds[USERS[-2]]
    if times <= MOST_TIMES_FOR_TWICE:
        return []
    return [f"twice the interactions: times(={times:.2f}) must be <= {MOST_TIMES_FOR_TWICE}"]


def printed_problems(costs: Sequence[Cost]) -> list[str]:
    """Return messages where full tables are worse than the weaker printed model, or cost too much."""
    problems = []
    recall, ndcg = PRINTED["BPR-MF"]
    for cost in costs:
        if cost.full is None:
            continue
        limits = {"recall_at_20": recall, "ndcg_at_20": ndcg}
        problems += [
            f"{cost.name}: {name}(={cost.full[name]:.4f}) must be >= {least}"
            for name, least in limits.items()
            if cost.full[name] < least
        ]
        if cost.pretrain_cpu_seconds > MOST_PRETRAIN_CPU_SECONDS:
            seconds = f"pretrain_cpu_seconds(={cost.pretrain_cpu_seconds:.0f})"
            problems.append(f"{cost.name}: {seconds} must be <= {MOST_PRETRAIN_CPU_SECONDS}")
    return problems


if __name__ == "__main__":
    sys.exit(main())
