"""What the weather does to reports and answers, one story each."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.event_log import ExchangeResult, FleetLog, MessageFault, UpdateKind
from devices.protocol.report_policy import ReportPolicy
from devices.simulated.device_class import DeviceClass
from devices.simulated.exchange import Exchange
from devices.simulated.link import Direction, Link
from devices.timeline.faults import NO_IMPAIRMENT, BrokerOutage, FaultWindow, Impairment, LossFault
from tests.devices.lives import LARGE, SMALL_PARTS, S, ScriptedLink, Transport, live, updates
from wire.mqtt_bytes import publish_wire_bytes
from wire.random_streams import stream
from wire.units import BitsPerSecond, Duration, Share


def test_an_older_answer_that_comes_late_does_not_take_back_the_newer_one() -> None:
    """The first report takes 10 s; the answer to the second is being sent, a part a second, when it comes."""
    device, log = live(
        [(0, 0), (10, 3000), (1, 5000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        uplink=ScriptedLink(delays=[1, 5, 1]),
        downlink=ScriptedLink(rate=8 * 500),
    )
    rows = list(updates(log))
    assert [(cause, result) for _, cause, result, _ in rows] == [
        ("START", "CONFIRMED"),
        ("CHANGE", "SUPERSEDED"),
        ("CHANGE", "APPLIED"),
    ]
    layers = LARGE.groups[0].layers
    assert device.agent.held == layers.blocks[layers.best(5000)]


def test_damage_to_an_answer_that_is_not_awaited_any_more_is_let_go() -> None:
    """Of 17 parts the first four are damaged: one report, not four, and each with so many parts more."""
    damaged = Impairment(corrupted=0)
    _, log = live(
        [(0, 5000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        downlink=ScriptedLink([damaged] * 4),
        supersede=False,
    )
    assert [result for _, _, result, _ in updates(log)] == ["REJECTED", "APPLIED"]


def test_a_second_copy_that_a_device_has_a_use_for_is_seen_in_the_log() -> None:
    """Between the copies the budget dips: the second one brings back what was evicted."""
    _, log = live(
        [(0, 900), (8, 28), (0, 900)],
        Transport(),
        downlink=ScriptedLink([NO_IMPAIRMENT, Impairment(duplicated=0)], rate=8 * 500),
        policy=ReportPolicy(debounce_ns=60 * S),
    )
    held = [(int(row["t_ns"]) // S, int(row["resident_bytes"])) for row in log.tables["quality"].drain()]
    assert held == [(0, 0), (6, 576), (8, 0), (8, 0), (8, 576)]


def test_parts_for_a_connection_that_is_gone_do_not_take_the_link_of_the_next() -> None:
    """5 KB at 500 B/s: the answer takes 20 s, not those of the one before as well."""
    device, log = live(
        [(0, 5000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        downlink=ScriptedLink(rate=8 * 500),
        connectivity_changes=[(0, True), (5, False), (6, True)],
        supersede=False,
    )
    assert [(t, result) for t, _, result, _ in updates(log)] == [(30, "LOST"), (31, "APPLIED")]
    assert device.agent.held == 16


def test_an_answer_that_meets_an_outage_of_the_broker_is_lost_to_it() -> None:
    """It leaves at 2 s, the broker is down from 2.5 s on, it would have been there at 3 s."""
    window = FaultWindow(5 * S // 2, 20 * S, 7, BrokerOutage(at="0 s", duration=Duration(S)))
    _, log = live(
        [(0, 900)], Transport(), connectivity_changes=[(0, True), (2, False), (20, True)], outages=(window,)
    )
    faults = log.tables["fault"].drain()
    assert [(MessageFault(row["harm"]).name, int(row["place"])) for row in faults] == [("PART_CUT_OFF", 7)]


def test_an_answer_that_follows_on_what_was_evicted_since_is_no_damage() -> None:
    """Reports wait for the debounce, so the answer to the older one still counts, and does not fit."""
    rule = ReportPolicy(debounce_ns=4 * S)
    device, log = live([(0, 900), (10, 899), (5, 100), (1, 900)], Transport(), policy=rule)
    assert list(updates(log)) == [
        (3, "START", "APPLIED", 16),
        (17, "CHANGE", "SUPERSEDED", 2),
        (20, "CHANGE", "APPLIED", 16),
    ]
    assert device.agent.held == 16


def faults(log: FleetLog) -> list[tuple[str, int, int]]:
    """Return what went wrong: (what, report, the fault's place)."""
    rows = log.tables["fault"].drain()
    return [(MessageFault(row["harm"]).name, int(row["seq"]), int(row["place"])) for row in rows]


def figures(log: FleetLog, *columns: str) -> list[tuple[int, ...]]:
    """Return columns of all exchanges."""
    return [tuple(int(row[column]) for column in columns) for row in log.tables["update"].drain()]


def test_a_report_that_is_damaged_is_refused_and_repeated() -> None:
    _, log = live([(0, 900)], Transport(), uplink=ScriptedLink([Impairment(corrupted=4)]))
    assert faults(log) == [("REPORT_CORRUPTED", 1, 4)]
    assert list(updates(log)) == [(30, "START", "LOST", 0), (33, "RETRY", "APPLIED", 16)]


def test_a_report_that_arrives_twice_is_answered_twice_and_the_copy_is_wasted() -> None:
    _, log = live([(0, 900)], Transport(), uplink=ScriptedLink([Impairment(duplicated=4)]))
    assert faults(log) == [("REPORT_DUPLICATED", 1, 4)]
    ((sent, used, lost),) = figures(log, "update_bytes", "used_bytes", "lost_bytes")
    assert (sent, lost) == (2 * used, 0)


def test_a_part_that_arrives_twice_is_wasted_once() -> None:
    _, log = live([(0, 900)], Transport(), downlink=ScriptedLink([NO_IMPAIRMENT, Impairment(duplicated=4)]))
    assert faults(log) == [("PART_DUPLICATED", 1, 4)]
    ((sent, used, lost, parts),) = figures(log, "update_bytes", "used_bytes", "lost_bytes", "parts")
    assert (used < sent < 2 * used, lost, parts) == (True, 0, 2)


def test_parts_that_overtake_each_other_leave_a_gap_and_are_asked_for_again() -> None:
    """Of an introduction and 16 parts the third is held back for 9 s."""
    device, log = live(
        [(0, 5000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        downlink=ScriptedLink([NO_IMPAIRMENT, NO_IMPAIRMENT, Impairment(held_back=4, held_back_ns=9 * S)]),
    )
    assert faults(log) == [("PART_REORDERED", 1, 4)]
    assert [each[1:] for each in updates(log)] == [("REJECTED", "APPLIED", 16), ("START", "REJECTED", 16)]
    assert device.agent.held == 16


def test_the_link_does_not_wait_for_a_part_that_is_held_back() -> None:
    impairments = [NO_IMPAIRMENT, Impairment(held_back=4, held_back_ns=9 * S)]
    _, log = live([(0, 900)], Transport(), downlink=ScriptedLink(impairments))
    assert list(updates(log)) == [(12, "START", "APPLIED", 16)]


def test_a_lost_part_in_the_middle_is_noticed_by_the_next() -> None:
    device, log = live(
        [(0, 5000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        downlink=ScriptedLink([NO_IMPAIRMENT, NO_IMPAIRMENT, Impairment(lost=4)]),
    )
    assert faults(log) == [("PART_LOST", 1, 4)]
    rows = list(updates(log))
    assert [each[1:3] for each in rows] == [("START", "LOST"), ("REJECTED", "APPLIED")]
    assert device.agent.held == 16


def test_a_report_that_meets_an_outage_of_the_broker_is_cut_off() -> None:
    window = FaultWindow(S // 2, 20 * S, 7, BrokerOutage(at="0 s", duration=Duration(S)))
    _, log = live(
        [(0, 900)], Transport(), connectivity_changes=[(0, True), (1, False), (20, True)], outages=(window,)
    )
    assert faults(log) == [("REPORT_CUT_OFF", 1, 7)]
    assert list(updates(log)) == [(23, "RECONNECT", "APPLIED", 16), (30, "START", "LOST", 16)]


def test_parts_of_a_connection_that_breaks_never_arrive() -> None:
    """A part a second: cut off after some, the device keeps them, and is sent only the others."""
    device, log = live(
        [(0, 5000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        downlink=ScriptedLink(rate=8 * 500),
        connectivity_changes=[(0, True), (10, False), (60, True)],
    )
    held = figures(log, "seq", "held_before", "held")
    assert held == [(1, 0, held[0][2]), (2, held[0][2], 16)]
    assert 0 < held[0][2] < 16
    assert device.agent.held == 16


@pytest.mark.parametrize("supersede", [True, False])
def test_a_newer_answer_takes_back_what_has_not_begun_to_be_sent(supersede: bool) -> None:
    """At 500 B/s the first answer takes 20 s; the budget moves after 6."""
    _, log = live(
        [(0, 5000), (6, 4000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        downlink=ScriptedLink(rate=8 * 500),
        supersede=supersede,
    )
    rows = log.tables["update"].drain()
    sent = {int(row["seq"]): int(row["update_bytes"]) for row in rows}
    assert {ExchangeResult(row["result"]).name for row in rows} == {"SUPERSEDED", "APPLIED"}
    assert (sent[1] < 4000) is supersede


def test_a_slow_device_takes_its_time_to_take_an_update_in() -> None:
    """An introduction and blocks of some 1.9 KB at 100 B/s."""
    ((sent, applied),) = figures(
        live([(0, 900)], Transport(), device_class=DeviceClass(apply_rate=BitsPerSecond(800)))[1],
        "update_bytes",
        "applied_ns",
    )
    assert applied == pytest.approx(3 * S + sent * S / 100, rel=1e-3)


class Recording(Transport):
    """Keeps the parts of every answer, by the report's number."""

    def __init__(self, max_payload: int = SMALL_PARTS) -> None:
        super().__init__(store=LARGE, max_payload=max_payload)
        self.parts: dict[int, list[bytes]] = {}

    def send_report(self, exchange: Exchange) -> None:
        super().send_report(exchange)
        assert exchange.parts is not None
        self.parts[exchange.report.seq] = list(exchange.parts)


def on_the_wire(parts: Sequence[bytes]) -> int:
    """Return what *parts* cost on the wire: a device's topics are 20 bytes up to the last level, ``pee``."""
    return sum(publish_wire_bytes(23, len(part), 1) for part in parts)


SENT = ("sent", "update_bytes", "update_wire_bytes", "lost_bytes", "full_update_bytes")


@pytest.mark.parametrize("copies", [1, 2])
def test_an_answer_to_a_device_that_is_gone_has_been_sent_for_nothing_framing_and_all(copies: int) -> None:
    """The device goes while its report is under way; one that arrives twice is answered twice, in vain."""
    transport = Recording()
    impairments = [Impairment(duplicated=0)] if copies == 2 else []
    _, log = live(
        [(0, 5000)], transport, uplink=ScriptedLink(impairments), connectivity_changes=[(0, True), (2, False)]
    )
    parts = transport.parts[1] * copies
    payload = sum(map(len, parts))
    assert figures(log, *SENT) == [
        (UpdateKind.FIRST, payload, on_the_wire(parts), payload, payload // copies)
    ]


def test_what_a_broken_connection_leaves_of_an_answer_counts_on_the_wire_too() -> None:
    """A part a second, cut off in the middle: what was still to be sent is part of the answer."""
    transport = Recording()
    _, log = live(
        [(0, 5000)],
        transport,
        downlink=ScriptedLink(rate=8 * 500),
        connectivity_changes=[(0, True), (10, False)],
    )
    parts = transport.parts[1]
    ((sent, payload, on_wire, lost, full),) = figures(log, *SENT)
    assert (sent, payload, on_wire, full) == (
        UpdateKind.FIRST,
        full,
        on_the_wire(parts),
        sum(map(len, parts)),
    )
    assert 0 < lost < payload


@pytest.mark.parametrize("max_payload", [SMALL_PARTS, 2**17])
def test_an_answer_whose_introduction_is_lost_was_a_first_one_all_the_same(max_payload: int) -> None:
    """What arrives of it looks like a difference; pushed whole, it would have cost the introduction too."""
    transport = Recording(max_payload)
    _, log = live([(0, 5000)], transport, downlink=ScriptedLink([Impairment(lost=4)]))
    sent = [(UpdateKind(kind).name, full) for kind, full in sorted(figures(log, "sent", "full_update_bytes"))]
    whole = sum(map(len, transport.parts[1]))
    assert sent == [("FIRST", whole)] * len(sent)
    assert len(sent) == 2


def recovering(*lost_s: float) -> Link:
    """Return a link of 1 s delay whose transport sends again after 2 s, and that loses all for so long."""
    windows = [
        FaultWindow(0, int(until * S), place, LossFault(at="0 s", duration=Duration(S), share=Share(1.0)))
        for place, until in enumerate(lost_s)
    ]
    direction = Direction(latency=Duration(S), bandwidth=BitsPerSecond(8_000_000_000), recovery="transport")
    return Link(direction, None, windows, stream(1, "weather"))


def test_a_report_that_the_transport_sends_again_is_late_and_costs_as_often() -> None:
    """It is lost at 0 and at 2 s, and arrives on the third try, at 6 s and the delay."""
    _, calm = live([(0, 900)], Transport())
    _, log = live([(0, 900)], Transport(), uplink=recovering(5))
    assert [tuple(row)[4:] for row in log.tables["fault"].drain()] == [
        (MessageFault.REPORT_RESENT, 1, 70, 0, 2)
    ]
    columns = ("result", "arrived_ns", "report_bytes", "report_wire_bytes", "resent_wire_bytes")
    ((_, early, size, wire, _),) = figures(calm, *columns)
    assert figures(log, *columns) == [(ExchangeResult.APPLIED, early + 6 * S, size, 3 * wire, 2 * wire)]


def test_parts_that_follow_one_that_is_sent_again_wait_for_it() -> None:
    """The answer begins to arrive at 3 s; of its 17 parts those that leave at once are lost for 2 s."""
    transport = Recording()
    device, log = live([(0, 5000)], transport, downlink=recovering(3 + 5e-7))
    first = log.tables["fault"].drain()
    assert {(int(row["harm"]), int(row["times"])) for row in first} == {(MessageFault.PART_RESENT, 1)}
    assert 1 <= len(first) < len(transport.parts[1])
    columns = (
        "result",
        "received_ns",
        "update_bytes",
        "lost_bytes",
        "update_wire_bytes",
        "resent_wire_bytes",
    )
    ((result, received, payload, lost, wire, resent),) = figures(log, *columns)
    parts = transport.parts[1]
    assert (result, payload, lost, device.agent.held) == (ExchangeResult.APPLIED, sum(map(len, parts)), 0, 16)
    assert received // S == 5
    assert (wire - resent, resent) == (on_the_wire(parts), on_the_wire(parts[: len(first)]))


def test_a_transport_gives_up_in_the_end_and_the_device_asks_again() -> None:
    """Nothing gets through for half an hour; then the report of the moment does."""
    _, log = live([(0, 900), (1799, 800)], Transport(), uplink=recovering(1800))
    results = [result for _, _, result, _ in updates(log)]
    assert (results[0], results[-1]) == ("LOST", "APPLIED")
    lost = [
        int(row["times"]) for row in log.tables["fault"].drain() if row["harm"] == MessageFault.REPORT_LOST
    ]
    assert lost == [16] * results.count("LOST")


IMPAIRMENTS = st.sampled_from(
    [NO_IMPAIRMENT, Impairment(lost=0), Impairment(duplicated=0), Impairment(held_back=0, held_back_ns=9 * S)]
)


@settings(deadline=None)
@given(
    up=st.lists(IMPAIRMENTS, max_size=6),
    down=st.lists(IMPAIRMENTS, max_size=20),
    budgets=st.lists(st.integers(0, 5000), min_size=1, max_size=6),
    waits=st.lists(st.integers(1, 40), max_size=6),
    rate=st.sampled_from([8 * 500, 8 * 10**9]),
)
def test_whatever_is_sent_takes_more_on_the_wire_than_its_payload(
    up: list[Impairment], down: list[Impairment], budgets: list[int], waits: list[int], rate: int
) -> None:
    connectivity_changes = [(sum(waits[:at]), at % 2 == 0) for at in range(len(waits) + 1)]
    _, log = live(
        [(7, each) for each in budgets],
        Recording(),
        uplink=ScriptedLink(up),
        downlink=ScriptedLink(down, rate=rate),
        connectivity_changes=connectivity_changes,
    )
    for payload, on_wire in figures(log, "update_bytes", "update_wire_bytes"):
        assert on_wire >= payload + 60 or payload == on_wire == 0
