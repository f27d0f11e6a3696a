"""The program of a run: what of it concerns a device, and that others do not change that."""

from collections.abc import Sequence

import pytest

from devices.timeline.actions import Actions, BudgetScaling, Disconnection, NetworkChange, UserChange
from devices.timeline.connectivity import ConnectivityCause, OfflineSpan, connectivity_changes
from devices.timeline.faults import BrokerOutage, CloudOutage, CloudSlowdown, Faults, LossFault, Stream
from devices.timeline.schedule import DeviceSelector, Stage
from devices.timeline.timeline import DeviceAttributes, Timeline
from wire.units import NS_PER_S, Duration, Share

S = NS_PER_S


def member(number: int, **more: object) -> DeviceAttributes:
    keys = {"group": "phone", "labels": {"os": "a"}, "node": "default", "network": "lte"} | more
    return DeviceAttributes(f"phone-{number:05d}", **keys)  # type: ignore[arg-type]  # the keys are those of a member


def a_timeline(
    actions: Sequence[Actions] = (), faults: Sequence[Faults] = (), seed: int = 1, **more: object
) -> Timeline:
    return Timeline(seed, actions=actions, faults=faults, **more)  # type: ignore[arg-type]


def scale(share: float = 1.0, at: str = "10 s", **keys: object) -> BudgetScaling:
    return BudgetScaling(at=at, factor=0.5, select=DeviceSelector(share=Share(share), **keys))  # type: ignore[arg-type]


class TestSelections:
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
    def test_a_share_is_met_within_the_error_of_a_sample(self, share: float) -> None:
        timeline = a_timeline([scale(share)])
        chosen = sum(bool(timeline.actions_for(member(n))) for n in range(4000))
        assert chosen == pytest.approx(4000 * share, abs=4 * (4000 * share * (1 - share)) ** 0.5)

    def test_each_action_and_each_fault_draws_for_itself(self) -> None:
        loss = LossFault(
            at="0 s", duration=Duration(S), share=Share(0.1), select=DeviceSelector(share=Share(0.5))
        )
        timeline = a_timeline([scale(0.5), scale(0.5)], [loss])
        pairs = {
            (
                *(action.number for action in timeline.actions_for(each)),
                len(timeline.link_windows(each, "uplink")),
            )
            for each in map(member, range(100))
        }
        assert pairs == {(*places, loses) for places in ((), (0,), (1,), (0, 1)) for loses in (0, 1)}

    def test_another_seed_chooses_others(self) -> None:
        def chosen(seed: int) -> list[bool]:
            return [bool(a_timeline([scale(0.5)], seed=seed).actions_for(member(n))) for n in range(50)]

        assert chosen(1) == chosen(1) != chosen(2)

    def test_what_does_not_fit_is_never_chosen(self) -> None:
        timeline = a_timeline([scale(1.0, labels={"os": "b"}), scale(0.5, groups=("tv",)), scale(1.0)])
        assert {action.number for n in range(50) for action in timeline.actions_for(member(n))} == {2}

    def test_a_direction_has_the_faults_of_its_stream(self) -> None:
        streams: tuple[tuple[int, Stream], ...] = ((3, "both"), (2, "uplink"), (1, "downlink"))
        losses = [
            LossFault(at=f"{at} s", duration=Duration(S), share=Share(0.1), stream=stream)
            for at, stream in streams
        ]
        timeline = a_timeline(faults=losses)
        assert [window.number for window in timeline.link_windows(member(0), "uplink")] == [1, 0]
        assert [window.number for window in timeline.link_windows(member(0), "downlink")] == [2, 0]


