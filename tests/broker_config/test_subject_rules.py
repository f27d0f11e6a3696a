"""Access rules of RabbitMQ and NATS say what the topic table says, in their own words."""

import json
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from broker_config import nats, rabbitmq
from broker_config.accounts import Account
from broker_config.acl import permits
from tests.broker_config.test_acl import USERS

ACCOUNTS = [Account(user, role, "secret") for user, role in USERS.items()]
LEVELS = ["peel", "1", "f", "d1", "d2", "budget", "pee", "model", "blocks", "cloud", "status", "error", "7"]
TOPICS = st.one_of(
    st.lists(st.sampled_from(LEVELS), min_size=1, max_size=7),
    st.lists(st.sampled_from(LEVELS), min_size=1, max_size=5).map(lambda end: ["peel", "1", *end]),
).map("/".join)
ACCESS = st.sampled_from(["read", "write"])


def subject_matches(pattern: str, subject: str) -> bool:
    """Tell whether a NATS subject matches a pattern: ``*`` is one token, ``>`` one or more."""
    tokens = [{"*": "[^.]+", ">": ".+"}.get(token, re.escape(token)) for token in pattern.split(".")]
    return re.fullmatch(r"\.".join(tokens), subject) is not None


@given(st.sampled_from(ACCOUNTS), ACCESS, TOPICS)
def test_rabbitmq_permits_what_the_table_permits(account: Account, access: str, topic: str) -> None:
    rights = next(
        each for each in rabbitmq.definitions(ACCOUNTS)["topic_permissions"] if each["user"] == account.user
    )
    allowed = re.search(rights[access], topic.replace("/", ".")) is not None
    assert allowed == permits(account.role, account.user, access, topic)  # type: ignore[arg-type]  # of ACCESS


@given(st.sampled_from(ACCOUNTS), ACCESS, TOPICS)
def test_nats_permits_what_the_table_permits(account: Account, access: str, topic: str) -> None:
    users = nats.configuration(Path("/x"), "127.0.0.1", 1, ACCOUNTS)["authorization"]["users"]
    permissions = next(each for each in users if each["user"] == account.user)["permissions"]
    subjects = permissions["publish" if access == "write" else "subscribe"]
    if subjects == {"deny": ">"}:
        subjects = []
    allowed = any(subject_matches(pattern, topic.replace("/", ".")) for pattern in subjects)
    # In MQTT, peel/1/# includes peel/1 itself.
    assert allowed == permits(account.role, account.user, access, topic)  # type: ignore[arg-type]  # of ACCESS


def test_a_device_of_rabbitmq_has_the_queues_of_its_own_client_ids() -> None:
    permissions = {each["user"]: each for each in rabbitmq.definitions(ACCOUNTS)["permissions"]}
    queues = re.compile(permissions["d1"]["read"])
    client_ids = ["d1", "fleet.d1", "d2", "fleet.d2", "d1x", "d1.d2"]
    assert [each for each in client_ids if queues.search(f"mqtt-subscription-{each}qos1")] == [
        "d1",
        "fleet.d1",
    ]


def test_no_password_of_rabbitmq_is_written() -> None:
    assert "secret" not in json.dumps(rabbitmq.definitions(ACCOUNTS))
    one, other = rabbitmq.password_hash("secret"), rabbitmq.password_hash("secret")
    assert one != other
