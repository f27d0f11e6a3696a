"""Quality against bytes without a fleet: the function `evaluate`, and what it returns."""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Final, Literal

from emulator.evaluation.observer import EvaluationObserver
from emulator.progress.views import ProgressView
from emulator.simulation.model_cache import TRAIN_MODULES
from peelfleet.arguments import Name, Settings, at_least_one, overrides, to_path_or_none, to_seeds
from peelfleet.progress import progress_view
from scenarios.language.sources import Source, load_source
from wire.errors import InputError
from wire.extras import needs_extra

with needs_extra("train", TRAIN_MODULES, "an evaluation"):
    from emulator.evaluation.evaluate import evaluate as evaluate_policies
    from emulator.evaluation.results import Evaluation as Evaluation

BUDGETS: Final = ("0.5%", "1%", "2%", "5%", "10%")
POLICIES: Final = ("peel", "prefix", "popularity", "random")


def evaluate(
    scenario: Source | list[Source] | tuple[Source, ...],
    set: Settings | None = None,
    *,
    budgets: Sequence[str] = BUDGETS,
    policies: Sequence[str] = POLICIES,
    seeds: int | str | Iterable[int] = 5,
    vary: Literal["training", "split", "both"] = "training",
    mask: Literal["known", "train"] = "known",
    data: Name | None = None,
    store: Name | None = None,
    jobs: int = 1,
    progress: bool = True,
) -> Evaluation:
    """Compare the quality of policies and baselines at equal bytes, without a fleet.

    Models are trained for each seed, unless they are in the cache; so are all figures.

    Args:
        scenario: as for `load`; several in a list have the same data.
        set: as for `load`.
        budgets: bytes, or shares of the item table in fp32: ``["8KiB", "1%"]``.
        policies: selections, such as ``prefix``, and baselines, such as ``head:int8``.
        seeds: how many, from 0 on; or as for `sweep`.
        vary: the seeds that differ: of training, of the split of the data, or of both.
        mask: the items that are left out of rankings: ``known``, those of training and validation, or
            ``train``, those of training only, as many papers do.
        data: as for `run`.
        store: as for `run`.
        jobs: processes that train and measure.
        progress: as for `run`.

    Raises:
        InputError: an argument or the data are wrong, or peelfleet[train] is not installed.
    """
    if isinstance(seeds, int):
        seeds = range(at_least_one("seeds", seeds))
    sources = scenario if isinstance(scenario, list | tuple) else [scenario]
    for name, texts in (("budgets", budgets), ("policies", policies)):
        if isinstance(texts, str | PathLike):
            raise InputError(f"{name}(={texts!r}) must be a list of texts")
    with progress_view(progress) as view:
        return evaluate_policies(
            [load_source(each, overrides(set)) for each in sources],
            budgets,
            policies,
            to_seeds("seeds", seeds),
            vary=vary,
            mask=mask,
            data=to_path_or_none(data),
            store=to_path_or_none(store),
            jobs=at_least_one("jobs", jobs),
            observer=EvaluationProgress(view),
        )


class EvaluationProgress(EvaluationObserver):
    """Shows the progress of an evaluation that a program has called."""

    def __init__(self, view: ProgressView) -> None:
        self._view = view

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Show a step of training."""
        self._view.show(stage, done, total, note)

    def on_models(self, done: int, total: int) -> None:
        """Show how many models are trained."""
        self._view.show("models", done, total, "")

    def on_measured(self, done: int, total: int) -> None:
        """Show how many policies are measured."""
        self._view.show("measure", done, total, "")
