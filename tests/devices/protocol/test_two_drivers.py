"""One life through both drivers: the emulated and the real device send the same reports."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from devices.protocol.agent import Agent
from devices.protocol.block_prefix import BlockCache
from devices.protocol.report_policy import MANY_REFUSALS, ReportPolicy
from devices.protocol.report_scheduler import ReportCause
from devices.simulated.exchange import Exchange
from devices.simulated.link import Direction, Link
from devices.standalone.pee_holder import GROWTH_WORTH_ASKING, MODEL_SETTLE_S, PeeHolder
from devices.standalone.settings import DeviceSettings
from devices.timeline.faults import NO_FAULT, NO_IMPAIRMENT, Impairment
from tests.devices.lives import END, STORE, S, Transport, live
from tests.worlds import a_store
from wire.messages import BudgetReport, decode
from wire.units import NS_PER_S

MODELS = (STORE, a_store(items=60, seed=2))
RETRY_S = 30
MS = NS_PER_S // 1000
CHECKSUM = 8 + len('{"__metadata__":{"crc32":"')
"""Where the checksum of a part begins: damage there leaves its header readable."""


@dataclass(frozen=True)
class Trip:
    """What happens to one report and its answer."""

    lost: bool = False
    late_s: int = 0
    damaged: int | None = None
    """The part of the answer that is damaged, counted from the last one."""


@dataclass(frozen=True)
class Life:
    """Events of one device, each at a second of its own; and what happens to its reports, in their order."""

    budgets: dict[float, int]
    connections: dict[float, bool]
    models: dict[float, int]
    trips: list[Trip]

    def trip(self, seq: int) -> Trip:
        return self.trips[seq - 1] if seq <= len(self.trips) else Trip()

    def parts(self, seq: int, parts: list[bytes]) -> list[bytes]:
        """Return the parts of the answer to report *seq* as they arrive."""
        damaged = self.trip(seq).damaged
        if damaged is not None:
            index = max(len(parts) - 1 - damaged, 0)
            part = parts[index]
            parts[index] = part[:CHECKSUM] + bytes([part[CHECKSUM] ^ 1]) + part[CHECKSUM + 1 :]
        return parts


Report = tuple[int, str, int, int]
"""Milliseconds, cause, budget, blocks held."""


class TripLink(Link):
    """An uplink that loses and delays the reports of a life."""

    def __init__(self, life: Life) -> None:
        super().__init__(Direction(latency=END.latency, bandwidth=END.bandwidth), None)
        self.unimpaired = False
        self._delays = (life.trip(seq).late_s for seq in itertools.count(1))
        self._losses = (life.trip(seq).lost for seq in itertools.count(1))

    def delay(self, t_ns: int) -> int:
        return (1 + next(self._delays)) * S

    def draw_impairment(self, t_ns: int) -> Impairment:
        return Impairment(lost=NO_FAULT) if next(self._losses) else NO_IMPAIRMENT


class LifeTransport(Transport):
    """Answers in memory from all models, with the damage of a life."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self.versions = ModelVersions([Responder(store) for store in MODELS])
        self.life = life

    def send_report(self, exchange: Exchange) -> None:
        answer = list(self.versions.answer(exchange.report.payload))
        exchange.parts = self.life.parts(exchange.report.seq, answer)


def emulated(life: Life) -> list[Report]:
    """Return the reports of an emulated device."""
    downlink = Link(END, None)
    downlink.latency_ns = int(MODEL_SETTLE_S * S)  # of the offer of a model
    budgets = sorted(life.budgets.items())
    _, log = live(
        [(t - before, budget) for (before, _), (t, budget) in itertools.pairwise([(0, 0), *budgets])],
        LifeTransport(life),
        uplink=TripLink(life),
        downlink=downlink,
        policy=ReportPolicy(hysteresis=GROWTH_WORTH_ASKING),
        connectivity_changes=sorted(life.connections.items()),
        offers=[(t, MODELS[number]) for t, number in life.models.items()],
        models=MODELS,
    )
    rows = sorted(log.tables["update"].drain(), key=lambda row: int(row["seq"]))
    return [
        (
            int(row["sent_ns"]) // MS,
            ReportCause(row["cause"]).name,
            int(row["wanted_bytes"]),
            int(row["held_before"]),
        )
        for row in rows
    ]


