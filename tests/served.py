"""A small model behind a real cloud service and a real broker, for devices that are not ours."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

from broker_config.endpoint import Credentials
from broker_config.launch import RunningBroker, launch_broker
from cloud.blocks.store import BlockStore, save_store
from emulator.processes.cloud_process import CloudProcess, cloud_process
from emulator.simulation.model_cache import prepare_model
from scenarios.language.load import parse
from scenarios.language.schema import Updates
from tests.emulator.scenarios import TINY
from wire.messages import ModelNotice, decode
from wire.mqtt.client import Message
from wire.mqtt.connection import Connection
from wire.mqtt.direct_queue import direct_queue
from wire.topics import MessageKind, Role, fleet_topic

FLEET = "served"
PASSWORD = "not a secret"


@dataclass(frozen=True)
class Served:
    """A broker and a cloud that serves a model to fleet ``served``."""

    broker: RunningBroker
    cloud: CloudProcess
    store: BlockStore
    folder: Path
    """Where the store lies."""

    def device(self, name: str) -> Connection:
        """Return how a device connects."""
        endpoint = self.broker.endpoint
        return Connection(endpoint.host, endpoint.port, name, name, PASSWORD)

    def url(self, name: str) -> str:
        """Return the broker's URL for a device."""
        return self.broker.endpoint.url.replace("://", f"://{name}:{PASSWORD.replace(' ', '%20')}@")

    def connection(self, role: Role) -> Connection:
        """Return how a role connects."""
        return self.broker.endpoint.connection(role, f"test-{role}")

    async def announced(self) -> ModelNotice:
        """Wait until the cloud has announced its model."""
        async with aiomqtt.Client(**self.connection(Role.CLOUD).client_options()) as client:
            await client.subscribe(fleet_topic(MessageKind.MODEL, FLEET), qos=1)
            return decode((await anext(client.messages)).payload, ModelNotice)


@contextmanager
def served(root: Path, folder: Path, devices: Sequence[str], options: Sequence[str] = ()) -> Iterator[Served]:
    """Serve a small model while the block runs.

    Args:
        root: where models are cached.
        folder: of the test.
        devices: who may connect.
        options: more for ``peelfleet cloud``.
    """
    scenario = parse(TINY, "tiny.yaml")
    model = prepare_model(scenario.data, scenario.model, root, lambda *_: None)
    save_store(model.store, folder / "store")
    passwords = dict.fromkeys(devices, PASSWORD)
    roles = {role: Credentials(f"_{role}", "secret") for role in (Role.CLOUD, Role.FLEET, Role.OBSERVER)}
    with (
        launch_broker("mosquitto", devices=passwords, credentials=roles) as broker,
        cloud_process([folder / "store"], broker.endpoint, FLEET, Updates(), options=options) as cloud,
    ):
        yield Served(broker, cloud, model.store, folder / "store")


class Listener:
    """Hears what a role may hear, and keeps the last message of each topic.

    Args:
        connection: of the role.
        filters: what it subscribes to.
    """

    def __init__(self, connection: Connection, *filters: str) -> None:
        self.heard: dict[str, list[bytes]] = {}
        self._filters = filters
        self._client = aiomqtt.Client(**connection.client_options(), queue_type=direct_queue(self._take))

    async def __aenter__(self) -> "Listener":
        await self._client.__aenter__()
        for each in self._filters:
            await self._client.subscribe(each, qos=1)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.__aexit__(None, None, None)

    def _take(self, message: Message) -> None:
        self.heard.setdefault(message.topic.value, []).append(message.payload)
