"""Runs every combination of a sweep with every seed, in as many processes as wanted; what is there stays.

A sweep folder holds an ordinary run directory per run, ``<combination>/seed-<seed>``. A run is written in
a hidden folder of its own and renamed when it is whole, with a mark that says what it is a run of: a
sweep that was killed goes on where it stood, and a run of another scenario is never taken for one of this.
"""

import contextlib
import functools
import hashlib
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cloud.blocks.store_cache import store_key
from cloud.data.load import load
from cloud.data.sources import Data
from emulator.run_directory.layout import PARTIAL
from emulator.runner.observer import RunObserver
from emulator.runner.resolved_scenario import resolve_scenario
from emulator.runner.runner import RunOptions, run
from emulator.simulation.model_cache import TrainingProgress, prepare_model
from scenarios.language.load import dump
from scenarios.language.scenario import Scenario
from scenarios.language.sweep_expansion import Combination, SweepPlan
from scenarios.language.types import plain
from wire.errors import InputError, PeelfleetError
from wire.input_files import decode_json, read_at_most
from wire.locks import Lock, acquire_lock
from wire.output_files import os_error_text, with_name
from wire.source_digest import digest_files, imported_modules

MARKER_FILE = "combination.json"
MOST_MARK_BYTES = 2**24
LOCK = ".lock"
_WORK = ".run-"
_TRACEBACK = "traceback.txt"


