"""The cost of watching a fleet of 5,000 devices live; the frame times of the page, and the memory of both.

Cost: the same virtual run in turn alone and watched (with its server, and a page that listens), in a process
of its own with one worker. The figure is the processor time of the simulation, so that other programs
disturb it less. In real time it is that of all processes from start to end, and of the server. The median of
the ratios must be at most 1.05.

Page: a headless Chromium watches a fleet in real time. The times between its frames, its JavaScript memory
and the memory of the run, which serves the page, are sampled. The second half may need at most 10 % more
than the first.

    python -m benchmarks.live_view [--pairs 6] [--minutes 10]
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright

from benchmarks.figures import verdict, write
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from emulator.web.run_library import RunLibrary
from emulator.web.run_queue import RunQueue
from emulator.web.serve import LOOPBACK, listening_socket, serving
from emulator.web.ui_app import ui_app
from scenarios.language.load import parse

MOST_COST, MOST_GROWTH = 1.05, 1.10
SCENARIO = """
version: 1
name: live-view
clock: virtual
stop_time: 12 h
data: {type: synthetic}
fleet:
  - name: phone
    count: 3000
    memory: {type: bounded_walk, min: 64 MiB, max: 2 GiB, max_step: 512 MiB, step_every: 3 min}
    budget: {share: 0.002 %}
    churn: {uptime_mean: 40 min, downtime_mean: 2 min}
  - name: tablet
    count: 2000
    memory: {type: bounded_walk, min: 64 MiB, max: 3 GiB, max_step: 512 MiB, step_every: 3 min}
    budget: {share: 0.002 %}
"""
REAL = """clock: realtime
realtime: {speed: 10, connections: pooled, max_lag: 1 min}"""
FRAMES = """() => {
  window.frames_ms = [];
  let last = performance.now();
  const look = (now) => { window.frames_ms.push(now - last); last = now; requestAnimationFrame(look); };
  requestAnimationFrame(look);
}"""


MODULE = (sys.executable, "-m", "benchmarks.live_view")


class SimulationTimer(RunObserver):
    """Measures the processor time from the end of training to the end of the simulation."""

    def __init__(self) -> None:
        self.begun_s = self.spent_s = 0.0

    def on_progress(self, now_ns: int, stop_ns: int) -> None:
        """Note when the first part is simulated: what is loaded once is left out."""
        self.begun_s = self.begun_s or time.process_time()

    def on_writing(self) -> None:
        """Note the end."""
        self.spent_s = time.process_time() - self.begun_s


def listen(port: int) -> None:
    """Read the events of the run as a page does, until the server ends."""
    while True:
        connection = http.client.HTTPConnection(LOOPBACK, port)
        try:
            connection.request("GET", "/live")
            name = connection.getresponse().getheader("location", "")
            if name:
                connection.close()
                connection.request("GET", f"{name}/events")
                events = connection.getresponse()
                while events.readline():
                    pass
        except (OSError, http.client.HTTPException):
            return
        time.sleep(0.2)


def simulate(engine: str, *, watched: bool, store: Path) -> float:
    """Return the seconds of processor time that the simulation takes in this process."""
    overrides = [f"engine={engine}", f"stop_time={STOP_TIMES[engine]}"]
    scenario, timer = parse(SCENARIO, "live-view.yaml", overrides), SimulationTimer()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        out = Path(folder)
        if watched:
            app = ui_app(RunLibrary(out), RunQueue(out), (LOOPBACK,))
            listener = stack.enter_context(listening_socket(None))
            stack.enter_context(serving(app, listener, lambda _: None, opens_browser=False, path=""))
            port = str(listener.getsockname()[1])
            stack.callback(subprocess.Popen([*MODULE, "--listen", port]).kill)
        options = RunOptions(out, store=store, workers=1, report=False, watched=watched)
        run(scenario, options, timer)
    return timer.spent_s


REAL_STOP_TIME = "20 min"
"""Two minutes at speed 10."""
STOP_TIMES = {"kernel": "2 d", "simpy": "4 h"}
"""Simulated for about fifteen seconds of one core, with either engine."""


def measure_cost(pairs: int, engine: str, store: Path) -> dict[str, float]:
    """Return the processor time with and without watchers, in turn, and the median of the ratios.

    Args:
        pairs: the number of ratios.
        engine: of the virtual run, or ``realtime``.
        store: where models are cached.
    """
    alone: list[float] = []
    watched: list[float] = []
    for pair in range(pairs):
        arms = [(alone, "alone"), (watched, "watched")]
        for seconds, arm in arms[:: -1 if pair % 2 else 1]:  # each arm is first as often as the other
            words = ("--arm", f"{engine},{arm}", "--store", str(store))
            seconds.append(
                float(subprocess.run([*MODULE, *words], check=True, capture_output=True, text=True).stdout)
            )
    ratios = [with_page / without for with_page, without in zip(watched, alone, strict=True)]
    return {
        f"{engine}_alone_cpu_seconds": statistics.median(alone),
        f"{engine}_watched_cpu_seconds": statistics.median(watched),
        f"{engine}_cost": statistics.median(ratios),
    }


def run_in_real_time(*, watched: bool, store: Path) -> float:
    """Return the processor time of all processes of a run in real time, and of the server that shows it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file, program = Path(folder) / "live-view.yaml", (sys.executable, "-m", "emulator.cli")
        file.write_text(SCENARIO.replace("clock: virtual", REAL).replace("12 h", REAL_STOP_TIME))
        words = [*program, "run", str(file), "--out", folder, "--store", str(store), "--quiet"]
        served = 0.0
        if watched:
            words.append("--watched")
            ui = [*program, "ui", folder, "--no-browser"]
            server = stack.enter_context(subprocess.Popen(ui, stdout=subprocess.PIPE, text=True))
            stack.callback(server.terminate)
            assert server.stdout is not None
            (port,) = re.findall(r":(\d+)/", server.stdout.readline())
            stack.callback(subprocess.Popen([*MODULE, "--listen", port]).kill)
            begun_s = sum(psutil.Process(server.pid).cpu_times()[:2])
        run_of_fleet = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(run_of_fleet.pid, 0)
        assert status == 0
        if watched:
            served = sum(psutil.Process(server.pid).cpu_times()[:2]) - begun_s
    return usage.ru_utime + usage.ru_stime + served


