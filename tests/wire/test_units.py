"""Quantities convert exactly or are refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import units


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_bytes, "64 MiB", 64 * 2**20),
        (units.parse_bytes, "1.5KiB", 1536),
        (units.parse_bytes, "9 GB", 9 * 10**9),
        (units.parse_bytes, 0, 0),
        (units.parse_duration, "250 ms", 250_000_000),
        (units.parse_duration, "1 h 30 min", 5400 * 10**9),
        (units.parse_duration, "0.5 us", 500),
        (units.parse_rate, "5 Mbps", 5_000_000),
        (units.parse_rate, "200 kB/s", 1_600_000),
        (units.parse_share, "0.5 %", 0.005),
        (units.parse_share, ".5 %", 0.005),
        (units.parse_bytes, ".5 GiB", 2**29),
        (units.parse_duration, "1 h .5 min", 3630 * 10**9),
        (units.parse_share, 0.25, 0.25),
    ],
)
def test_text_becomes_a_quantity(parse: Callable[[object], float], text: object, value: float) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "value", "rule"),
    [
        (units.parse_bytes, 64, "cannot read 64 as bytes: write for example '64 MiB'"),
        (units.parse_bytes, "64 MB ", None),
        (units.parse_bytes, "0.3 B", "not a whole number"),
        (units.parse_bytes, "64 mib", "units: B, kB"),
        (units.parse_bytes, "1 MiB 2 KiB", "cannot read"),
        (units.parse_bytes, "-1 B", "cannot read"),
        (units.parse_bytes, True, "cannot read True"),
        (units.parse_duration, "5 m", "units: ns"),
        (units.parse_duration, "1.5.5 s", "cannot read"),
        (units.parse_bytes, "1..5 MiB", "cannot read"),
        (units.parse_duration, "0.1 ns", "not a whole number"),
        (units.parse_duration, "1 s and 2", "cannot read"),
        (units.parse_share, "5", "as a share"),
        (units.parse_share, 1.5, "must be from 0 to 1"),
        (units.parse_share, False, "as a share"),
    ],
)
def test_what_is_not_exact_is_refused(
    parse: Callable[[object], float], value: object, rule: str | None
) -> None:
    if rule is None:
        parse(value)
        return
    with pytest.raises(ValueError, match=rule):
        parse(value)


@given(st.integers(0, 2**53))
def test_formatted_quantities_read_back_exactly(value: int) -> None:
    assert units.parse_bytes(units.format_bytes(value)) == value
    assert units.parse_duration(units.format_duration(value)) == value
    assert units.parse_rate(units.format_rate(value)) == value


@given(st.floats(0, 1))
def test_formatted_shares_read_back_exactly(value: float) -> None:
    text = units.format_share(value)
    assert (units.parse_share(text) if "%" in text else units.parse_share(float(text))) == value


def test_a_share_is_read_the_same_way_wherever_one_is_asked_for() -> None:
    assert [units.read_share(text) for text in ("45 %", "45%", "0.45", ".45", " 1 ", "0")] == [
        0.45, 0.45, 0.45, 0.45, 1.0, 0.0,
    ]  # fmt: skip
    for wrong in (45, 45.5):
        with pytest.raises(ValueError, match=rf"to 100 %; did you mean '{wrong} %'\?"):
            units.parse_share(wrong)
    with pytest.raises(ValueError, match="did you mean '45 %'"):
        units.read_share("45")
    with pytest.raises(ValueError, match="cannot read 'half' as a share"):
        units.read_share("half")
