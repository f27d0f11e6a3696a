"""How long a client waits before it connects again, and what it says of connections that do not last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.mqtt.connection import FIRST_RETRY_S, LAST_RETRY_S
from wire.mqtt.reconnection import LASTING_S, Reconnections, plain_words

LASTED = st.none() | st.floats(0, 2 * LASTING_S)


def test_two_clients_with_one_name_wait_ever_longer_and_one_that_lasts_begins_anew() -> None:
    client, waits = Reconnections(), []
    for lasted_s in (0.1, 0.2, 0.3, 5.0, 20.0, 25.0, 30.0, 30.0, LASTING_S):
        client.ended(lasted_s)
        waits.append((client.wait_s(1.0), client.suspicious))
    assert waits == [
        (0.5, False), (1.0, False), (2.0, True), (4.0, True), (8.0, True), (16.0, True), (30.0, True),
        (30.0, True), (0.5, False),
    ]  # fmt: skip


def test_who_is_waited_for_waits_no_longer_than_it_must() -> None:
    client, waits = Reconnections(most=3), []
    for lasted_s in (0.1, 0.1, 0.1, 0.1, 0.1, None, None):
        client.ended(lasted_s)
        waits.append(client.wait_s(1.0))
    assert waits == [0.5, 1.0, 2.0, 2.0, 2.0, 4.0, 8.0]


@given(st.lists(LASTED, min_size=1), st.floats(0, 1))
def test_no_wait_is_shorter_or_longer_than_the_protocol_says(lasted: list[float | None], draw: float) -> None:
    client = Reconnections()
    for each in lasted:
        client.ended(each)
        assert FIRST_RETRY_S / 2 <= client.wait_s(draw) <= LAST_RETRY_S


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("[code:128] Unspecified error", "the broker closed the connection"),
        ("[code:135] Not authorized", "the broker refuses the login: Not authorized"),
        ("[code:134] Bad user name or password", "the broker refuses the login: Bad user name or password"),
        ("[code:7] The connection was lost.", "The connection was lost."),
        ("Operation timed out", "Operation timed out"),
        ("Disconnected during message iteration", "the broker closed the connection"),
    ],
)
def test_what_a_client_says_is_said_without_the_numbers_of_its_library(error: str, words: str) -> None:
    assert plain_words(Exception(error)) == words
