"""The models that an evaluation needs, from the caches that runs use, or trained now."""

from dataclasses import dataclass
from pathlib import Path

from cloud.blocks.store_cache import default_root, store_key
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel, stage_one
from cloud.training.checkpoint import State
from cloud.training.config import Training
from cloud.training.loop import Factors
from cloud.training.model_cache import StateCache
from cloud.training.train import GlobalModel, Progress, learn_global
from emulator.simulation.model_cache import TrainingProgress, train_once, training_sources

PRETRAINED = "pretrained"
"""Folder of the global tables, beside the stores."""
MAX_PRETRAINED_BYTES = 128 * 2**20


@dataclass(frozen=True)
class CachedModels:
    """Trains models, each once, and caches them below *root*."""

    root: Path | None
    progress: TrainingProgress

    def full(self, interactions: Interactions, training: Training) -> FullModel:
        """Return the whole table that all stages of PEEL and all baselines start from."""
        factors = self._pretrain(interactions, training).factors
        return FullModel(training, factors.users, factors.items)

    def learn(self, interactions: Interactions, training: Training) -> TrainedModel:
        """Return the trained model."""
        return train_once(
            interactions,
            training,
            self.root,
            self.progress,
            pretrain=lambda: self._pretrain(interactions, training),
        )[0]

    def _pretrain(self, interactions: Interactions, training: Training) -> GlobalModel:
        cache = StateCache((self.root or default_root()) / PRETRAINED, MAX_PRETRAINED_BYTES)
        settings = stage_one(training)
        key = store_key(PRETRAINED, interactions.digest(), settings, *training_sources(training))
        with cache.lock(key, self._notice):
            state = cache.load_state(key, self._notice)
            if state is None:
                model = learn_global(interactions, settings, self._listen)
                arrays = {"users": model.factors.users, "items": model.factors.items}
                state = State(dict(arrays), {"report": model.report})
                cache.store(key, state, self._notice)
        return GlobalModel(Factors(state.arrays["users"], state.arrays["items"]), state.facts["report"])

    def _listen(self, now: Progress) -> None:
        self.progress(now.stage, now.done, now.total, now.note)

    def _notice(self, text: str) -> None:
        self.progress("pretrain", 0, 1, text)
