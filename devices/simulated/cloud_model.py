"""The cloud in simulated time: how long a report waits, and how long it takes to answer it.

`UnlimitedCloud` begins with each report when it arrives. `QueueingCloud` has a number of workers: reports
wait in a queue, a newer report of a device takes the position of its older one, and a full queue refuses.
Devices that share a queue must live in one environment.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Annotated, Literal

import msgspec
import numpy as np

from devices.simulated.clock import Clock
from devices.simulated.exchange import AnswerTiming, DropReason, Exchange
from devices.timeline.faults import CloudFault, FaultWindow, service_interval
from wire.units import TIME_UNITS, Duration, format_duration


class CloudSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of the cloud service in simulated time."""

    service_time: Duration = Duration(5 * TIME_UNITS["ms"])
    """Simulated time that it takes to answer a report, without waiting; the mean where it varies."""
    distribution: Literal["constant", "exponential"] = "constant"
    """Distribution of the service time; drawn only where workers are limited."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    """Number of reports that are worked on at once; others wait in order of arrival. Null: no limit."""
    queue_limit: Annotated[int, msgspec.Meta(ge=1, le=2**31)] | None = None
    """Number of reports that may wait; one more is refused, and its device asks again. Null: any number."""
    coalesce: bool = True
    """Let a device's newer report take the position of its older one in the queue."""

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

    def of_sample(self, share: float | None) -> "CloudSettings":
        """Return the cloud of a share of the fleet, which has that share of the workers and of the queue.

        Raises:
            ValueError: that is no whole number of workers, or of reports.
        """
        if share is None or self.workers is None:
            return self
        return msgspec.structs.replace(
            self,
            workers=_whole_part("workers", self.workers, share),
            queue_limit=None
            if self.queue_limit is None
            else _whole_part("queue_limit", self.queue_limit, share),
        )


def exact_part(number: int, share: float) -> int | None:
    """Return *share* of *number* if it is a whole number above 0, else None."""
    part = Fraction(repr(float(share))) * number
    whole = round(part)
    return whole if whole > 0 and abs(part - whole) <= Fraction(1, 10**6) else None


def _whole_part(name: str, number: int, share: float) -> int:
    part = exact_part(number, share)
    if part is None:
        raise ValueError(f"{share} of {name}(={number}) must be a whole number above 0")
    return part


class UnlimitedCloud:
    """A cloud that begins with each report at once.

    Args:
        service_ns: time to answer a report.
        windows: spans in which it is down or slow.
    """

    def __init__(self, service_ns: int, windows: Sequence[FaultWindow[CloudFault]] = ()) -> None:
        self._service_ns = service_ns
        self._windows = tuple(windows)

    def submit(self, exchange: Exchange) -> None:
        """Answer a report; the times are known at once."""
        start_ns = exchange.arrived_ns
        if self._windows:
            exchange.on_answer(AnswerTiming(*service_interval(start_ns, self._service_ns, self._windows)))
        else:
            exchange.on_answer(AnswerTiming(start_ns, start_ns + self._service_ns))


class QueueingCloud:
    """A cloud with a number of workers, first come first served.

    Args:
        clock: of the environment that all devices live in.
        settings: workers, service time, limit.
        rng: the stream for service times.
        windows: spans in which it is down or slow.
    """

    def __init__(
        self,
        clock: Clock,
        settings: CloudSettings,
        rng: np.random.Generator,
        windows: Sequence[FaultWindow[CloudFault]] = (),
    ) -> None:
        assert settings.workers is not None
        self._clock = clock
        self._settings = settings
        self._windows = tuple(windows)
        self._idle = settings.workers
        self._service_times = _service_times(settings, rng)
        self._queue: OrderedDict[tuple[int, int], Exchange] = OrderedDict()

    def submit(self, exchange: Exchange) -> None:
        """Queue a report when it arrives."""
        self._clock.after(exchange.arrived_ns - self._clock.now_ns, exchange, self._on_arrival)

    def _on_arrival(self, exchange: Exchange) -> None:
        if self._idle:
            self._idle -= 1
            self._start(exchange)
            return
        report, settings = exchange.report, self._settings
        key = (report.number, 0 if settings.coalesce else report.seq)
        older = self._queue.get(key)
        if older is not None and older.report.seq > report.seq:
            exchange.on_drop(DropReason.REPLACED)  # the other one has overtaken it on the way
        elif older is not None:
            self._queue[key] = exchange  # in the older one's position
            older.on_drop(DropReason.REPLACED)
        elif settings.queue_limit is not None and len(self._queue) >= settings.queue_limit:
            exchange.on_drop(DropReason.REFUSED)
        else:
            self._queue[key] = exchange

    def _start(self, exchange: Exchange) -> None:
        now = self._clock.now_ns
        start_ns, done_ns = service_interval(now, next(self._service_times), self._windows)
        free_ns = done_ns
        for _ in range(exchange.copies - 1):  # a report that has arrived twice is worked on twice
            _, free_ns = service_interval(free_ns, next(self._service_times), self._windows)
        self._clock.after(free_ns - now, None, self._on_worker_free)
        exchange.on_answer(AnswerTiming(start_ns, done_ns))

    def _on_worker_free(self, _: None) -> None:
        if self._queue:
            self._start(self._queue.popitem(last=False)[1])
        else:
            self._idle += 1


def _service_times(settings: CloudSettings, rng: np.random.Generator) -> Iterator[int]:
    """Yield the service time of one report after the other, in nanoseconds."""
    mean = int(settings.service_time)
    while True:
        if settings.distribution == "constant":
            yield mean
        else:
            yield from np.maximum(rng.exponential(mean, 64), 1).astype(np.int64).tolist()
