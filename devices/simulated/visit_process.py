"""The visits of a device's user in simulated time: each is ranked first, then logged, then learned from.

The items that the user meets next are ranked with what the device has at that moment. What the cloud gives
for single users (lists, vectors) takes no time on its way: hours lie between two visits. Its bytes count.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from devices.event_log import InteractionEvent, InteractionRow
from devices.protocol.agent import Agent
from devices.recommender.decoded_tables import DecodedTable, DecodedTables
from devices.recommender.learning import history_bytes, history_length, item_number_bytes, whole_budget
from devices.recommender.prequential import rank_list, rank_scores
from devices.recommender.quality import NOTHING, Quality
from devices.simulated.budget_trajectory import BudgetTrajectory
from devices.simulated.clock import Clock
from devices.simulated.recommender_settings import (
    CloudRefit,
    FirstList,
    LearningVector,
    ListUpdates,
    Recommender,
)
from devices.simulated.roster import DeviceSpec
from devices.timeline.visits import FleetVisits
from wire.arrays import Float32Array
from wire.ranking_metrics import IntArray


class CloudRecommender(Protocol):
    """The cloud as a recommender for single users: it has the whole table, and fits vectors exactly.

    Each call says how many visits of the user the cloud knows of: it has no memory of its own.
    """

    def best_items(self, version: str, user: int, visits: int, count: int) -> IntArray:
        """Return the *count* best items that the user did not meet in the first *visits*, best first."""

    def vector(self, version: str, user: int, visits: int) -> Float32Array:
        """Return the user's vector, learned from what the user met in the first *visits*."""

    def ndcg_at_10(self, version: str, user: int, visit: int) -> float:
        """Return NDCG@10 of *visit* with the whole table and a vector learned from the visits before it."""


@dataclass(frozen=True)
class VisitContext:
    """The shared part of the visits of a simulation's devices."""

    recommender: Recommender
    visits: FleetVisits
    tables: DecodedTables
    cloud: CloudRecommender
    versions: tuple[str, ...]
    """The model versions of the run, the first one first."""
    trained_ns: Mapping[str, int] = field(default_factory=dict)
    """Simulated time at which a model version was trained; 0 for the others."""

    def newest(self, t_ns: int) -> str:
        """Return the newest model version that is trained at a time."""
        return max(
            (version for version in self.versions if self.trained_ns.get(version, 0) <= t_ns),
            key=lambda version: (self.trained_ns.get(version, 0), -self.versions.index(version)),
        )

    def whole_budgets(self, recorded: BudgetTrajectory) -> BudgetTrajectory:
        """Yield a recorded trajectory, whose budgets are those of blocks, with the budgets of the device."""
        settings, items = self.recommender, self.visits.n_items
        for wait_ns, free_bytes, budget_bytes in recorded:
            if isinstance(settings, LearningVector):
                budget_bytes = whole_budget(settings, items, budget_bytes)
            yield wait_ns, free_bytes, budget_bytes


class VisitingDevice(Protocol):
    """The part of a device that its visits need."""

    online: bool

    def row_key(self) -> tuple[int, float, int, int]:
        """Return the first columns of the device's next row."""


