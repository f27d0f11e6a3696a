"""The cloud's capacity in simulated time: how long a report waits, and how long it takes to answer it.

`Unlimited` begins with every report when it arrives. `Queue` has so many workers: reports wait their turn,
the newest of a device takes the place of its older one, and a queue that is full refuses. Devices that
share a queue must live in one environment.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
import simpy

from devices.simulated.exchange import Drop, Exchange, Expect, Unanswered
from devices.timeline.faults import CloudFault, FaultWindow, service_interval
from wire.units import TIME_UNITS, Duration, format_duration


class Cloud(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cloud service, as simulated time sees it."""

    service_time: Duration = Duration(5 * TIME_UNITS["ms"])
    """Simulated time that it takes to answer a report, without waiting; the mean where it varies."""
    distribution: Literal["constant", "exponential"] = "constant"
    """How the service time varies; drawn only where workers are limited."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    """How many reports are worked on at once, the others wait in order of arrival; null: all of them."""
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None
    """How many reports may wait; one more is refused, and its device asks again. Null: any number."""
    coalesce: bool = True
    """Whether a device's newer report takes the place of its older one in the queue."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.service_time <= 0:
            raise ValueError(
                f"service_time(={format_duration(self.service_time)}) must be > 0 where workers are limited"
            )
        if self.workers is None and (self.queue_limit is not None or self.distribution != "constant"):
            key, value = (
                ("queue_limit", self.queue_limit)
                if self.queue_limit is not None
                else ("distribution", self.distribution)
            )
            raise ValueError(f"{key}(={value}) needs workers: without them nothing waits")


class Unlimited:
    """A cloud that begins with every report at once.

    Args:
        service_ns: how long it takes.
        windows: when it is down or slow.
    """

    def __init__(self, service_ns: int, windows: Sequence[FaultWindow[CloudFault]] = ()) -> None:
        self._service_ns = service_ns
        self._windows = tuple(windows)

    def take(self, exchange: Exchange, expect: Expect, drop: Drop) -> None:
        """Say when the answer leaves."""
        begun_ns = exchange.arrived_ns
        if self._windows:
            exchange.begun_ns, exchange.left_ns = service_interval(begun_ns, self._service_ns, self._windows)
        else:
            exchange.begun_ns, exchange.left_ns = begun_ns, begun_ns + self._service_ns
        expect(exchange)


class _Waiting(NamedTuple):
    exchange: Exchange
    expect: Expect
    drop: Drop


class Queue:
    """A cloud with so many workers, first come first served.

    Args:
        env: the environment that all devices live in.
        cloud: workers, service time, limit.
        rng: the stream for service times.
        windows: when it is down or slow.
    """

    def __init__(
        self,
        env: simpy.Environment,
        cloud: Cloud,
        rng: np.random.Generator,
        windows: Sequence[FaultWindow[CloudFault]] = (),
    ) -> None:
        assert cloud.workers is not None
        self._env = env
        self._cloud = cloud
        self._windows = tuple(windows)
        self._idle = cloud.workers
        self._services = _services(cloud, rng)
        self._waiting: OrderedDict[tuple[int, int], _Waiting] = OrderedDict()

    def take(self, exchange: Exchange, expect: Expect, drop: Drop) -> None:
        """Queue the report when it arrives."""
        wait_ns = exchange.arrived_ns - int(self._env.now)
        arrival = self._env.timeout(wait_ns, _Waiting(exchange, expect, drop))
        arrival.callbacks.append(self._arrive)

    def _arrive(self, event: simpy.Event) -> None:
        arrived: _Waiting = event.value  # type: ignore[assignment]  # as `take` gave it
        exchange = arrived.exchange
        if self._idle:
            self._idle -= 1
            self._begin(arrived)
            return
        key = (exchange.number, 0 if self._cloud.coalesce else exchange.seq)
        older = self._waiting.get(key)
        if older is not None and older.exchange.seq > exchange.seq:
            arrived.drop(exchange, Unanswered.REPLACED)  # it was overtaken on its way
        elif older is not None:
            self._waiting[key] = arrived  # in the older one's place
            older.drop(older.exchange, Unanswered.REPLACED)
        elif self._cloud.queue_limit is not None and len(self._waiting) >= self._cloud.queue_limit:
            arrived.drop(exchange, Unanswered.REFUSED)
        else:
            self._waiting[key] = arrived

    def _begin(self, arrived: _Waiting) -> None:
        exchange, now = arrived.exchange, int(self._env.now)
        exchange.begun_ns, exchange.left_ns = service_interval(now, next(self._services), self._windows)
        free_ns = exchange.left_ns
        for _ in range(exchange.answers - 1):  # a report that has arrived twice is worked on twice
            _, free_ns = service_interval(free_ns, next(self._services), self._windows)
        self._env.timeout(free_ns - now).callbacks.append(self._done)
        arrived.expect(exchange)

    def _done(self, event: simpy.Event) -> None:
        if self._waiting:
            _, following = self._waiting.popitem(last=False)
            self._begin(following)
        else:
            self._idle += 1


def _services(cloud: Cloud, rng: np.random.Generator) -> Iterator[int]:
    """Yield the service time of one report after the other, in nanoseconds."""
    mean = int(cloud.service_time)
    while True:
        if cloud.distribution == "constant":
            yield mean
        else:
            yield from np.maximum(rng.exponential(mean, 64), 1).astype(np.int64).tolist()
