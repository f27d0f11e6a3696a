"""Compares the cloud's queue with queueing theory: the mean wait of reports with Poisson arrivals.

`devices.simulated.cloud_model.QueueingCloud` is driven with Poisson arrivals, each from its own device, in
simulated time. The mean wait must be within 3 % of the exact one: with constant service that of M/D/c, with
exponential service that of M/M/c. Enough reports are simulated to keep the standard error of each mean below
1 %. ``python -m benchmarks.queueing`` prints a table, writes ``queueing.json`` and fails if a mean differs by
more.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import simpy

from benchmarks.figures import write
from devices.protocol.report_scheduler import ReportCause
from devices.simulated.clock import Clock
from devices.simulated.cloud_model import CloudSettings, QueueingCloud
from devices.simulated.exchange import AnswerTiming, Exchange, SentReport
from wire.random_streams import stream
from wire.units import NS_PER_S, Duration

SERVICE_NS = NS_PER_S
"""What a service takes, on average; waits below are in services."""
LEAST_MASS = 1e-13


def mean_wait_constant(workers: int, utilization: float) -> float:
    """Return the mean wait, in services, of Poisson arrivals to *workers* with constant service: M/D/c.

    Crommelin: reports in service at t have left at t + 1, and reports that arrived since are present. So the
    number in the system at t + 1 is max(number at t - c, 0) plus a Poisson number. Its stationary
    distribution is computed numerically, and Little's law gives the mean wait from the mean queue.
    """
    rate = workers * utilization
    size = workers + int(-2 * math.log(LEAST_MASS) / (1 - utilization)) + 20 * workers
    count = np.arange(size)
    arrivals = np.exp(count * math.log(rate) - rate - np.cumsum(np.log(np.maximum(count, 1))))
    moves = np.zeros((size, size))
    for number in range(size):
        left = max(number - workers, 0)
        moves[number, left:] = arrivals[: size - left]
        moves[number, -1] += 1 - moves[number].sum()
    system = moves.T - np.eye(size)
    system[-1] = 1.0
    shares = np.linalg.solve(system, np.eye(size)[-1])
    return float((np.maximum(count - workers, 0) * shares).sum() / rate)


def mean_wait_exponential(workers: int, utilization: float) -> float:
    """Return the mean wait, in services, with exponential service: M/M/c, by Erlang's C formula."""
    rate = workers * utilization
    terms = [rate**number / math.factorial(number) for number in range(workers)]
    last = rate**workers / math.factorial(workers) / (1 - utilization)
    return last / (sum(terms) + last) / (workers * (1 - utilization))


def waits(cloud: CloudSettings, utilization: float, count: int, seed: int = 1) -> np.ndarray:
    """Return the waits, in services, of *count* reports with Poisson arrivals, each from another device."""
    assert cloud.workers is not None
    clock = Clock()
    queue = QueueingCloud(clock, cloud, stream(seed, "services"))
    gaps = stream(seed, "arrivals").exponential(SERVICE_NS / (cloud.workers * utilization), count)
    moments = np.cumsum(gaps).astype(np.int64).tolist()
    waited: list[int] = []

    def arrive() -> simpy.events.ProcessGenerator:
        for number, moment in enumerate(moments):
            yield clock.timeout(moment - clock.now_ns)
            queue.submit(make_report(TimedExchange, number, moment, waited=waited))

    clock.process(arrive())
    clock.run()
    return np.array(waited) / SERVICE_NS


class TimedExchange(Exchange, kw_only=True):
    """A report that notes how long it waits."""

    waited: list[int]

    def on_answer(self, timing: AnswerTiming) -> None:
        """Note the wait."""
        self.waited.append(timing.service_start_ns - self.arrived_ns)


Asked = TypeVar("Asked", bound=Exchange)


def make_report(
    kind: Callable[..., Asked], number: int, arrived_ns: int, seq: int = 1, **fields: Any
) -> Asked:
    """Return report *seq* of device *number*, which is at the cloud at *arrived_ns*.

    Args:
        kind: the class of the exchange.
        number: of the device.
        arrived_ns: in simulated time.
        seq: of the report.
        fields: of that class.
    """  # Any: whatever fields it has
    report = SentReport(number, f"d-{number}", 0, seq, b"", ReportCause.CHANGE, 0, 0, 0, 0)
    return kind(report, arrived_ns, **fields)


def make_cloud(workers: int, distribution: str) -> CloudSettings:
    """Return a cloud whose service takes a second on average."""
    return CloudSettings(workers=workers, service_time=Duration(SERVICE_NS), distribution=distribution)  # type: ignore[arg-type]


def mean_and_error(values: np.ndarray, batches: int = 30) -> tuple[float, float]:
    """Return the mean and its standard error by batch means, without the first twentieth."""
    settled = values[len(values) // 20 :]
    means = np.array([batch.mean() for batch in np.array_split(settled, batches)])
    return float(settled.mean()), float(means.std(ddof=1) / batches**0.5)


# --- all together -----------------------------------------------------------------------------------

CASES = tuple(
    (distribution, workers, utilization)
    for distribution in ("constant", "exponential")
    for workers in (1, 2, 4)
    for utilization in (0.5, 0.8, 0.9)
)
COUNTS = {
    "constant": {0.5: 700_000, 0.8: 1_500_000, 0.9: 6_000_000},
    "exponential": {0.5: 2_500_000, 0.8: 5_000_000, 0.9: 6_000_000},
}
"""Waits at high utilization depend on each other for long, and those with exponential service vary more."""
MOST_OFF = 0.03
MOST_ERROR = 0.01


def theoretical_wait(distribution: str, workers: int, utilization: float) -> float:
    """Return the mean wait in theory, in services."""
    mean_wait = mean_wait_constant if distribution == "constant" else mean_wait_exponential
    return mean_wait(workers, utilization)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate every case; return the number of means that differ by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.queueing")
    parser.add_argument("--part", type=float, default=1.0, help="simulate this part of the reports only")
    part = parser.parse_args(arguments).part
    figures: dict[str, object] = {}
    off = 0
    for distribution, workers, utilization in CASES:
        cloud = make_cloud(workers, distribution)
        mean, error = mean_and_error(waits(cloud, utilization, int(COUNTS[distribution][utilization] * part)))
        theory = theoretical_wait(distribution, workers, utilization)
        off += abs(mean / theory - 1) > MOST_OFF or error / theory > MOST_ERROR
        kind = f"M/{'D' if distribution == 'constant' else 'M'}/{workers}"
        figures[f"{kind} at {utilization}: mean wait, services"] = mean
        figures[f"{kind} at {utilization}: in theory"] = theory
        figures[f"{kind} at {utilization}: difference, %"] = 100 * (mean / theory - 1)
        figures[f"{kind} at {utilization}: standard error, %"] = 100 * error / theory
    write("queueing", figures)
    return off


if __name__ == "__main__":
    sys.exit(main())