class VisitProcess:
    """The visits of one device's user.

    Args:
        device: it numbers the rows, and is connected or not.
        agent: its protocol logic: what it holds.
        spec: its user and its start.
        shared: what all devices of the simulation share.
        clock: of the environment.
        log: receives the rows.
        stop_ns: the end of the run.
        since_ns: the time at which the device starts again, where the process that ran it before has died.
    """

    def __init__(
        self,
        device: VisitingDevice,
        agent: Agent,
        spec: DeviceSpec,
        shared: VisitContext,
        *,
        clock: Clock,
        log: Callable[[InteractionRow], None],
        stop_ns: int,
        since_ns: int = 0,
    ) -> None:
        self._device = device
        self._agent = agent
        self._shared = shared
        self._recommender = shared.recommender
        self._clock = clock
        self._log = log
        self._stop_ns = stop_ns
        self._visits = shared.visits.of(spec.user)
        self._known = shared.visits.known[spec.user]
        self._newcomer = bool(shared.visits.newcomers[spec.user])
        # Visits before the device is there happen, too: their items are known from then on.
        self._met = int(np.searchsorted(self._visits.times_ns, max(since_ns, spec.start_ns)))
        self._reported = 0
        self._remembered = self._visits.items[:0]
        self._budget_bytes = 0
        self._list: IntArray | None = None
        self._fetched_ns = 0
        self._vector: tuple[str, Float32Array] | None = None

    def run(self) -> Iterator[int]:
        """Meet the items of each visit at its time; yield each wait in nanoseconds."""
        clock = self._clock
        for visit in range(self._met, len(self._visits.times_ns)):
            t_ns = int(self._visits.times_ns[visit])
            if t_ns >= self._stop_ns:
                return
            if t_ns > clock.now_ns:
                yield t_ns - clock.now_ns
            self._meet(visit)

    def reserve(self, budget_bytes: int) -> int:
        """Keep a part of a new budget for learning; return the bytes that are left for blocks."""
        if not isinstance(self._recommender, LearningVector):
            return budget_bytes
        self._budget_bytes = budget_bytes
        self._remember(self._remembered)
        return budget_bytes - history_bytes(self._recommender, self._shared.visits.n_items, budget_bytes)

    def fetch(self, _: None = None) -> None:
        """Report visits, and fetch a list or a vector, if that is due and the device is connected."""
        if not (self._device.online and self._fetch_is_due()):
            return
        count, self._reported = len(self._items(self._reported, self._met)), self._met
        down = self._fetch()
        self._log_row(InteractionEvent.EXCHANGE, down_bytes=down, up_bytes=self._ids_bytes(count))

    def _fetch_is_due(self) -> bool:
        match self._recommender:
            case FirstList():
                return self._list is None
            case ListUpdates(every=every):
                return self._list is None or self._clock.now_ns >= self._fetched_ns + every
            case CloudRefit():
                return self._reported < self._met and self._agent.model != ""
        return False

    def _fetch(self) -> int:
        """Fetch what the device ranks with; return its bytes."""
        cloud, agent, now = self._shared.cloud, self._agent, self._clock.now_ns
        self._fetched_ns = now
        match self._recommender:
            case FirstList(length=length) | ListUpdates(length=length):
                self._list = cloud.best_items(self._shared.newest(now), agent.user, self._met, length)
                if (
                    isinstance(self._recommender, ListUpdates)
                    and now + self._recommender.every < self._stop_ns
                ):
                    self._clock.after(int(self._recommender.every), None, self.fetch)
                return self._ids_bytes(len(self._list))
        vector = cloud.vector(agent.model, agent.user, self._met)
        self._vector = agent.model, vector
        return vector.nbytes

    def _meet(self, visit: int) -> None:
        """Rank what the user meets in *visit*, log it, and know it from then on."""
        met, before = self._items(visit, visit + 1), self._items(0, visit)
        quality = self._rank(np.concatenate([self._known, before]), met)
        newest = self._shared.newest(self._clock.now_ns)
        best = self._shared.cloud.ndcg_at_10(newest, self._agent.user, visit)
        self._log_row(InteractionEvent.VISIT, quality, items=len(met), best=best)
        self._met = visit + 1
        if isinstance(self._recommender, LearningVector):
            self._remember(np.concatenate([self._remembered, met[met < self._shared.visits.n_items]]))
        self.fetch()

    def _remember(self, items: IntArray) -> None:
        """Remember the latest of *items*, as many as the budget has room for."""
        assert isinstance(self._recommender, LearningVector)
        most = history_length(self._recommender, self._shared.visits.n_items, self._budget_bytes)
        self._remembered = items[max(0, len(items) - most) :]

    def _rank(self, known: IntArray, met: IntArray) -> Quality:
        """Return the quality of the ranking of the items *met* now."""
        if isinstance(self._recommender, FirstList | ListUpdates):
            return NOTHING if self._list is None else rank_list(self._list, known, met)
        agent = self._agent
        if not agent.layer:
            return NOTHING
        table = self._shared.tables.at(agent.model, agent.group, agent.layer)
        return rank_scores(table.scores(self._user_vector(table)), known, met)

    def _user_vector(self, table: DecodedTable) -> Float32Array:
        """Return the vector that the device ranks with."""
        agent = self._agent
        if self._vector is not None and self._vector[0] == agent.model:
            return self._vector[1]
        delivered = np.frombuffer(agent.user_vector, dtype="<f4")
        return table.learning.learn(delivered, self._remembered) if len(self._remembered) else delivered

    def _log_row(
        self,
        event: InteractionEvent,
        quality: Quality = NOTHING,
        *,
        items: int = 0,
        best: float = 0.0,
        down_bytes: int = 0,
        up_bytes: int = 0,
    ) -> None:
        agent = self._agent
        self._log(
            InteractionRow(
                *self._device.row_key(),
                event=event,
                user=agent.user,
                newcomer=self._newcomer,
                items=items,
                known=len(self._known) + len(self._items(0, self._met)),
                version=self._shared.versions.index(agent.model) if agent.model else -1,
                user_group=agent.group,
                layer=agent.layer,
                budget_bytes=agent.budget_bytes,
                age_ns=self._age_ns(),
                ndcg_at_10=quality.ndcg_at_10,
                recall_at_20=quality.recall_at_20,
                hit_rate_at_10=quality.hit_rate_at_10,
                cloud_ndcg_at_10=best,
                learning_bytes=self._ids_bytes(len(self._remembered)),
                down_bytes=down_bytes,
                up_bytes=up_bytes,
            )
        )

    def _age_ns(self) -> int:
        """Return the time since the cloud made what the device ranks with; -1: it has nothing."""
        if isinstance(self._recommender, FirstList | ListUpdates):
            return -1 if self._list is None else self._clock.now_ns - self._fetched_ns
        if not self._agent.model:
            return -1
        return self._clock.now_ns - self._shared.trained_ns.get(self._agent.model, 0)

    def _items(self, first: int, stop: int) -> IntArray:
        """Return the items of the visits *first* up to *stop*, in the order in which they are met."""
        return self._visits.items[self._visits.starts[first] : self._visits.starts[stop]]

    def _ids_bytes(self, count: int) -> int:
        """Return the bytes of so many item numbers."""
        return count * item_number_bytes(self._shared.visits.n_items)
