"""Answers as they arrive from a broker: parts are put together until an exchange has all of them."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from devices.simulated.exchange import Exchange
from wire.topics import LayerName
from wire.update_part import peek


@dataclass
class PendingAnswer:
    """A report without its answer."""

    exchange: Exchange
    sent_at: float
    parts: dict[int, bytes] = field(default_factory=dict)


class AnswerAssembler:
    """The exchanges that wait for their answers.

    Args:
        counts: messages by what became of them: parts, answers, duplicates.
        answered: told each exchange whose answer is complete.
    """

    def __init__(self, counts: Counter[str], answered: Callable[[Exchange], None]) -> None:
        self._counts = counts
        self._answered = answered
        self._waiting: dict[tuple[str, int], PendingAnswer] = {}
        self._layered: dict[str, tuple[Exchange, dict[LayerName, bytes]]] = {}

    def expect(self, exchange: Exchange) -> None:
        """Keep *exchange*, whose report leaves now, until its answer is complete."""
        self._waiting[exchange.device, exchange.seq] = PendingAnswer(exchange, time.monotonic())

    def expect_layers(self, exchange: Exchange) -> None:
        """Keep *exchange* until its device has got all layers of it; what it waited for before is void."""
        self._layered[exchange.device] = exchange, {}

    def forget(self, exchange: Exchange) -> None:
        """Nobody waits for the answer any more."""
        self._waiting.pop((exchange.device, exchange.seq), None)
        known = self._layered.get(exchange.device)
        if known is not None and known[0] is exchange:
            del self._layered[exchange.device]

    def overdue(self, older_than_s: float) -> list[Exchange]:
        """Return what has waited longer than so many seconds; it counts as sent now."""
        now = time.monotonic()
        found = [waiting for waiting in self._waiting.values() if waiting.sent_at <= now - older_than_s]
        for waiting in found:
            waiting.sent_at = now
        return [waiting.exchange for waiting in found]

    def part(self, device: str, payload: bytes) -> None:
        """Take in an update part that came for *device*.

        Raises:
            RemoteProtocolError: it is damaged.
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

    def layer(self, device: str, layer: LayerName, payload: bytes) -> None:
        """Take in a retained layer that came to *device*."""
        known = self._layered.get(device)
        if known is None or layer not in known[0].layers:
            self._counts["duplicates"] += 1
            return
        exchange, parts = known
        parts[layer] = payload
        if len(parts) == len(exchange.layers):
            del self._layered[device]
            self._complete(exchange, [parts[each] for each in exchange.layers])

    def _complete(self, exchange: Exchange, parts: list[bytes]) -> None:
        exchange.parts = parts
        self._counts["answers"] += 1
        self._answered(exchange)
