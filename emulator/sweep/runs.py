"""Runs every combination of a sweep with every seed, in several processes; finished runs are kept.

A sweep folder has a run directory for each run, ``<combination>/seed-<seed>``. A run is written into a hidden
folder and renamed when it is complete. A marker in it has its digest. So a sweep that was killed continues
where it stopped, and a run of another scenario is never used.
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

from cloud.blocks.store import read_version
from cloud.data.load import load
from cloud.data.sources import Data
from emulator.run_directory.layout import PARTIAL
from emulator.runner.observer import RunObserver
from emulator.runner.resolved_scenario import resolve_scenario
from emulator.runner.runner import RunOptions, run
from emulator.simulation.model_cache import TrainingProgress, model_key, prepare_model
from scenarios.language.load import dump
from scenarios.language.plugin_types import plugins_of
from scenarios.language.scenario import Scenario
from scenarios.language.schema import Model
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
    """The combination, seed and digest of a run, as a file in its folder."""

    combination: str
    seed: int
    settings: dict[str, object]
    digest: str
    """Digest of the resolved scenario, its files, its model, and the code that runs it."""


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep."""

    combination: Combination
    seed: int
    scenario: Scenario
    """Resolved, with the seed."""
    model: str
    """Key of its block store."""
    digest: str

    @property
    def subfolder(self) -> str:
        """The folder of the run inside the sweep folder."""
        return f"{self.combination.name}/seed-{self.seed}"

    @property
    def marker(self) -> RunMarker:
        """The marker that is written into the run directory."""
        return RunMarker(self.combination.name, self.seed, dict(self.combination.settings), self.digest)


@dataclass(frozen=True)
class SweepTask:
    """A run with its options, for a worker process."""

    run: SweepRun
    folder: Path
    """Folder of the sweep."""
    broker: str | None
    store: Path
    """Folder that caches models."""
    report: bool

    def __str__(self) -> str:
        return self.run.subfolder


def list_runs(plan: SweepPlan, data: Path | None) -> tuple[SweepRun, ...]:
    """Return the runs of *plan* with resolved scenarios; the seeds of a combination follow each other.

    Raises:
        InputError: data or traces of a combination do not exist; the error names the combination.
    """
    known: dict[str, str] = {}

    def digests(data: Data) -> str:
        text = repr(data)
        if text not in known:
            known[text] = load(data).digest()
        return known[text]

    return tuple(
        run for combination in plan.combinations for run in _runs_of(combination, plan.seeds, data, digests)
    )


def _runs_of(
    combination: Combination, seeds: Sequence[int], data: Path | None, digests: Callable[[Data], str]
) -> Iterator[SweepRun]:
    try:
        scenario = resolve_scenario(combination.scenario, data)
        model = model_key(digests(scenario.data), scenario.model, *_named_store(scenario.model))
        plugins = (use.identity for use in plugins_of(scenario))
        parts = (dump(scenario), model, _files_sha256(plain(scenario)), _code_sha256(), *plugins)
    except InputError as error:
        raise InputError(f"combination {combination.name}: {error}") from None
    for seed in seeds:
        own = msgspec.structs.replace(scenario, seed=seed)
        digest = hashlib.sha256("\0".join((*parts, str(seed))).encode()).hexdigest()
        yield SweepRun(combination, seed, own, model, digest)


def _named_store(model: Model) -> Iterator[str]:
    """Yield the version of the store that the scenario names."""
    if model.store is not None:
        yield read_version(Path(model.store))


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


RUN_ROOTS = (
    "emulator.runner.runner", "emulator.cli.cloud", "emulator.cli.devices", "broker_config.embedded",
)  # fmt: skip
"""The modules of a run: that of the run itself, and those of the programs that it starts."""
RUN_CODE = (
    "wire", "cloud", "devices", "broker_config", "scenarios.language", "scenarios.catalogue",
    "emulator.executors", "emulator.metrics", "emulator.processes", "emulator.ranges", "emulator.realtime",
    "emulator.replay", "emulator.run_directory", "emulator.runner", "emulator.simulation",
    "emulator.cli.cloud", "emulator.cli.devices",
)  # fmt: skip
"""The packages and modules whose code decides the results of a run, as far as `RUN_ROOTS` import them."""


@functools.cache
def _code_sha256() -> str:
    """Return a hash of the code that decides the results of a run."""
    return digest_files(imported_modules(RUN_ROOTS, within=RUN_CODE)).hex()


@contextmanager
def open_sweep_folder(folder: Path) -> Iterator[None]:
    """Lock the sweep folder *folder* for this process, and remove incomplete runs from it.

    Raises:
        InputError: it cannot be written, or another sweep uses it.
    """
    with _locked(folder):
        _remove_leftovers(folder)
        try:
            yield
        finally:
            _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.glob(f"{_WORK}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _locked(folder: Path) -> Lock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return acquire_lock(folder / LOCK, keep_file=True)
    except BlockingIOError:
        raise InputError(f"{folder}: another sweep is at work here") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot keep a sweep here: {os_error_text(error)}") from None


def list_missing(runs: Sequence[SweepRun], folder: Path) -> list[SweepRun]:
    """Return the runs that *folder* does not contain yet.

    Raises:
        InputError: it contains a run of another scenario, data or code under the same name.
    """
    return [run for run in runs if not _exists(run, folder)]


def _exists(run: SweepRun, folder: Path) -> bool:
    path = folder / run.subfolder
    if not path.exists():
        return False
    try:
        marker = decode_json(read_at_most(path / MARKER_FILE, MOST_MARK_BYTES), RunMarker)
    except (OSError, InputError, ValueError):
        raise InputError(f"{path}: is no run of this sweep: give another --out, or remove it") from None
    if marker.digest != run.digest:
        raise InputError(
            f"{path}: was run with another scenario, data or version of the code: "
            "give another --out, or remove it"
        )
    return True


def train_models(runs: Sequence[SweepRun], store: Path | None, progress: TrainingProgress) -> int:
    """Train each model of *runs* that is not in the cache, one after the other; return their number.

    Raises:
        InputError: the data or a cached store is damaged.
    """
    scenarios = {run.model: run.scenario for run in runs}
    models = [
        prepare_model(scenario.data, scenario.model, store, progress) for scenario in scenarios.values()
    ]
    return sum(model.trained for model in models)


def run_task(task: SweepTask) -> str | None:
    """Run *task* into its folder; return the text of an error, or None."""
    final = task.folder / task.run.subfolder
    if final.exists():
        return None
    work = Path(tempfile.mkdtemp(prefix=_WORK, dir=task.folder))
    try:
        # The space of all runs was checked before the first.
        options = RunOptions(work, task.broker, store=task.store, workers=1, report=task.report, force=True)
        finished = run(task.run.scenario, options, RunObserver())
        (finished.folder / MARKER_FILE).write_bytes(msgspec.json.encode(task.run.marker))
        _move(finished.folder, final)
    except Exception as error:  # any error, even a bug: the other runs continue, and this one is reported
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
    """Keep the files of a failed run in a ``.partial`` folder; return the text of its error."""
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
