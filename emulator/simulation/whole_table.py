"""The cloud as a recommender for single users: the whole table, and vectors learned from all that it knows.

It is the upper line of a run with interactions, and the source of lists and vectors where devices get such.
"""

from collections.abc import Mapping

import numpy as np

from cloud.blocks.store import BlockStore
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.decoded_tables import DecodedTables
from devices.recommender.learning import LearningSettings
from devices.recommender.prequential import rank_scores
from devices.simulated.recommender_settings import LearningVector
from devices.simulated.visit_process import VisitContext
from devices.timeline.visits import FleetVisits
from emulator.simulation.job import Job
from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray, top_k


class WholeTableRecommender:
    """The cloud with the whole tables of its model versions, see `devices.simulated.visit_process`.

    Args:
        stores: the model versions.
        tables: their decoded tables.
        visits: of all users.
    """

    def __init__(self, stores: Mapping[str, BlockStore], tables: DecodedTables, visits: FleetVisits) -> None:
        self._stores = stores
        self._tables = tables
        self._visits = visits

    def best_items(self, version: str, user: int, visits: int, count: int) -> IntArray:
        """Return the *count* best items that the user did not meet in the first *visits*, best first."""
        scores = self._scores(version, user, visits).astype(np.float32)
        scores[0, self._items(user, visits)] = -np.inf
        best = top_k(scores, min(count, scores.shape[1]))[0]
        return np.asarray(best[scores[0, best] > -np.inf])

    def vector(self, version: str, user: int, visits: int) -> Float32Array:
        """Return the user's vector, learned from what the user met in the first *visits*.

        The cloud learns as a device does, with the whole table: on two sets of ratings that is better than a
        least squares fit to everything that the user met, which forgets nothing.
        """
        store = self._stores[version]
        table = self._tables.full(version, int(store.user_groups[user]))
        of = self._visits.of(user)
        return table.learning.learn(store.user_vectors[user], of.items[: of.starts[visits]])

    def ndcg_at_10(self, version: str, user: int, visit: int) -> float:
        """Return NDCG@10 of *visit* with the whole table and a vector learned from the visits before it."""
        visits = self._visits.of(user)
        met = visits.items[visits.starts[visit] : visits.starts[visit + 1]]
        scores = self._scores(version, user, visit)
        return rank_scores(scores, self._items(user, visit), met).ndcg_at_10

    def _scores(self, version: str, user: int, visits: int) -> FloatArray:
        group = int(self._stores[version].user_groups[user])
        return self._tables.full(version, group).scores(self.vector(version, user, visits))

    def _items(self, user: int, visits: int) -> IntArray:
        """Return the items of the model that the user met before the run and in the first *visits*."""
        of = self._visits.of(user)
        met = of.items[: of.starts[visits]]
        return np.concatenate([self._visits.known[user], met[met < self._visits.n_items]])


def make_visit_context(job: Job, prefixes: Mapping[str, Mapping[int, BlockPrefix]]) -> VisitContext:
    """Return the interactions of a simulation.

    Args:
        job: the inputs, with visits.
        prefixes: the complete ranking of each user group, by model version.
    """
    assert job.visits is not None
    assert job.scenario.interactions is not None
    stores = {store.version: store for store in job.stores}
    recommender = job.scenario.interactions.recommender
    learning = recommender if isinstance(recommender, LearningVector) else LearningSettings()
    tables = DecodedTables(prefixes, learning)
    return VisitContext(
        recommender=recommender,
        visits=job.visits,
        tables=tables,
        cloud=WholeTableRecommender(stores, tables, job.visits),
        versions=tuple(stores),
        trained_ns=job.trained_ns,
    )
