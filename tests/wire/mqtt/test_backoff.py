"""Waits before the next attempt to connect, and connections that do not last."""

from hypothesis import given
from hypothesis import strategies as st

from wire.mqtt.backoff import FIRST_RETRY_S, LAST_RETRY_S, LASTING_S, Backoff, backoff_s

LASTED = st.none() | st.floats(0, 2 * LASTING_S)


@given(st.integers(1, 100), st.floats(0, 1))
def test_the_wait_before_the_next_attempt_doubles_up_to_a_limit_and_half_of_it_is_random(
    attempt: int, draw: float
) -> None:
    longest_s = backoff_s(attempt, 1.0)
    assert longest_s == min(FIRST_RETRY_S * 2 ** (attempt - 1), LAST_RETRY_S)
    assert longest_s / 2 <= backoff_s(attempt, draw) <= longest_s


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_waits_grow_with_attempts_and_with_the_draw(attempt: int, one: float, other: float) -> None:
    wait_s = backoff_s(attempt, one)
    assert backoff_s(attempt + 1, one) >= wait_s
    assert (one < other) <= (wait_s <= backoff_s(attempt, other))


def test_two_clients_with_one_id_wait_ever_longer_and_a_lasting_connection_starts_again() -> None:
    client, waits = Backoff(lambda: 1.0), []
    for lasted_s in (0.1, 0.2, 0.3, 5.0, 20.0, 25.0, 30.0, 30.0, LASTING_S):
        client.ended(lasted_s)
        waits.append((client.wait_s(), client.suspicious))
    assert waits == [
        (0.5, False), (1.0, False), (2.0, True), (4.0, True), (8.0, True), (16.0, True), (30.0, True),
        (30.0, True), (0.5, False),
    ]  # fmt: skip


def test_after_brief_connections_the_wait_is_limited() -> None:
    client, waits = Backoff(lambda: 1.0, brief_limit=3), []
    for lasted_s in (0.1, 0.1, 0.1, 0.1, 0.1, None, None):
        client.ended(lasted_s)
        waits.append(client.wait_s())
    assert waits == [0.5, 1.0, 2.0, 2.0, 2.0, 4.0, 8.0]


@given(st.lists(LASTED, min_size=1), st.floats(0, 1))
def test_no_wait_is_shorter_or_longer_than_the_protocol_says(lasted: list[float | None], draw: float) -> None:
    client = Backoff(lambda: draw)
    for lasted_s in lasted:
        client.ended(lasted_s)
        assert FIRST_RETRY_S / 2 <= client.wait_s() <= LAST_RETRY_S
