"""Replays a recorded run into a run directory of its own."""

from collections.abc import Sequence
from pathlib import Path

from emulator.replay.replay import read_replay
from emulator.run_directory.manifest import list_unchecked
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, RunResult, run


def replay_run(
    folder: Path, overrides: Sequence[str], clock: str | None, options: RunOptions, observer: RunObserver
) -> RunResult:
    """Play the run in *folder* again: its budgets and arrivals, or its budgets under another policy.

    Args:
        folder: a finished run directory.
        overrides: changed settings, as after ``--set``.
        clock: of the replay; None: virtual.
        options: of the replay.
        observer: receives its progress.

    Raises:
        InputError: the folder is no finished run, is damaged, or a change contradicts it.
        RunError: the replay failed.
    """
    scenario, recording, warnings = read_replay(folder, overrides, clock)
    for warning in [*list_unchecked([folder]), *warnings]:
        observer.on_warning(warning)
    finished = run(scenario, options, observer, recording)
    if recording.exact and not finished.summary["replay_log_equal"]:
        observer.on_warning(f"the event log differs from that of {folder}: --diff shows where")
    return finished
