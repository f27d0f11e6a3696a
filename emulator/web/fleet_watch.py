"""The state of a whole fleet, as an observer hears it on the broker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from wire.errors import RemoteProtocolError
from wire.messages import BudgetReport, QualityReport, Status, decode
from wire.mqtt.client import MqttError, new_client
from wire.mqtt.connection import Connection
from wire.topics import ROOT, MessageKind, parse

AGAIN_S = 1.0
"""The wait before a new connection after one that broke."""


class DeviceState(msgspec.Struct):
    """One device, as far as its messages say."""

    online: bool = False
    budget_bytes: int = 0
    layer: int = 0
    ndcg_at_10: float = 0.0


@dataclass
class FleetState:
    """All devices, and counts since the start."""

    devices: dict[str, DeviceState] = field(default_factory=dict)
    reports: int = 0
    parts: int = 0
    part_bytes: int = 0

    def take(self, topic: str, payload: bytes) -> None:
        """Learn from a message; what is no message of a device is ignored."""
        address = parse(topic)
        if address.device is None:
            return
        if address.kind is MessageKind.PEE:
            self.parts, self.part_bytes = self.parts + 1, self.part_bytes + len(payload)
            return
        device = self.devices.setdefault(address.device, DeviceState())
        match address.kind:
            case MessageKind.STATUS if payload:
                device.online = decode(payload, Status).online
            case MessageKind.BUDGET:
                self.reports += 1
                device.budget_bytes = decode(payload, BudgetReport).budget_bytes
            case MessageKind.QUALITY:
                report = decode(payload, QualityReport)
                device.layer, device.ndcg_at_10 = report.layer, report.ndcg_at_10

    def as_json(self) -> bytes:
        """Return the state for the page."""
        return msgspec.json.encode(
            {
                "devices": dict(sorted(self.devices.items())),
                "reports": self.reports,
                "parts": self.parts,
                "part_bytes": self.part_bytes,
            }
        )


class FleetWatch:
    """Listens to a fleet, and gives its state to every page.

    Args:
        connection: of the observer.
        fleet: the fleet's name in topics.
        every_s: time between two states that a page receives.
    """

    def __init__(self, connection: Connection, fleet: str, every_s: float = 0.5) -> None:
        self.state = FleetState()
        self._connection = connection
        self._filter = f"{ROOT}/{fleet}/+/+"
        self._every_s = every_s

    async def run(self) -> None:
        """Listen until cancelled; a connection that breaks is made again."""
        while True:
            with contextlib.suppress(MqttError):
                async with new_client(self._connection) as client:
                    await client.subscribe(self._filter, qos=0)
                    async for message in client.messages:
                        with contextlib.suppress(RemoteProtocolError):
                            self.state.take(message.topic.value, message.payload)
            await asyncio.sleep(AGAIN_S)

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the state again and again, as server-sent events."""
        while True:
            yield b"data: " + self.state.as_json() + b"\n\n"
            await asyncio.sleep(self._every_s)