class RealLife:
    """A real device's decisions, driven by a list of events in place of an event loop."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.responders = [Responder(store) for store in MODELS]
        self.model, self.online = 0, False
        self.reports: list[Report] = []
        self.events: list[tuple[int, int, Callable[[int], None]]] = []
        self.numbers = itertools.count()
        cache = BlockCache()
        for responder in self.responders:
            cache.announce(responder.notice())
        self.holder = PeeHolder(
            DeviceSettings("f", "d", 0, None, retry_s=RETRY_S, retry_jitter=0.0),
            cache, Agent(0, cache), self.responders[0].notice(), lambda: 1.0,
        )  # fmt: skip
        for t, online in life.connections.items():
            self.at(round(t * S), lambda now, online=online: self.connect(online, now))  # type: ignore[misc]
        for t, budget in life.budgets.items():
            self.at(round(t * S), lambda now, budget=budget: self.holder.set_budget(budget, now))  # type: ignore[misc]
        for t, number in life.models.items():
            self.at(round(t * S), lambda now, number=number: self.announce(number, now))  # type: ignore[misc]

    def at(self, t_ns: int, action: Callable[[int], None]) -> None:
        heapq.heappush(self.events, (t_ns, next(self.numbers), action))

    def run(self) -> list[Report]:
        holder = self.holder
        while self.events or holder.next_deadline_ns < 10**6 * S:
            now = min(holder.next_deadline_ns, self.events[0][0] if self.events else 10**6 * S)
            if holder.next_deadline_ns > now:
                _, _, action = heapq.heappop(self.events)
                action(now)
            if (due := holder.next_report(now)) is not None:
                self.send(*due, now)
        return self.reports

    def connect(self, online: bool, now: int) -> None:
        self.online = online
        if online:
            self.holder.on_connected(now)
        else:
            self.holder.on_disconnected()

    def announce(self, number: int, now: int) -> None:
        self.model = number
        self.holder.on_notice(self.responders[number].notice(), now)

    def send(self, cause: ReportCause, payload: bytes, now: int) -> None:
        report = decode(payload, BudgetReport)
        self.reports.append((now // MS, cause.name, report.budget_bytes, report.held))
        trip = self.life.trip(report.seq)
        if trip.lost:
            return
        parts = self.life.parts(report.seq, list(self.responders[self.model].answer(payload)))
        barrier = now + (3 + trip.late_s) * S
        self.at(barrier, lambda now: self.arrive(parts, now))

    def arrive(self, parts: list[bytes], now: int) -> None:
        if self.online:
            for number, part in enumerate(parts, start=1):
                self.at(now + number, lambda now, part=part: self.receive(part, now))  # type: ignore[misc]

    def receive(self, part: bytes, now: int) -> None:
        if self.online:
            self.holder.on_part(part, now)


def check(life: Life) -> list[Report]:
    """Play a life through both drivers; return the reports of both, which must be the same."""
    reports = emulated(life)
    assert RealLife(life).run() == reports
    return reports


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Lives whose events and answers never come at one instant, whose order the drivers need not share."""
    count = draw(st.integers(1, 12))
    seconds = itertools.accumulate(draw(st.lists(st.integers(1, 40), min_size=count, max_size=count)))
    times = [second + 0.007 * number for number, second in enumerate(seconds, start=1)]
    budgets, connections = {0.0: draw(st.integers(0, 1000))}, {0.0: True}
    models = dict[float, int]()
    online, model = True, 0
    for t in times:
        match draw(st.sampled_from(["budget", "budget", "connection", "model"])):
            case "budget":
                budgets[t] = draw(st.integers(0, 1000))
            case "connection":
                connections[t] = online = not online
            case _:
                models[t] = model = 1 - model
    trips = st.builds(
        Trip,
        lost=st.sampled_from([False, False, False, True]),
        late_s=st.sampled_from([0, 0, 1, 5, 20]),
        damaged=st.sampled_from([None, None, 0, 1]),
    )
    return Life(budgets, connections, models, draw(st.lists(trips, max_size=20)))


@settings(deadline=None, max_examples=150)
@given(lives())
def test_both_devices_report_at_the_same_times_for_the_same_causes(life: Life) -> None:
    check(life)


def test_after_many_refused_answers_both_wait_and_ask_for_everything() -> None:
    reports = check(Life({0: 900}, {0: True}, {}, [Trip(damaged=0)] * (MANY_REFUSALS + 1)))
    causes = [cause for _, cause, _, _ in reports]
    assert causes == ["START"] + ["REJECTED"] * (MANY_REFUSALS + 1)
    gaps = [(later[0] - sooner[0]) // 1000 for sooner, later in itertools.pairwise(reports)]
    assert gaps == [3] * (MANY_REFUSALS - 1) + [3 + 1, 3 + 2]


def test_silence_a_reconnection_and_a_model_are_reported_alike() -> None:
    reports = check(
        Life({0: 900, 150: 100}, {0: True, 160: False, 170: True}, {180: 1}, [Trip(lost=True)] * 3)
    )
    assert [(t // 1000, cause) for t, cause, _, _ in reports] == [
        (0, "START"),
        (30, "RETRY"),
        (30 + 60, "RETRY"),
        (150, "CHANGE"),
        (170, "RECONNECT"),
        (180, "MODEL"),
    ]
