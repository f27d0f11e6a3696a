"""Moments, stages and selections."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.timeline.schedule import DeviceSelector, Moment, Stage, parse_moment, stage_starts
from wire.units import NS_PER_S, Duration, Share, format_duration

S = NS_PER_S
MIN = 60 * S


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("25 min", Moment(None, 25 * MIN)),
        ("0", Moment(None, 0)),
        ("1 h 30 min", Moment(None, 90 * MIN)),
        ("squeeze", Moment("squeeze", 0)),
        (" squeeze ", Moment("squeeze", 0)),
        ("squeeze + 30 s", Moment("squeeze", 30 * S)),
        ("squeeze+30 s", Moment("squeeze", 30 * S)),
        ("day-2.b + 1 min 30 s", Moment("day-2.b", 90 * S)),
        ("s", Moment("s", 0)),  # a stage, not a unit: a span begins with a number
    ],
)
def test_a_moment_is_a_span_a_stage_or_both(text: str, moment: Moment) -> None:
    assert parse_moment(text) == moment


@pytest.mark.parametrize(
    "text",
    ["", "25", "-5 s", "a - 5 s", "a + ", "a + 5", "5 s + a", "+ 5 s", "a b", "a + b", "a + 5 s + 5 s"],
)
def test_what_is_no_moment_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^at\(=.*\) must be a span of time such as '25 min', a stage, or"):
        parse_moment(text)


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,9}", fullmatch=True), st.integers(0, 10**18))
def test_a_moment_reads_back(stage: str, after_ns: int) -> None:
    after = format_duration(after_ns)
    assert parse_moment(f"{stage} + {after}") == Moment(stage, after_ns)
    assert parse_moment(after) == Moment(None, after_ns)


def test_stages_follow_each_other() -> None:
    stages = [Stage(name=name, duration=Duration(span * S)) for name, span in (("a", 5), ("b", 7), ("c", 1))]
    starts = stage_starts(stages)
    assert starts == {"a": 0, "b": 5 * S, "c": 12 * S}
    assert parse_moment("c + 2 s").resolve(starts) == 14 * S
    assert parse_moment("2 s").resolve(starts) == 2 * S


def test_a_selection_is_all_of_its_keys() -> None:
    device = {"group": "phone", "labels": {"os": "a", "region": "eu"}, "node": "slow", "network": "lte"}

    def fits(select: DeviceSelector) -> bool:
        return select.fits(**device)  # type: ignore[arg-type]  # the keys are those of the device

    assert fits(DeviceSelector())
    assert fits(
        DeviceSelector(groups=("tv", "phone"), labels={"os": "a"}, nodes=("slow",), networks=("lte",))
    )
    assert not fits(DeviceSelector(groups=("tv",)))
    assert not fits(DeviceSelector(labels={"os": "b"}))
    assert not fits(DeviceSelector(labels={"os": "a", "shape": "round"}))
    assert not fits(DeviceSelector(nodes=("fast",), groups=("phone",)))
    assert not fits(DeviceSelector(networks=("wifi",)))
    assert fits(DeviceSelector(share=Share(0.01)))  # the share is drawn elsewhere
