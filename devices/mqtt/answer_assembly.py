"""Assembly of answers from the parts that arrive from a broker."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from devices.simulated.exchange import Exchange
from wire.topics import LayerName
from wire.update_part import peek


@dataclass
class PendingAnswer:
    """A report whose answer is not complete."""

    exchange: Exchange
    sent_at: float
    parts: dict[int, bytes] = field(default_factory=dict)


class AnswerAssembler:
    """Collects the parts of each exchange that waits for its answer.

    Args:
        counts: counters of parts, answers and duplicates.
        on_answer: called with each exchange whose answer is complete.
    """

    def __init__(self, counts: Counter[str], on_answer: Callable[[Exchange], None]) -> None:
        self._counts = counts
        self._on_answer = on_answer
        self._waiting: dict[tuple[str, int], PendingAnswer] = {}
        self._layers: dict[str, tuple[Exchange, dict[LayerName, bytes]]] = {}

    def expect(self, exchange: Exchange) -> None:
        """Start to wait for the answer of *exchange*, whose report is sent now."""
        self._waiting[exchange.report.device, exchange.report.seq] = PendingAnswer(exchange, time.monotonic())

    def expect_layers(self, exchange: Exchange) -> None:
        """Start to wait for all layers of *exchange*; it replaces an earlier exchange of its device."""
        self._layers[exchange.report.device] = exchange, {}

    def forget(self, exchange: Exchange) -> None:
        """Stop waiting for the answer of *exchange*."""
        self._waiting.pop((exchange.report.device, exchange.report.seq), None)
        pending = self._layers.get(exchange.report.device)
        if pending is not None and pending[0] is exchange:
            del self._layers[exchange.report.device]

    def overdue(self, older_than_s: float) -> list[Exchange]:
        """Return the exchanges that have waited longer than *older_than_s*; they count as sent now."""
        now = time.monotonic()
        overdue = [pending for pending in self._waiting.values() if pending.sent_at <= now - older_than_s]
        for pending in overdue:
            pending.sent_at = now
        return [pending.exchange for pending in overdue]

    def add_part(self, device: str, payload: bytes) -> None:
        """Add an update part that arrived for *device*.

        Raises:
            RemoteProtocolError: the part is damaged.
        """
        seq, fields = peek(payload)
        self._counts["parts"] += 1
        waiting = self._waiting.get((device, seq))
        if waiting is None or fields.part in waiting.parts:
            self._counts["duplicates"] += 1
            return
        waiting.parts[fields.part] = payload
        if len(waiting.parts) == fields.parts:
            del self._waiting[device, seq]
            self._complete(waiting.exchange, [part for _, part in sorted(waiting.parts.items())])

    def add_layer(self, device: str, layer: LayerName, payload: bytes) -> None:
        """Add a retained layer that arrived for *device*."""
        pending = self._layers.get(device)
        if pending is None or layer not in pending[0].report.layers:
            self._counts["duplicates"] += 1
            return
        exchange, parts = pending
        parts[layer] = payload
        if len(parts) == len(exchange.report.layers):
            del self._layers[device]
            self._complete(exchange, [parts[name] for name in exchange.report.layers])

    def _complete(self, exchange: Exchange, parts: list[bytes]) -> None:
        exchange.parts = parts
        self._counts["answers"] += 1
        self._on_answer(exchange)
