"""The end of a run by a threshold: rules that can end a run are judged while it goes on."""

from collections.abc import Callable, Mapping, Sequence

from devices.simulated.clock import Clock
from emulator.metrics.compute import RunMetrics
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.measure import measure_selections, selections_of
from emulator.metrics.row_index import Columns
from emulator.metrics.scales import scan
from emulator.metrics.thresholds import judge_rule
from emulator.metrics.timeline import RunTimeline
from scenarios.language.thresholds import Rule

CHECKS = 50
"""Number of equal parts of a run; at the end of each, rules that can end the run are judged."""


class AbortedError(Exception):
    """A threshold that ends the run is broken.

    Args:
        t_ns: the simulated time of the check.
    """

    def __init__(self, t_ns: int) -> None:
        super().__init__(t_ns)
        self.t_ns = t_ns


def end_at(clock: Clock, t_ns: int) -> None:
    """End the run at a time, as somebody did by hand in the run that is replayed.

    Raises:
        AbortedError: at that time, out of the step of the clock.
    """
    clock.after(t_ns - clock.now_ns, t_ns, _abort)


def _abort(t_ns: int) -> None:
    raise AbortedError(t_ns)


class AbortMonitor:
    """Judges the rules that can end a run, at fixed simulated times.

    The checks are scheduled before all other events: at equal times they run first. So the rows logged until
    then are the same under every clock.

    Args:
        rules: of the scenario; rules that cannot end the run are ignored.
        devices: the devices.
        timeline: of the scenario.
        read_tables: returns the columns of the event tables logged so far.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        devices: DeviceTable,
        timeline: RunTimeline,
        read_tables: Callable[[], Mapping[str, Columns]],
    ) -> None:
        self._rules = [rule for rule in rules if rule.abort_ns is not None]
        self._devices = devices
        self._timeline = timeline
        self._read_tables = read_tables

    def start(self, clock: Clock) -> None:
        """Schedule the checks; a broken rule raises `AbortedError`."""
        for check in range(1, CHECKS):
            t_ns = self._timeline.stop_ns * check // CHECKS
            if any(rule.abort_ns is not None and rule.abort_ns <= t_ns for rule in self._rules):
                clock.after(t_ns, t_ns, self._check)

    def _check(self, now: int) -> None:
        tables, timeline = self._read_tables(), self._timeline.until(now)
        scales = scan(tables, self._devices, timeline).scales()
        metrics = RunMetrics(
            measure_selections(tables, self._devices, timeline, scales, selections_of(self._rules)),
            scales,
            timeline,
        )
        for rule in self._rules:
            if rule.abort_ns is not None and rule.abort_ns <= now and _broken(rule, metrics):
                raise AbortedError(now)


def _broken(rule: Rule, metrics: RunMetrics) -> bool:
    """Tell whether *rule* is broken; a rule without a value is not broken yet."""
    verdict = judge_rule(rule, metrics)
    return not verdict.passed and verdict.value is not None