def watch_page(page: Page, process: psutil.Process, minutes: float) -> dict[str, float]:
    """Return frame times and memory while a page shows a run."""
    page.locator("#tiles div").first.wait_for(timeout=240_000)
    page.evaluate(FRAMES)
    heaps: list[float] = []
    sizes: list[float] = []
    deadline = time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        page.wait_for_timeout(2_000)
        page.request_gc()
        heaps.append(page.evaluate("performance.memory.usedJSHeapSize") / 2**20)
        sizes.append(process.memory_info().rss / 2**20)
    frames = sorted(page.evaluate("window.frames_ms"))
    half = len(heaps) // 2
    return {
        "minutes": minutes,
        "frames": len(frames),
        "frame_p50_ms": frames[len(frames) // 2],
        "frame_p99_ms": frames[len(frames) * 99 // 100],
        "frames_above_50_ms_share": sum(frame > 50 for frame in frames) / len(frames),
        "page_heap_mib": statistics.fmean(heaps[half:]),
        "page_heap_growth": statistics.fmean(heaps[half:]) / statistics.fmean(heaps[:half]),
        "run_memory_mib": statistics.fmean(sizes[half:]),
        "run_memory_growth": statistics.fmean(sizes[half:]) / statistics.fmean(sizes[:half]),
    }


def measure_page(minutes: float, store: Path) -> dict[str, float]:
    """Run a fleet in real time with its page, and watch it in a headless browser."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "live-view.yaml"
        file.write_text(SCENARIO.replace("clock: virtual", REAL))
        words = ("run", str(file), "--web", "--no-browser", "--out", folder, "--store", str(store), "--quiet")
        command = [sys.executable, "-m", "emulator.cli", *words]
        with (
            subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
            sync_playwright() as driver,
        ):
            assert process.stderr is not None
            line = next(line for line in process.stderr if "web: " in line)
            threading.Thread(target=process.stderr.read, daemon=True).start()
            (address,) = re.findall(r"http://\S+", line)
            browser = driver.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--enable-precise-memory-info"]
            )
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(address)
            found = watch_page(page, psutil.Process(process.pid), minutes)
            browser.close()
            process.send_signal(signal.SIGINT)
            process.wait(60)
    return found


def main() -> int:
    """Measure, write ``live_view.json``, and return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--arm", default="")
    parser.add_argument("--listen", type=int, default=0)
    parser.add_argument("--store", type=Path, default=None)
    options = parser.parse_args()
    if options.listen:
        listen(options.listen)
        return 0
    if options.arm:
        engine, arm = options.arm.split(",")
        watched = arm == "watched"
        if engine == "realtime":
            print(json.dumps(run_in_real_time(watched=watched, store=options.store)))
        else:
            print(json.dumps(simulate(engine, watched=watched, store=options.store)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or Path(folder)
        simulate("kernel", watched=False, store=store)  # trains and compiles
        figures: dict[str, float] = {}
        for engine in ("kernel", "simpy", "realtime"):
            figures |= measure_cost(options.pairs, engine, store)
        if options.minutes:
            figures |= measure_page(options.minutes, store)
    write("live_view", dict(figures))
    limits = {f"{engine}_cost": MOST_COST for engine in ("kernel", "simpy", "realtime")}
    limits |= {"page_heap_growth": MOST_GROWTH, "run_memory_growth": MOST_GROWTH}
    broken = [key for key, most in limits.items() if figures.get(key, 0.0) > most]
    return verdict([f"{key}(={figures[key]:.3f}) must be at most {limits[key]}" for key in broken])


if __name__ == "__main__":
    sys.exit(main())
