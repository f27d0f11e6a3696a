"""Sending of errors to devices, beside the answers: few at a time, and never in their way."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from cloud.service.error_answers import ErrorAnswers
from cloud.service.statistics import ServiceStatistics
from wire.mqtt.client import Client, MqttError
from wire.signatures import Sign, sign_json
from wire.topics import TABLE, MessageKind, device_topic

LOG = logging.getLogger("peelfleet.cloud")

ERRORS_AT_ONCE: Final = 16


class ErrorSender:
    """Sends the errors of one service.

    Args:
        fleet: the fleet's name in topics.
        statistics: updated here.
        wake: called when there is an error to send, or room for the next one.
        sign: signs errors; None: they have no signature.
    """

    def __init__(
        self, fleet: str, statistics: ServiceStatistics, wake: Callable[[], None], sign: Sign | None
    ) -> None:
        self._fleet = fleet
        self._sign = sign
        self._statistics = statistics
        self._wake = wake
        self._errors = ErrorAnswers()
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, device: str, reason: str, text: str, *, seq: int = 0, wait_s: float | None = None) -> None:
        """Let an error be sent to *device*, unless it has had one just now.

        Args:
            device: who sent the report.
            reason: the counted reason.
            text: the exact problem.
            seq: number of the report; 0: the last one.
            wait_s: seconds until the report is answered, where the reason is the rate.
        """
        if self._errors.add(device, seq, reason, text, time.monotonic(), wait_s=wait_s):
            self._wake()
        else:
            self._statistics.errors[reason, "left_out"] += 1

    def start_sending(self, client: Client, tasks: asyncio.TaskGroup) -> None:
        """Start to send what waits, as far as there is room."""
        while len(self._errors) and len(self._tasks) < ERRORS_AT_ONCE:
            task = tasks.create_task(self._send(client, *self._errors.pop()))
            self._tasks.add(task)
            task.add_done_callback(self._on_sent)

    def cancel(self) -> None:
        """End what is being sent."""
        for task in self._tasks:
            task.cancel()

    def _on_sent(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake()

    async def _send(self, client: Client, device: str, reason: str, payload: bytes) -> None:
        """Send an error; a device has timers of its own, so one that is lost does no harm."""
        topic = device_topic(MessageKind.ERROR, self._fleet, device)
        payload = sign_json(payload, topic, self._sign)
        try:
            await client.publish(topic, payload, qos=TABLE[MessageKind.ERROR].qos)
        except MqttError as error:
            LOG.debug("an error on %s was not sent: %s", topic, error)
            return
        self._statistics.sent.add(len(payload))
        self._statistics.errors[reason, "sent"] += 1
