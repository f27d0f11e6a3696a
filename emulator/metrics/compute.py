"""The metrics of a run, computed from its event tables and nothing else.

`scenarios.catalogue.metrics` describes them.

An exchange belongs to the moment at which its report left, any other event to its own; a state is cut where
a stage begins or ends.
"""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.event_log import Result, Sent
from emulator.metrics.aggregates import (
    Aggregate,
    Codes,
    Counter,
    Gauge,
    Level,
    Ratio,
    Stats,
    Time,
    Trend,
    WeightedSum,
)
from emulator.metrics.below_best import Holding, connected_ns
from emulator.metrics.frame import (
    BoolArray,
    Columns,
    DeviceTable,
    FloatArray,
    Frame,
    IntArray,
    RowSet,
    order_by_device,
)
from emulator.metrics.peaks import all_over_budget_seconds, largest_excess, peak_rate
from emulator.metrics.quality_recovery import find_recoveries
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import DIRECTIONS, KINDS_OF_BYTES, METRICS
from wire.units import NS_PER_S

_DOWN, _UP = DIRECTIONS.index("down"), DIRECTIONS.index("up")
_WASTED, _LOST = KINDS_OF_BYTES.index("wasted"), KINDS_OF_BYTES.index("lost")
_KIND_OF = {
    Sent.NONE: "control", Sent.FIRST: "first", Sent.DELTA: "delta", Sent.FULL: "full",
    Sent.FALLBACK_FULL: "fallback_full", Sent.SHARED: "shared", Sent.NOTHING: "control",
}  # fmt: skip
_KINDS = np.array([KINDS_OF_BYTES.index(_KIND_OF[sent]) for sent in Sent])