class TestWhen:
    def test_windows_are_sorted_and_told_apart(self) -> None:
        faults = (
            CloudSlowdown(at="later + 5 s", duration=Duration(S), factor=2.0),
            CloudOutage(at="3 s", duration=Duration(9 * S)),
            BrokerOutage(at="1 s", duration=Duration(S)),
        )
        stages = [Stage(name=name, duration=Duration(10 * S)) for name in ("sooner", "later")]
        timeline = a_timeline(faults=faults, stages=stages)
        assert [(w.start_ns // S, w.end_ns // S, w.number) for w in timeline.windows] == [
            (1, 2, 2),
            (3, 12, 1),
            (15, 16, 0),
        ]
        assert [window.number for window in timeline.cloud_windows] == [1, 0]
        assert [window.number for window in timeline.outages] == [2]

    def test_faults_end_with_the_run(self) -> None:
        timeline = a_timeline(faults=(CloudOutage(at="3 s", duration=Duration(99 * S)),), stop_ns=20 * S)
        assert [(w.start_ns // S, w.end_ns // S) for w in timeline.windows] == [(3, 20)]

    def test_deeds_are_in_the_order_of_their_time(self) -> None:
        actions: list[Actions] = [scale(at="9 s"), NetworkChange(at="3 s", to="lte"), scale(at="3 s")]
        scheduled = a_timeline(actions).actions_for(member(0))
        assert [(action.t_ns // S, action.number) for action in scheduled] == [(3, 1), (3, 2), (9, 0)]

    def test_new_users_come_within_the_span(self) -> None:
        timeline = a_timeline([UserChange(at="10 s", within=Duration(60 * S))])
        times = [timeline.actions_for(member(n))[0].t_ns / S for n in range(2000)]
        assert (min(times) >= 10, max(times) < 70) == (True, True)
        assert sum(times) / 2000 == pytest.approx(40, abs=4 * 60 / 12**0.5 / 2000**0.5)

    def test_devices_come_back_within_the_span_after_the_duration(self) -> None:
        cut = Disconnection(at="10 s", duration=Duration(5 * S), reconnect_within=Duration(20 * S))
        timeline = a_timeline([cut])
        (offline_spans,) = zip(*[offline_spans_of(timeline, n) for n in range(1000)], strict=True)
        assert {(each.start_ns, each.why) for each in offline_spans} == {(10 * S, ConnectivityCause.ACTION)}
        backs = [each.end_ns / S for each in offline_spans]
        assert (min(backs) >= 15, max(backs) < 35) == (True, True)
        assert sum(backs) / 1000 == pytest.approx(25, abs=4 * 20 / 12**0.5 / 1000**0.5)

    def test_an_outage_of_the_broker_is_an_absence_of_every_device(self) -> None:
        fault = BrokerOutage(at="10 s", duration=Duration(5 * S), reconnect_within=Duration(2 * S))
        timeline = a_timeline(faults=[fault])
        for n in range(50):
            (span,) = offline_spans_of(timeline, n)
            assert (span.start_ns, span.why) == (10 * S, ConnectivityCause.BROKER_DOWN)
            assert 15 * S <= span.end_ns < 17 * S


def offline_spans_of(timeline: Timeline, number: int) -> list[OfflineSpan]:
    device = member(number)
    return [
        each for source in timeline.offline_spans(device, timeline.actions_for(device)) for each in source
    ]


class TestOthers:
    """Adding a device, or a group, changes no other device's draws."""

    actions = (
        scale(0.5),
        UserChange(at="10 s", within=Duration(60 * S)),
        Disconnection(at="10 s", reconnect_within=Duration(20 * S), select=DeviceSelector(share=Share(0.3))),
    )

    def test_what_concerns_a_device_depends_on_nothing_but_its_id(self) -> None:
        names = tuple(f"phone-{n:05d}" for n in range(30))
        few = a_timeline(self.actions, names=names)
        more = a_timeline(self.actions, names=(*names, "phone-00030", "tv-00000"))
        for n in range(30):
            assert few.actions_for(member(n)) == more.actions_for(member(n))
            assert offline_spans_of(few, n) == offline_spans_of(more, n)

    def test_the_order_of_arrival_mixes_the_groups_and_new_devices_fall_in_between(self) -> None:
        stage = Stage(name="up", duration=Duration(100 * S), target=Share(0.5))
        groups = {name: tuple(f"{name}-{n:05d}" for n in range(500)) for name in ("phone", "tv")}

        def arrivals(names: tuple[str, ...]) -> list[str]:
            timeline = a_timeline(stages=[stage], names=names)
            away = {
                name: next(
                    connectivity_changes(timeline.offline_spans(DeviceAttributes(name, "", {}, "", ""), ())),
                    None,
                )
                for name in names
            }
            moves = sorted((move.t_ns, name) for name, move in away.items() if move)
            return [name for _, name in moves]

        both = arrivals((*groups["phone"], *groups["tv"]))
        assert len(both) == 500
        phones = sum(name.startswith("phone") for name in both)
        assert phones == pytest.approx(250, abs=4 * (1000 * 0.5 * 0.5) ** 0.5 / 2)
        alone = arrivals(groups["phone"])
        assert [name for name in alone if name in both] == [name for name in both if name in alone]