class RunMarker(msgspec.Struct, frozen=True):
    """What a run in a sweep folder is a run of."""

    combination: str
    seed: int
    settings: dict[str, object]
    digest: str
    """Of the resolved scenario, the files that it names, its model, and the code that runs it."""


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep."""

    combination: Combination
    seed: int
    scenario: Scenario
    """Resolved, with the seed."""
    model: str
    """The name of the block store that it needs."""
    digest: str

    @property
    def place(self) -> str:
        """The folder of the run, inside that of the sweep."""
        return f"{self.combination.name}/seed-{self.seed}"

    @property
    def mark(self) -> RunMarker:
        """What is written into the run directory."""
        return RunMarker(self.combination.name, self.seed, dict(self.combination.settings), self.digest)


@dataclass(frozen=True)
class SweepTask:
    """What a worker is told."""

    run: SweepRun
    folder: Path
    """Of the sweep."""
    broker: str | None
    store: Path | None
    report: bool


def list_runs(plan: SweepPlan, data: Path | None) -> tuple[SweepRun, ...]:
    """Return the runs of *plan*, resolved, seeds varying fastest.

    Raises:
        InputError: a combination's data or traces are not there; tells which combination.
    """
    digests = functools.cache(_data_digest)
    return tuple(
        each for combination in plan.combinations for each in _runs_of(combination, plan.seeds, data, digests)
    )


def _runs_of(
    combination: Combination, seeds: Sequence[int], data: Path | None, digests: Callable[[str], str]
) -> Iterator[SweepRun]:
    try:
        scenario = resolve_scenario(combination.scenario, data)
        model = store_key(digests(_text(scenario.data)), scenario.model)
        parts = (dump(scenario), model, _files_sha256(plain(scenario)), _code_sha256())
    except InputError as error:
        raise InputError(f"combination {combination.name}: {error}") from None
    for seed in seeds:
        own = msgspec.structs.replace(scenario, seed=seed)
        digest = hashlib.sha256("\0".join((*parts, str(seed))).encode()).hexdigest()
        yield SweepRun(combination, seed, own, model, digest)


def _text(data: Data) -> str:
    return msgspec.json.encode(data, order="deterministic").decode()


def _data_digest(text: str) -> str:
    return load(msgspec.json.decode(text, type=Data)).digest()


def _files_sha256(value: object) -> str:
    """Return a hash of the content of every file that a scenario's ``file`` keys name."""
    digest = hashlib.sha256()
    for name in sorted(set(_file_names(value))):
        try:
            digest.update(Path(name).read_bytes())
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _file_names(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "file" and isinstance(inner, str):
                yield inner
            yield from _file_names(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _file_names(inner)


RUNNING = (
    "emulator.runner.runner", "emulator.cli.cloud", "emulator.cli.devices", "broker_config.embedded",
)  # fmt: skip
"""What carries out a run: this process, and the programs that it starts."""
SHOWING = (
    "emulator.report", "emulator.cli.terminal", "emulator.cli.live_view", "cloud.service.prometheus",
    "emulator.run_directory.run_files",
)  # fmt: skip
"""What only shows how it goes, or reads and shows what came of it."""


@functools.cache
def _code_sha256() -> str:
    """Return a hash of the code that decides what a run gives."""
    return digest_files(imported_modules(RUNNING, SHOWING)).hex()


@contextmanager
def open_sweep_folder(folder: Path) -> Iterator[None]:
    """Make the sweep folder *folder* this process's own, and sweep out what is half done.

    Raises:
        InputError: it cannot be written, or another sweep is at work in it.
    """
    with _locked(folder):
        _remove_leftovers(folder)
        try:
            yield
        finally:
            _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> None:
    for left in folder.glob(f"{_WORK}*"):
        shutil.rmtree(left, ignore_errors=True)


def _locked(folder: Path) -> Lock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return acquire_lock(folder / LOCK, keep_file=True)
    except BlockingIOError:
        raise InputError(f"{folder}: another sweep is at work here") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot keep a sweep here: {os_error_text(error)}") from None


def list_missing(runs: Sequence[SweepRun], folder: Path) -> list[SweepRun]:
    """Return the runs that *folder* does not hold yet.

    Raises:
        InputError: it holds a run under one of their names that is of something else.
    """
    return [each for each in runs if not _is_there(each, folder)]


def _is_there(run: SweepRun, folder: Path) -> bool:
    place = folder / run.place
    if not place.exists():
        return False
    try:
        mark = decode_json(read_at_most(place / MARKER_FILE, MOST_MARK_BYTES), RunMarker)
    except (OSError, InputError, ValueError):
        raise InputError(f"{place}: is no run of this sweep: give another --out, or remove it") from None
    if mark.digest != run.digest:
        raise InputError(
            f"{place}: was run with another scenario, data or version of the code: "
            "give another --out, or remove it"
        )
    return True


def train_models(runs: Sequence[SweepRun], store: Path | None, progress: TrainingProgress) -> int:
    """Train each model that *runs* need and the cache lacks, one after the other; return how many.

    Raises:
        InputError: the data or a cached store is damaged.
    """
    models = {each.model: each.scenario for each in runs}
    found = [prepare_model(each.data, each.model, store, progress) for each in models.values()]
    return sum(each.trained for each in found)


def run_task(task: SweepTask) -> str | None:
    """Run *task* into its place; return what went wrong, None if nothing did."""
    final = task.folder / task.run.place
    if final.exists():
        return None
    work = Path(tempfile.mkdtemp(prefix=_WORK, dir=task.folder))
    try:
        options = RunOptions(work, task.broker, store=task.store, report=task.report)
        finished = run(task.run.scenario, options, RunObserver())
        (finished.folder / MARKER_FILE).write_bytes(msgspec.json.encode(task.run.mark))
        _move(finished.folder, final)
    except Exception as error:  # even a bug of ours: the other runs go on, and this one is told of
        return _keep(work, final, error)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return None


def _move(folder: Path, final: Path) -> None:
    final.parent.mkdir(exist_ok=True)
    shutil.rmtree(_partial(final), ignore_errors=True)
    folder.rename(final)


def _partial(final: Path) -> Path:
    return final.with_name(final.name + PARTIAL)


def _keep(work: Path, final: Path, error: Exception) -> str:
    """Leave what a failed run wrote where it can be looked at; return what to say of it."""
    partial = _partial(final)
    shutil.rmtree(partial, ignore_errors=True)
    left = next(work.glob(f"*{PARTIAL}"), None)
    with contextlib.suppress(OSError):  # the disk is full, or something is in the way
        partial.parent.mkdir(exist_ok=True)
        left.rename(partial) if left else partial.mkdir()
        (partial / _TRACEBACK).write_text("".join(traceback.format_exception(error)))
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    known = isinstance(error, PeelfleetError | OSError)
    words = with_name(error) if isinstance(error, OSError) else str(error)
    words = words.replace(str(left), str(partial)) if left else words
    return words if known else f"{type(error).__name__}: {words}"