class RunMetrics:
    """The metrics of a run; each is computed when it is asked for.

    Args:
        members: the devices.
        plan: the stages, and when the run ended.
        tables: the columns of the event tables, as `DeviceTable.numbered` returns them.
        since_ns: what was before does not count.
    """

    def __init__(
        self, members: DeviceTable, plan: RunTimeline, tables: Mapping[str, Columns], since_ns: int = 0
    ) -> None:
        self.frame = Frame(members, plan, tables["quality"])
        self.since_ns = since_ns
        self.tables = tables
        """The columns of the event tables."""
        self._forms: dict[str, Aggregate] = {}

    def form(self, name: str) -> Aggregate:
        """Return the metric called *name*."""
        if name not in self._forms:
            self._forms[name] = self._compute(name)
        return self._forms[name]

    def codes(self, name: str, filters: Mapping[str, str]) -> Codes:
        """Return *filters*, values by dimension, as the codes of the metric's rows."""
        return {dimension: self._code(name, dimension, value) for dimension, value in filters.items()}

    def split(self, name: str, dimension: str) -> Mapping[str, Stats]:
        """Return what is said of the metric called *name* for each value of *dimension*."""
        stats = self.form(name).split(self.frame, dimension)
        return dict(zip(self.frame.words(dimension), stats, strict=True))

    def pairs(self, name: str, first: str, second: str) -> dict[str, dict[str, int]]:
        """Return a counter by two dimensions of its own: those pairs that there are."""
        form = self.form(name)
        assert isinstance(form, Counter)
        found: dict[str, dict[str, int]] = {}
        for at, word in enumerate(METRICS[name].own[first]):
            split = form.where(self.frame, {first: at}).split(self.frame, second)
            totals = dict(zip(METRICS[name].own[second], (stats["total"] for stats in split), strict=True))
            there = {other: int(total) for other, total in totals.items() if total}
            if there:
                found[word] = there
        return found

    def since(self, since_ns: int) -> "RunMetrics":
        """Return the metrics of what was not before *since_ns*."""
        return RunMetrics(self.frame.members, self.frame.plan, self.tables, since_ns)

    def seconds(self, filters: Mapping[str, str]) -> float:
        """Return how long the part of the run was that *filters* leave."""
        plan, low, high = self.frame.plan, self.since_ns, self.frame.plan.stop_ns
        for stage in plan.stages:
            if stage.type == filters.get("stage"):
                end_ns = high if stage is plan.stages[-1] else stage.end_ns
                low, high = max(low, stage.start_ns), min(high, end_ns)
        return max(high - low, 0) / NS_PER_S

    def _code(self, name: str, dimension: str, value: str) -> int:
        if dimension in METRICS[name].own:
            return list(METRICS[name].own[dimension]).index(value)
        known = dimension in self.frame.dimensions
        found = list(self.frame.words(dimension)) if known else []
        return found.index(value) if value in found else -1

    def _compute(self, name: str) -> Aggregate:
        for group in (self._updates, self._ratios, self._budgets, self._states, self._holding, self._others):
            found = group.get(name)
            if found is not None:
                return found()
        raise KeyError(name)

    # Rows of each kind.

    def _rows(self, table: str, t: str = "t_ns", **own: str) -> tuple[RowSet, Columns]:
        columns = self.tables[table]
        counts = columns[t] >= self.since_ns
        if not counts.all():
            columns = {name: values[counts] for name, values in columns.items()}
        codes = {dimension: columns[column] for dimension, column in own.items()}
        return RowSet(columns["device"], columns[t].astype(np.int64), codes), columns

    @cached_property
    def _exchanges(self) -> tuple[RowSet, Columns]:
        return self._rows("update", "sent_ns", cause="cause", result="result", sent="sent")

    @cached_property
    def _pieces(self) -> tuple[RowSet, FloatArray]:
        return self.frame.pieces(self.since_ns)

    @cached_property
    def _time(self) -> WeightedSum:
        """All device time, in seconds."""
        return WeightedSum(*self._pieces)

    def _state(self, column: str) -> NDArray[Any]:  # Any: columns differ in type
        """Return a column of the states, piece by piece."""
        rows, _ = self._pieces
        return self.frame.states[column][rows.state]

    # Update traffic.

    @cached_property
    def _updates(self) -> dict[str, Callable[[], Aggregate]]:
        rows, of = self._exchanges
        sent_any = of["sent"] != Sent.NONE
        wasted = of["update_bytes"] - of["used_bytes"] - of["lost_bytes"]
        without_blocks = np.where(of["sent"] == Sent.NOTHING, of["update_bytes"], 0)
        counted = {f"updates_{result.name.lower()}": of["result"] == result for result in Result}
        sums = {
            "budget_reports": np.ones(len(rows.device)),
            **counted,
            "updates_sent": sent_any,
            "delta_fallbacks": of["sent"] == Sent.FALLBACK_FULL,
            "update_wire_bytes": of["update_wire_bytes"],
            "full_update_bytes": of["full_update_bytes"],
            "report_bytes": of["report_bytes"],
            "report_wire_bytes": of["report_wire_bytes"],
            "ack_wire_bytes": of["ack_wire_bytes"],
            "copied_bytes": of["copied_bytes"],
            "resent_wire_bytes": of["resent_wire_bytes"],
            "wasted_bytes": wasted,
            "lost_bytes": of["lost_bytes"],
            "control_bytes": of["report_bytes"] + without_blocks,
            "control_answer_bytes": without_blocks,
        }
        return {
            **{name: partial(Counter, rows, values.astype(np.int64)) for name, values in sums.items()},
            "update_bytes": partial(self._bytes_by_kind, wasted),
            **self._latencies(),
            **self._peaks(),
        }

    def _bytes_by_kind(self, wasted: IntArray) -> Counter:
        """Each exchange is a row per kind of bytes: used, wasted, lost."""
        rows, of = self._exchanges
        values = np.concatenate([of["used_bytes"], wasted, of["lost_bytes"]])
        count = len(rows.device)
        kinds = np.concatenate([_KINDS[of["sent"]], np.full(count, _WASTED), np.full(count, _LOST)])
        there = np.flatnonzero(values)
        return Counter(rows.where(there % max(count, 1), kind=kinds[there]), values[there])

    def _latencies(self) -> dict[str, Callable[[], Aggregate]]:
        rows, of = self._exchanges
        applied, begun = of["result"] == Result.APPLIED, of["begun_ns"] >= 0
        reused = np.where(of["sent"] == Sent.FIRST, 0, np.minimum(of["held_before"], of["held"]))
        spans = {
            "update_latency_seconds": ("applied_ns", "changed_ns", applied),
            "latency_wait_seconds": ("sent_ns", "changed_ns", applied),
            "latency_uplink_seconds": ("arrived_ns", "sent_ns", applied),
            "latency_queue_seconds": ("begun_ns", "arrived_ns", applied),
            "latency_selection_seconds": ("left_ns", "begun_ns", applied),
            "latency_downlink_seconds": ("received_ns", "left_ns", applied),
            "latency_apply_seconds": ("applied_ns", "received_ns", applied),
            "queue_seconds": ("begun_ns", "arrived_ns", begun),
            "update_staleness_seconds": ("applied_ns", "sent_ns", applied),
        }

        def span(to: str, since: str, mask: BoolArray) -> Aggregate:
            return Trend(rows.where(mask), of[to][mask] - of[since][mask], NS_PER_S)

        def parts(values: NDArray[Any], whole: NDArray[Any], mask: BoolArray) -> Aggregate:
            mask = mask & (whole > 0)
            return Trend(rows.where(mask), values[mask] / whole[mask], 1)

        def connected() -> Aggregate:
            device, start, end = (each[applied] for each in (rows.device, of["changed_ns"], of["applied_ns"]))
            spans = connected_ns(self.tables["connection"], device, start, end)
            return Trend(rows.where(applied), spans, NS_PER_S)

        # A model version's blocks are none of another's: the old ones go, the new ones come.
        held, before = of["held"].astype(np.int64), of["held_before"]
        changed = np.where(of["sent"] == Sent.FIRST, held + before, np.abs(held - before))
        return {
            **{name: partial(span, *each) for name, each in spans.items()},
            "update_delta_ratio": partial(
                parts, of["update_bytes"], of["full_update_bytes"], of["sent"] != Sent.NONE
            ),
            "blocks_reused_ratio": partial(parts, reused.astype(np.int64), of["held"], applied),
            "connected_latency_seconds": connected,
            "blocks_changed": lambda: Trend(rows.where(applied), changed[applied], 1),
        }

    def _peaks(self) -> dict[str, Callable[[], Aggregate]]:
        rows, of = self._exchanges
        left = np.flatnonzero((of["sent"] != Sent.NONE) & (of["left_ns"] >= 0))
        left = left[np.argsort(of["left_ns"][left], kind="stable")]
        columns = {"t_ns": of["left_ns"][left], "bytes": of["update_wire_bytes"][left]}
        leaving = rows.where(left)

        def peak(seconds: int, of_bytes: bool) -> Aggregate:
            return Gauge(leaving, columns, partial(peak_rate, seconds=seconds, of_bytes=of_bytes))

        return {
            "downlink_peak_1s": partial(peak, 1, True),
            "downlink_peak_1min": partial(peak, 60, True),
            "update_fanout_peak": partial(peak, 1, False),
        }

    @cached_property
    def _ratios(self) -> dict[str, Callable[[], Aggregate]]:
        rows, of = self._exchanges
        pieces, seconds = self._pieces

        def part(values: NDArray[Any]) -> WeightedSum:
            return WeightedSum(rows, values.astype(np.float64))

        changed, _, _ = self._changes
        sent, bytes_ = part(of["sent"] != Sent.NONE), part(of["update_bytes"])
        changes = WeightedSum(changed, np.ones(len(changed.device)))
        hours = WeightedSum(pieces, seconds / 3600)
        over = self._state("resident_bytes") > self._state("budget_bytes")
        ndcg, full = self._state("ndcg_at_10"), self._state("full_ndcg_at_10")

        def time(values: NDArray[Any]) -> WeightedSum:
            return WeightedSum(pieces, values * seconds)

        found = {
            "delta_ratio": Ratio(bytes_, part(of["full_update_bytes"])),
            "delta_ratio_once": Ratio(
                part(of["update_bytes"] - of["copied_bytes"]), part(of["full_update_bytes"])
            ),
            "wire_overhead_ratio": Ratio(part(of["update_wire_bytes"]), bytes_),
            "wasted_share": Ratio(part(of["update_bytes"] - of["used_bytes"] - of["lost_bytes"]), bytes_),
            "update_amplification": Ratio(sent, changes),
            "report_amplification": Ratio(part(np.ones(len(rows.device))), changes),
            "bytes_per_device_hour": Ratio(bytes_, hours),
            "bytes_per_ndcg_point": Ratio(bytes_, WeightedSum(pieces, seconds / 3600 * ndcg * 100)),
            "budget_changes_per_device_hour": Ratio(changes, hours),
            "budget_utilisation": Ratio(
                time(self._state("resident_bytes")), time(self._state("budget_bytes"))
            ),
            "over_budget_share": Ratio(time(over), self._time),
            "quality_ratio_to_full": Ratio(time(ndcg), time(full)),
            "online_share": Ratio(time(self._state("online")), self._time),
        }
        return {name: partial(_same, form) for name, form in found.items()}

    # Budgets.

    @cached_property
    def _changes(self) -> tuple[RowSet, Columns, IntArray]:
        """The budget changes that count, and the size of each step."""
        of = self.tables["budget"]
        order = order_by_device(of)
        device, budget = of["device"][order], of["budget_bytes"][order]
        step = np.diff(budget, prepend=0)
        direction = np.where(step < 0, _DOWN, _UP)
        first = np.diff(device, prepend=-1) != 0
        direction[first] = DIRECTIONS.index("first")
        counts = of["t_ns"][order] >= self.since_ns
        chosen = order[counts]
        columns = {name: values[chosen] for name, values in of.items()}
        rows = RowSet(columns["device"], columns["t_ns"], {"direction": direction[counts]})
        return rows, columns, np.where(first, 0, np.abs(step))[counts]

    @cached_property
    def _budgets(self) -> dict[str, Callable[[], Aggregate]]:
        rows, of, step = self._changes
        evicted = np.maximum(of["resident_before_bytes"] - of["resident_bytes"], 0)
        later = rows.own["direction"] != DIRECTIONS.index("first")
        return {
            "budget_changes": lambda: Counter(rows, np.ones(len(rows.device), dtype=np.int64)),
            "budget_step_bytes": lambda: Trend(rows.where(later), step[later], 1),
            "local_evictions": lambda: Counter(rows, (evicted > 0).astype(np.int64)),
            "evicted_bytes": lambda: Counter(rows, evicted),
            "time_to_fit_seconds": self._time_to_fit,
        }

    def _time_to_fit(self) -> Trend:
        rows, of, _ = self._changes
        tight = of["resident_before_bytes"] > of["budget_bytes"]
        chosen, states, stop_ns = rows.where(tight), self.frame.states, self.frame.plan.stop_ns
        fits = states["resident_bytes"] <= states["budget_bytes"]
        count = len(fits)
        following = np.where(fits, np.arange(count), count)
        following = np.minimum.accumulate(following[::-1])[::-1] if count else following
        state = following[self.frame.state_of(chosen)]
        there = state < count
        there[there] &= states["device"][state[there]] == chosen.device[there]
        until = np.full(len(chosen.device), stop_ns, dtype=np.int64)
        until[there] = self.frame.start_ns[state[there]]
        until = np.where(of["resident_bytes"][tight] <= of["budget_bytes"][tight], chosen.t_ns, until)
        return Trend(chosen, np.maximum(until - chosen.t_ns, 0), NS_PER_S)

    # States.

    @cached_property
    def _states(self) -> dict[str, Callable[[], Aggregate]]:
        rows, seconds = self._pieces
        levels = ("budget_bytes", "resident_bytes", "ndcg_at_10", "recall_at_20", "hit_rate_at_10",
                  "best_ndcg_at_10", "full_ndcg_at_10")  # fmt: skip

        def level(values: NDArray[Any]) -> Aggregate:
            return Level(rows, values.astype(np.float64), self._time)

        def of_column(name: str) -> Aggregate:
            return level(self._state(name))

        def time(mask: NDArray[Any], of: RowSet = rows) -> Aggregate:
            return Time(WeightedSum(of, mask * seconds), self._time)

        end = rows.t_ns + np.rint(seconds * NS_PER_S).astype(np.int64)
        excess = self._state("resident_bytes") - self._state("budget_bytes")
        by_level = RowSet(
            rows.device, rows.t_ns, {"level": self._state("pressure")}, rows.state, cache=rows.cache
        )
        return {
            **{name: partial(of_column, name) for name in levels},
            "quality_regret": lambda: level(self._state("best_ndcg_at_10") - self._state("ndcg_at_10")),
            "over_budget_device_seconds": partial(time, excess > 0),
            "offline_seconds": lambda: time(~self._state("online").astype(np.bool_)),
            "pressure_seconds": lambda: time(np.ones(len(seconds)), by_level),
            "over_budget_bytes_max": lambda: Gauge(rows, {"excess": excess}, largest_excess),
            "over_budget_all_seconds": lambda: Gauge(
                rows,
                {"device": rows.device, "start": rows.t_ns, "end": end, "over": excess > 0},
                all_over_budget_seconds,
            ),
        }

    @cached_property
    def _holding(self) -> Mapping[str, Callable[[], Aggregate]]:
        return Holding(self.frame, self._pieces, self.since_ns).forms()

    # Transitions, recoveries, connections, harm.

    @cached_property
    def _others(self) -> dict[str, Callable[[], Aggregate]]:
        return {
            "pressure_transitions": self._transitions,
            "quality_recovery_seconds": self._recoveries,
            "connects": partial(self._toggles, True),
            "disconnections": partial(self._toggles, False),
            "offline_spell_seconds": self._spells,
            "messages_harmed": lambda: self._harm(in_bytes=False),
            "harmed_bytes": lambda: self._harm(in_bytes=True),
            "quality_bytes": partial(self._messages, "quality", "message_bytes"),
            "quality_wire_bytes": partial(self._messages, "quality", "message_wire_bytes"),
            "status_bytes": partial(self._messages, "connection", "message_bytes"),
            "status_wire_bytes": partial(self._messages, "connection", "message_wire_bytes"),
        }

    def _transitions(self) -> Counter:
        states, since = self.frame.states, self.since_ns
        device, level = states["device"], states["pressure"]
        changed = 1 + np.flatnonzero((device[1:] == device[:-1]) & (level[1:] != level[:-1]))
        changed = changed[states["t_ns"][changed] >= since]
        own = {"from": level[changed - 1], "to": level[changed]}
        rows = RowSet(device[changed], states["t_ns"][changed], own)
        return Counter(rows, np.ones(len(changed), dtype=np.int64))

    def _recoveries(self) -> Trend:
        start, span = find_recoveries(self.frame.states)
        counts = self.frame.states["t_ns"][start] >= self.since_ns
        start, span = start[counts], span[counts]
        rows = RowSet(self.frame.states["device"][start], self.frame.states["t_ns"][start])
        return Trend(rows, span, NS_PER_S)

    def _toggles(self, online: bool) -> Counter:
        rows, of = self._rows("connection", why="why")
        mask = of["online"] == online
        return Counter(rows.where(mask), np.ones(int(mask.sum()), dtype=np.int64))

    def _spells(self) -> Trend:
        of, stop_ns = self.tables["connection"], self.frame.plan.stop_ns
        order = order_by_device(of)
        device, t_ns, online = (of[name][order] for name in ("device", "t_ns", "online"))
        until = np.full(len(device), stop_ns, dtype=np.int64)
        same = device[1:] == device[:-1]
        until[:-1][same] = t_ns[1:][same]
        away = ~online.astype(np.bool_) & (t_ns >= self.since_ns)
        return Trend(RowSet(device[away], t_ns[away]), np.maximum(until - t_ns, 0)[away], NS_PER_S)

    def _messages(self, table: str, column: str) -> Counter:
        rows, of = self._rows(table)
        return Counter(rows, of[column].astype(np.int64))

    def _harm(self, *, in_bytes: bool) -> Counter:
        rows, of = self._rows("fault", harm="harm")
        values = of["bytes"] if in_bytes else np.ones(len(rows.device))
        return Counter(rows, values.astype(np.int64))


def _same(form: Aggregate) -> Aggregate:
    return form
