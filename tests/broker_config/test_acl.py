"""Access rules match the topic table, for mosquitto and for the embedded broker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_config.acl import may_subscribe, mosquitto_acl, permits
from wire.topics import Role, access_rules, matches

USERS = {"_fleet": Role.FLEET, "_cloud": Role.CLOUD, "_observer": Role.OBSERVER, "d1": Role.DEVICE}
ROLES = st.sampled_from(sorted(USERS.items()))
LEVELS = st.sampled_from(["peel", "1", "f", "d1", "_cloud", "budget", "pee", "model", "$SYS", "broker", "x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=6).map("/".join)
FILTERS = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(st.one_of(LEVELS, st.just("+")), min_size=1, max_size=5),
    st.sampled_from([[], ["#"]]),
)


def test_the_text_for_a_known_table() -> None:
    assert mosquitto_acl(USERS) == "\n".join(
        [
            "# Generated from wire.topics by broker_config.acl.",
            "",
            "user _fleet",
            "topic deny peel/1/+/_fleet/#",
            "topic write peel/1/+/+/budget",
            "topic read peel/1/+/+/pee",
            "topic write peel/1/+/+/quality",
            "topic write peel/1/+/+/status",
            "topic read peel/1/+/model",
            "topic read peel/1/+/blocks/+/+/+",
            "topic read peel/1/+/+/error",
            "topic read peel/1/+/cloud/+/status",
            "topic read peel/1/+/rollout",
            "",
            "user _cloud",
            "topic deny peel/1/+/_cloud/#",
            "topic read peel/1/+/+/budget",
            "topic write peel/1/+/+/pee",
            "topic read peel/1/+/+/quality",
            "topic read peel/1/+/+/status",
            "topic write peel/1/+/model",
            "topic write peel/1/+/blocks/+/+/+",
            "topic write peel/1/+/+/error",
            "topic write peel/1/+/cloud/+/status",
            "topic write peel/1/+/rollout",
            "topic read peel/1/+/order",
            "topic write peel/1/+/order",
            "",
            "user _observer",
            "topic deny peel/1/+/_observer/#",
            "topic read peel/1/#",
            "topic read $SYS/broker/#",
            "",
            "pattern write peel/1/+/%u/budget",
            "pattern read peel/1/+/%u/pee",
            "pattern write peel/1/+/%u/quality",
            "pattern write peel/1/+/%u/status",
            "pattern read peel/1/+/model",
            "pattern read peel/1/+/blocks/+/+/+",
            "pattern read peel/1/+/%u/error",
            "pattern read peel/1/+/cloud/+/status",
            "pattern read peel/1/+/rollout",
            "",
        ]
    )


@pytest.mark.parametrize("role", Role)
def test_every_rule_of_the_table_is_in_the_text(role: Role) -> None:
    text = mosquitto_acl({"_someone": role})
    word = "pattern" if role is Role.DEVICE else "topic"
    assert {f"{word} {rule.access} {rule.filter}" for rule in access_rules(role)} <= set(text.splitlines())


@pytest.mark.parametrize(
    ("role", "user", "access", "topic", "expected"),
    [
        (Role.DEVICE, "d1", "write", "peel/1/f/d1/budget", True),
        (Role.DEVICE, "d1", "write", "peel/1/f/d2/budget", False),
        (Role.DEVICE, "d1", "read", "peel/1/f/d1/budget", False),
        (Role.DEVICE, "d1", "read", "peel/1/f/d2/pee", False),
        (Role.DEVICE, "d1", "read", "peel/1/f/model", True),
        (Role.FLEET, "_fleet", "write", "peel/1/f/d2/budget", True),
        (Role.FLEET, "_fleet", "write", "peel/1/f/_fleet/budget", False),
        (Role.CLOUD, "_cloud", "read", "peel/1/f/model", True),
        (Role.OBSERVER, "_observer", "read", "$SYS/broker/uptime", True),
        (Role.OBSERVER, "_observer", "write", "peel/1/f/_observer/budget", False),
    ],
)
def test_the_check_of_the_embedded_broker(
    role: Role, user: str, access: str, topic: str, expected: bool
) -> None:
    assert permits(role, user, "read" if access == "read" else "write", topic) is expected


@given(ROLES, FILTERS, TOPICS)
def test_a_refused_subscription_could_have_delivered_nothing(
    user: tuple[str, Role], topic_filter: str, topic: str
) -> None:
    name, role = user
    if matches(topic_filter, topic) and permits(role, name, "read", topic):
        assert may_subscribe(role, name, topic_filter)


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [
        ("peel/1/f/d1/pee", True),
        ("peel/1/f/+/pee", True),
        ("#", True),
        ("peel/1/f/d2/pee", False),
        ("peel/1/f/d1/budget", False),
        ("peel/1/f", False),
        ("$SYS/#", False),
        ("$share/g/peel/1/f/d1/pee", False),
    ],
)
def test_what_a_device_may_subscribe_to(topic_filter: str, expected: bool) -> None:
    assert may_subscribe(Role.DEVICE, "d1", topic_filter) is expected
