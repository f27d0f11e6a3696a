"""Tiny scenarios, and a way to run them."""

from pathlib import Path

from emulator.executors.open_executor import ExecutorName
from emulator.metrics.live_status import LiveStatus
from emulator.replay.replay import read_replay
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, RunResult, run
from emulator.simulation.model_cache import PreparedModel
from scenarios.language.load import parse

TINY = """
version: 1
name: tiny
seed: 5
clock: virtual
stop_time: 20 min
data: {type: synthetic, users: 120, items: 80, interactions_per_user: 12, user_groups: 2, item_kinds: 4}
model:
  layers: 16
  training:
    dim: 8
    epochs: 6
    user_groups: 2
    item_groups: 4
networks:
  flaky:
    uplink: {latency: 80 ms, deviation: 30 ms, loss: 5 %}
    downlink: {latency: 80 ms, deviation: 30 ms, loss: 5 %, bandwidth: 100 kbps}
fleet:
  - name: phone
    count: 20
    network: flaky
    memory: {type: bounded_walk, min: 1 KiB, max: 1200 KiB, max_step: 300 KiB, step_every: 20 s}
    budget: {share: 0.1 %}
    start_within: 1 min
  - name: tvbox
    count: 10
    memory: {type: square_wave, low: 50 KiB, high: 1 MiB, low_for: 1 min, high_for: 2 min}
    budget: {share: 0.1 %}
"""


class RecordingObserver(RunObserver):
    """Records the models and warnings of a run."""

    def __init__(self) -> None:
        self.models: list[PreparedModel] = []
        self.warnings: list[str] = []
        self.measured: list[float] = []

    def on_measuring(self, share: float) -> None:
        self.measured.append(share)

    def on_warning(self, text: str) -> None:
        self.warnings.append(text)

    def on_model(self, model: PreparedModel) -> None:
        self.models.append(model)

    def on_progress(self, now_ns: int, stop_ns: int) -> None:
        assert 0 <= now_ns <= stop_ns

    def on_status(self, status: LiveStatus, stop_ns: int) -> None:
        assert 0 <= status.t_ns <= stop_ns


class Runner:
    """Runs scenarios into a folder of the test's own."""

    def __init__(self, store_root: Path, folder: Path) -> None:
        self.out = folder / "runs"
        self.store_root = store_root
        self.workers: int | None = 1
        self.executor: ExecutorName | None = None
        self.force = False

    def run(
        self,
        text: str = TINY,
        *overrides: str,
        shards: int = 1,
        broker: str | None = None,
        observer: RecordingObserver | None = None,
    ) -> RunResult:
        options = RunOptions(
            self.out,
            broker=broker,
            store=self.store_root,
            shards=shards,
            workers=self.workers,
            executor=self.executor,
            force=self.force,
        )
        return run(parse(text, "tiny.yaml", overrides), options, observer or RecordingObserver())

    def replay(
        self,
        folder: Path,
        *overrides: str,
        shards: int = 1,
        clock: str | None = None,
        observer: RecordingObserver | None = None,
    ) -> RunResult:
        observer = observer or RecordingObserver()
        scenario, playback, warnings = read_replay(folder, overrides, clock)
        observer.warnings += warnings
        return run(scenario, RunOptions(self.out, store=self.store_root, shards=shards), observer, playback)


def number(finished: RunResult, key: str) -> float:
    """Return a figure of the summary."""
    value = finished.summary[key]
    assert isinstance(value, int | float)
    return value
