"""Comparisons of named runs: those of each name with those of the first."""

from collections.abc import Sequence
from pathlib import Path

from emulator.compare.run_sets import Comparison, RunSet, combination_folders, compare, read_run_set
from emulator.run_directory.manifest import list_unchecked
from wire.errors import InputError


def compare_runs(names: Sequence[str]) -> list[Comparison]:
    """Compare the runs of each name with those of the first; of one sweep folder, its combinations.

    Raises:
        InputError: a name is not that of a run, or no runs can be paired.
    """
    if len(names) == 1:
        names = [str(folder) for folder in combination_folders(Path(names[0]))]
    return compare_sets([read_run_set(name) for name in names])


def compare_sets(sides: Sequence[RunSet]) -> list[Comparison]:
    """Compare the runs of each of *sides* with those of the first.

    Raises:
        InputError: there are fewer than two, or no runs can be paired.
    """
    if len(sides) < 2:
        raise InputError("compare needs two sides: a baseline, and another to compare with it")
    first, *others = sides
    return [compare(first, other, len(sides)) for other in others]


def list_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Return a note for each run whose tables cannot be checked."""
    sides = [side for comparison in comparisons for side in (comparison.first, comparison.second)]
    return list_unchecked(sorted({run.folder for side in sides for run in side.runs.values()}))
