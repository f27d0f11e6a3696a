"""The notice of a model precedes any answer, the service reads it back, and old layers are cleared."""

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_config import mosquitto
from cloud.blocks.store import save_store
from tests.cloud.services import FLEET, PATIENCE_S, STORE, Fleet, World, a_world, wait_for
from tests.foreign import foreign_broker
from tests.served import Listener
from tests.worlds import a_store
from wire.messages import ModelNotice, decode
from wire.mqtt.client import Message
from wire.topics import MessageKind, Role, parse, subscription
from wire.update_part import decode_part

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]
NEWER = a_store(users=6, seed=2)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as world:
        yield world


def serve_newer(world: World) -> None:
    """Let the next service find another model where the first was."""
    shutil.rmtree(world.folder / "store")
    save_store(NEWER, world.folder / "store")


class InOrder(Listener):
    """Hears of which models the notices and answers are, in the order of their coming."""

    def __init__(self, world: World) -> None:
        observer = world.connection(Role.OBSERVER, "in-order")
        super().__init__(observer, f"peel/1/{FLEET}/model", subscription(MessageKind.PEE, FLEET))
        self.order: list[tuple[MessageKind, str]] = []

    def _take(self, message: Message) -> None:
        kind = parse(message.topic.value).kind
        if kind is MessageKind.MODEL:
            self.order.append((kind, decode(message.payload, ModelNotice).version))
        else:
            self.order.append((kind, decode_part(message.payload).layout.model))


def test_no_answer_of_a_new_model_comes_before_its_notice(world: World) -> None:
    devices = [f"d{number}" for number in range(64)]

    async def story() -> list[tuple[MessageKind, str]]:
        async with Fleet(world) as fleet:
            assert world.cloud().ready().send(signal.SIGTERM) == 0
            await fleet.ask_all(devices)  # they wait at the broker
            serve_newer(world)
            heard = InOrder(world)
            async with heard:
                world.cloud()
                await fleet.hears_all(devices)
                return list(heard.order)

    order = asyncio.run(story())
    assert order[:2] == [(MessageKind.MODEL, STORE.version), (MessageKind.MODEL, NEWER.version)]
    assert set(order[2:]) == {(MessageKind.PEE, NEWER.version)}


def retained(world: World) -> set[str]:
    """Return the models whose layers the broker keeps."""

    async def hear() -> set[str]:
        everything = subscription(MessageKind.BLOCKS, FLEET)
        async with Listener(world.connection(Role.OBSERVER, "layers"), everything) as heard:
            await asyncio.sleep(0.3)
            return {topic.split("/")[4] for topic, payloads in heard.heard.items() if payloads[-1]}

    return asyncio.run(hear())


def test_layers_that_nobody_serves_any_more_are_cleared_from_the_broker(world: World) -> None:
    world.cloud("--retain-blocks").ready().send(signal.SIGTERM)
    assert retained(world) == {STORE.version}
    serve_newer(world)
    second = world.cloud("--retain-blocks").ready()
    wait_for(lambda: bool(second.said("cleared")), "the older model's layers cleared")
    assert retained(world) == {NEWER.version}
    second.send(signal.SIGTERM)
    third = world.cloud().ready()  # which leaves none
    wait_for(lambda: bool(third.said("cleared")), "all layers cleared")
    assert retained(world) == set()


@pytest.mark.slow
def test_who_may_not_announce_its_model_ends_and_says_so(world: World, tmp_path: Path) -> None:
    """mosquitto takes what it forbids without a word."""
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite peel/1/another/#\n")
    with foreign_broker(tmp_path, f"acl_file {rules}") as broker:
        cloud = world.cloud(url=broker.url)
        status = cloud.process.wait(PATIENCE_S + 15)
    last = cloud.log.read_text().splitlines()[-1]
    assert (status, last.startswith("peelfleet: the broker took our model notice")) == (1, True)
    assert f"peel/1/{FLEET}/model" in last
    assert f"--fleet {FLEET}" in last
