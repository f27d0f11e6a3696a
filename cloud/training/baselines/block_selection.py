"""One selection of blocks for all users: random, or found by a search like RULE's."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cloud.data.interactions import Interactions
from cloud.training.baselines.basis import rotate_tables
from cloud.training.baselines.block_grid import BlockGrid, closed_form, cut_blocks
from cloud.training.baselines.full_model import FullModel
from cloud.training.baselines.method import Candidate, Choice
from cloud.training.baselines.scoring import CUT_OFF
from wire.arrays import Float32Array
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, ItemLists, rank

Rng = np.random.Generator

SLICE_WIDTH = 2  # better at small budgets than wider slices


@dataclass(frozen=True)
class RandomBlocks:
    """A random ranking of the rotated table's blocks, floor first: the control. Bytes: as in `BlockGrid`."""

    name: str = "random-blocks"

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Draw the ranking."""
        grid = _grid(full)
        weights = stream(full.seed, self.name).random(grid.sizes.shape)
        return Choice(interactions, lambda budget: [grid.candidate(grid.prefix(weights, budget), "")])


@dataclass(frozen=True)
class EvolvedBlocks:
    """One global selection found by evolution (as RULE, Chen et al. 2021), with a search for each budget.

    An individual is a weight for each block; it holds the prefix that fits, so all obey the budget. Its
    fitness is validation NDCG@20 on a sample of users. The first generation includes the closed-form
    weights, so that the search has a fair start. Bytes: as in `BlockGrid`.
    """

    name: str = "rule"
    population: int = 16
    generations: int = 12
    users: int = 400

    def fit(self, full: FullModel, interactions: Interactions) -> Choice:
        """Draw the users on whom fitness is measured."""
        grid = _grid(full)
        rng = stream(full.seed, self.name)
        asking = np.flatnonzero(interactions.valid.counts())
        sample = np.sort(rng.choice(asking, min(self.users, len(asking)), replace=False))
        trial = FitnessSample(
            grid, grid.users[sample], interactions.train.take(sample), interactions.valid.take(sample)
        )

        def options(budget_bytes: int) -> Iterator[Candidate]:
            start = closed_form(grid)
            yield grid.candidate(grid.prefix(start, budget_bytes), "closed form")
            weights = self._search(trial, np.log(start + 1e-30), budget_bytes, rng)
            yield grid.candidate(grid.prefix(weights, budget_bytes), "evolved")

        return Choice(interactions, options)

    def _search(self, trial: "FitnessSample", start: FloatArray, budget_bytes: int, rng: Rng) -> FloatArray:
        population = [start, *(start + rng.normal(0, 1, start.shape) for _ in range(self.population - 1))]
        fitness = [trial.fitness(individual, budget_bytes) for individual in population]
        for _ in range(self.generations):
            children = [self._child(population, fitness, rng) for _ in range(self.population)]
            population = population + children
            fitness = fitness + [trial.fitness(individual, budget_bytes) for individual in children]
            best = np.argsort(fitness, kind="stable")[::-1][: self.population]
            population, fitness = [population[at] for at in best], [fitness[at] for at in best]
        return population[int(np.argmax(fitness))]

    def _child(self, population: list[FloatArray], fitness: list[float], rng: Rng) -> FloatArray:
        """Cross two winners of small tournaments, and mutate a tenth of the weights."""
        pairs = rng.integers(len(population), size=(2, 2))
        mother, father = (population[max(pair, key=lambda at: fitness[at])] for pair in pairs.tolist())
        mixed = np.where(rng.random(mother.shape) < 0.5, mother, father)
        return np.asarray(mixed + rng.normal(0, 1, mixed.shape) * (rng.random(mixed.shape) < 0.1))


@dataclass(frozen=True, eq=False)
class FitnessSample:
    """Data on which fitness is measured."""

    grid: BlockGrid
    vectors: Float32Array
    known: ItemLists
    relevant: ItemLists

    def fitness(self, weights: FloatArray, budget_bytes: int) -> float:
        """Return the mean NDCG@20 of the sample with the prefix that fits."""
        held = self.grid.prefix(weights, budget_bytes)
        scores = self.vectors @ self.grid.zero_where_not_held(held).T
        scores[:, ~self.grid.rankable_items(held)] = -np.inf
        return float(rank(scores, self.known, self.relevant, CUT_OFF).ndcg(CUT_OFF).mean())


def _grid(full: FullModel) -> BlockGrid:
    users, items = rotate_tables(full)
    return cut_blocks(users, items, full.training.item_groups, min(SLICE_WIDTH, items.shape[1]))
