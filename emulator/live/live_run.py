"""A run that is watched: a thread beside it writes its state and takes commands."""

import _thread
import os
import signal
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

from emulator.live.deeds import Deed, deed_text
from emulator.live.live_folder import LiveCommand, LiveFolder, LiveSpan, LiveState, SpanKind
from emulator.live.range_watch import RangeReports
from emulator.live.status_series import COLUMNS, StatusSeries, group_rows
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.timeline import RunTimeline, Span
from emulator.processes.interrupts import SIGNALS
from scenarios.language.scenario import Scenario
from wire.units import NS_PER_S

LOOK_EVERY_S: Final = 0.2
WRITE_EVERY: Final = 5
"""The state is written at each fifth look for commands: once a second, which bounds what watching costs."""
SHOWN_DEEDS: Final = 50


class LiveRun:
    """The live side of a run. The run only sets values; a thread does the rest.

    Args:
        folder: where watchers look; it is made now.
        scenario: of the run.
        devices: the size of the fleet.
    """

    def __init__(self, folder: LiveFolder, scenario: Scenario, devices: int) -> None:
        self.folder = folder
        self.commands: SimpleQueue[LiveCommand] = SimpleQueue()
        """Commands for a fleet in real time, once it takes them."""
        self.takes_deeds = False
        self.is_paused = False
        self.speed: float | None = None
        self.refusal = ""
        self.phase, self.note, self.progress = "start", "", 0.0
        self.t_ns = 0
        self.scenario = scenario
        self._devices = devices
        self._deeds: Sequence[Deed] = ()
        self._is_real = scenario.clock == "realtime"
        self._series = StatusSeries(by_wall=self._is_real)
        self._reports = RangeReports(
            folder, int(scenario.stop_time), [group.name for group in scenario.fleet]
        )
        self._spans = list_spans(RunTimeline.from_scenario(scenario))
        self._error: str | None = None
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="live", daemon=True)

    def __enter__(self) -> Self:
        self.folder.create()
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        if error is not None:
            self._error = "stopped" if isinstance(error, KeyboardInterrupt) else str(error)
            self._write()

    def show(self, phase: str, note: str, progress: float) -> None:
        """Show a phase of the run, and how far it is."""
        self.phase, self.note, self.progress = phase, note, progress

    def add_status(self, status: LiveStatus) -> None:
        """Add the status of the fleet."""
        with self._lock:
            self._series.add(status)
        self.t_ns = status.t_ns

    def add_deeds(self, deeds: Sequence[Deed]) -> None:
        """Show deeds that were carried out, after the earlier ones."""
        self._deeds = (*self._deeds, *deeds)

    def _watch(self) -> None:
        looks = 0
        while not self._end.wait(LOOK_EVERY_S):
            for command in self.folder.take():
                self._obey(command)
            looks += 1
            if looks % WRITE_EVERY == 0:
                self._write()

    def _obey(self, command: LiveCommand) -> None:
        if self.takes_deeds:
            self.commands.put(command)
        elif command.kind == "stop":
            _interrupt()
        elif command.kind in ("pause", "resume") and not self._is_real:
            self.is_paused = command.kind == "pause"
            self.folder.set_paused(self.is_paused)
            self._write()
        else:
            self.refusal = f"{command.kind} is for a run in real time that has begun"

    def _write(self) -> None:
        with self._lock:
            last, columns = self._series.last, self._series.columns()
        groups, shown, by_ranges = list[list[object]](), 0, False
        if last is not None:
            groups, shown = group_rows(last.groups), last.devices
        elif not self._is_real:
            figures = self._reports.read()
            shown, by_ranges = figures.devices, True
            if shown:
                columns, groups = figures.columns(), figures.group_rows()
            if shown and self.phase in ("model", "compiling"):  # the first range is under way
                self.show("simulation", "", 0.0)
        progress = self.progress
        if by_ranges and self.phase == "simulation":
            progress = max(progress, shown / self._devices)
        stop_ns = int(self.scenario.stop_time)
        t_ns = min(self.t_ns, stop_ns)
        state = LiveState(
            scenario=self.scenario.name, clock=self.scenario.clock, pid=os.getpid(), phase=self.phase,
            note=self.note, progress=progress, t_s=t_ns / NS_PER_S, stop_s=stop_ns / NS_PER_S,
            devices=self._devices, shown_devices=shown, by_ranges=by_ranges, is_paused=self.is_paused,
            speed=self.speed, can_steer=self.takes_deeds, groups=groups,
            columns={name: columns[name] for name in COLUMNS}, spans=self._spans,
            deeds=[deed_text(deed) for deed in self._deeds[-SHOWN_DEEDS:]], refusal=self.refusal,
            error=self._error,
        )  # fmt: skip
        self.folder.write_state(state)


def list_spans(plan: RunTimeline) -> list[LiveSpan]:
    """Return the stages, faults and actions of a run; an instant is shown for a second."""
    kinds: list[tuple[SpanKind, Sequence[Span]]] = [
        ("stage", plan.stages),
        ("fault", plan.faults),
        ("action", plan.actions),
    ]
    return [
        LiveSpan(
            kind, span.type, span.start_ns / NS_PER_S, max(span.end_ns, span.start_ns + NS_PER_S) / NS_PER_S
        )
        for kind, spans in kinds
        for span in spans
    ]


def _interrupt() -> None:
    """End this program as Ctrl-C does."""
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, heard[0] if heard else signal.SIGTERM)  # it ends a wait, too
    else:
        _thread.interrupt_main()
