"""What a fleet has left at a broker: found by the statuses of clouds and devices, and cleared."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from broker_config import mosquitto
from broker_config.leftovers import find_leftovers
from cloud.service.responder import Responder, notice_of
from tests.foreign import foreign_broker
from tests.rollouts import a_rollout
from tests.worlds import a_store
from wire.messages import MAX_NAMED_MODELS, PROTOCOL, CloudStatus, Status, encode
from wire.mqtt.client import new_client, publish
from wire.mqtt.connection import Connection
from wire.mqtt.retained import read_retained
from wire.topics import LayerName, MessageKind, cloud_topic, device_topic, fleet_topic, layer_topic, parse

STORE = a_store()
CLOUD = Responder(STORE)


def status(online: bool, *models: str) -> bytes:
    reason = "start" if online else "connection lost"
    return encode(CloudStatus(online=online, reason=reason, protocol=PROTOCOL, models=models))


NOTICE = fleet_topic(MessageKind.MODEL, "f")
OLD = [layer_topic("f", LayerName("old", 0, layer)) for layer in (1, 2)]
HERE, AWAY = (device_topic(MessageKind.STATUS, "f", name) for name in ("here", "away"))
MAIN, OTHER = cloud_topic("f", "main"), cloud_topic("f", "other")
RETAINED = {
    NOTICE: encode(notice_of(STORE)),
    **dict.fromkeys(OLD, CLOUD.layer_part(0, 1)),
    layer_topic("f", LayerName(STORE.version, 0, 1)): CLOUD.layer_part(0, 1),
    HERE: encode(Status(online=True, reason="start")),
    AWAY: encode(Status(online=False, reason="connection lost")),
    MAIN: status(True, STORE.version),
    OTHER: status(False, "old"),
    device_topic(MessageKind.STATUS, "f", "junk"): b"{",
}


def topics(retained: dict[str, bytes]) -> set[str]:
    return {each.topic for each in find_leftovers(retained)}


def test_what_a_living_cloud_serves_and_a_living_device_says_stays() -> None:
    assert topics(RETAINED) == {*OLD, AWAY, OTHER}


def test_where_no_cloud_lives_its_notice_and_its_layers_are_left_over() -> None:
    assert topics(RETAINED | {MAIN: status(False, STORE.version)}) == RETAINED.keys() - {
        HERE,
        device_topic(MessageKind.STATUS, "f", "junk"),
    }


def test_where_no_service_says_anything_or_one_serves_more_than_it_says_all_layers_stay() -> None:
    silent = {topic: payload for topic, payload in RETAINED.items() if topic not in (MAIN, OTHER)}
    assert topics(silent) == {AWAY}
    many = status(True, *(f"m{number}" for number in range(MAX_NAMED_MODELS)))
    assert topics(RETAINED | {MAIN: many}) == {AWAY, OTHER}


def test_a_rollout_is_left_over_when_neither_of_its_versions_is_served() -> None:
    topic, order = (fleet_topic(kind, "f") for kind in (MessageKind.ROLLOUT, MessageKind.ORDER))
    for versions, is_left in (
        (("v2", STORE.version), False),
        ((STORE.version, "v1"), False),
        (("v2", "v1"), True),
    ):
        told = encode(a_rollout(version=versions[0], previous=versions[1]))
        assert topics(RETAINED | {topic: told, order: told}) == {
            *topics(RETAINED), *((topic, order) if is_left else ())
        }  # fmt: skip


@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
def test_the_verb_lists_what_is_left_over_and_clears_it(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite peel/1/f/#\n")

    async def fill(port: int) -> None:
        async with new_client(Connection("127.0.0.1", port, "filler")) as client:
            for topic, payload in RETAINED.items():
                await publish(client, parse(topic).kind, topic, payload)

    def clean(url: str, answer: str, *options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "emulator.cli", "broker", "clean", "--fleet", "f", "--broker", url]
        return subprocess.run([*command, *options], input=answer, capture_output=True, text=True, timeout=60)

    with foreign_broker(tmp_path, f"acl_file {rules}") as broker:
        asyncio.run(fill(broker.port))
        refused = clean(broker.url, "n\n")
        cleared = clean(broker.url, "", "--yes")
        kept = asyncio.run(read_retained(Connection("127.0.0.1", broker.port, "reader"), "f"))
    assert refused.returncode == 0, refused.stderr
    assert refused.stdout.splitlines()[:3] == [
        f"{AWAY}  device away: connection lost",
        f"{OTHER}  service away: connection lost",
        "2 retained layers  model old is not served",
    ]
    assert (cleared.returncode, cleared.stdout.splitlines()[-1]) == (0, "cleared 4 messages")
    assert kept.keys() == RETAINED.keys() - topics(RETAINED)
