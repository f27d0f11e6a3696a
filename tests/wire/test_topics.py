"""Topics are built, parsed and matched by one table."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import LocalProtocolError, RemoteProtocolError
from wire.topics import (
    NAME,
    TABLE,
    AccessRule,
    LayerName,
    MessageKind,
    Role,
    TopicAddress,
    access_rules,
    cloud_topic,
    device_topic,
    fleet_topic,
    layer_topic,
    matches,
    parse,
    subscription,
)

names = st.from_regex(NAME, fullmatch=True)


@given(st.sampled_from(MessageKind), names, names)
def test_a_topic_parses_to_what_it_was_built_from(kind: MessageKind, fleet: str, device: str) -> None:
    if TABLE[kind].per_device:
        topic, address = device_topic(kind, fleet, device), TopicAddress(kind, fleet, device)
    elif TABLE[kind].per_layer:
        layer = LayerName(device, 3, 64)
        topic, address = layer_topic(fleet, layer), TopicAddress(kind, fleet, layer=layer)
    elif TABLE[kind].per_replica:
        topic, address = cloud_topic(fleet, device), TopicAddress(kind, fleet, replica=device)
    else:
        topic, address = fleet_topic(kind, fleet), TopicAddress(kind, fleet)
    assert parse(topic) == address
    assert matches(subscription(kind), topic)
    assert matches(subscription(kind, fleet), topic)


@given(st.text(max_size=40))
def test_any_text_is_a_topic_or_refused_never_a_crash(text: str) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse(text)


@pytest.mark.parametrize(
    "topic",
    [
        "peel/1/f/model/budget/x",
        "peel/1/f/cloud/status/x",
        "peel/1/f/cloud/+/status",
        "peel/1/f/budget",
        "peel/1/f/d/model",
        "peel/2/f/d/pee",
        "peel/1//d/pee",
    ],
)
def test_a_topic_that_is_not_in_the_table_is_refused(topic: str) -> None:
    with pytest.raises(RemoteProtocolError, match="unknown_topic"):
        parse(topic)


def test_a_name_with_a_wildcard_never_becomes_a_topic() -> None:
    with pytest.raises(LocalProtocolError, match=r"name\(='\+'\) must be"):
        device_topic(MessageKind.PEE, "fleet", "+")


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/+", "a", False),
        ("a", "a/b", False),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
    ],
)
def test_matching_follows_the_mqtt_standard(topic_filter: str, topic: str, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected


def test_a_device_may_touch_its_own_topics_only_and_the_model() -> None:
    assert access_rules(Role.DEVICE) == (
        AccessRule("write", "peel/1/+/%u/budget"),
        AccessRule("read", "peel/1/+/%u/pee"),
        AccessRule("write", "peel/1/+/%u/quality"),
        AccessRule("write", "peel/1/+/%u/status"),
        AccessRule("read", "peel/1/+/model"),
        AccessRule("read", "peel/1/+/blocks/+/+/+"),
        AccessRule("read", "peel/1/+/%u/error"),
        AccessRule("read", "peel/1/+/cloud/+/status"),
        AccessRule("read", "peel/1/+/rollout"),
    )


def test_every_topic_has_a_reader_and_a_writer_and_an_observer_writes_nothing() -> None:
    assert all(route.readers and route.writers for route in TABLE.values())
    assert {rule.access for rule in access_rules(Role.OBSERVER)} == {"read"}
