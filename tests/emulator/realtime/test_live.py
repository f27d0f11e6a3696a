"""The live view: drawing of statuses, and the output in a terminal during a run."""

import io
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console as Terminal

from broker_config import mosquitto
from emulator.cli.live_view import HISTORY, LiveView, live_view
from emulator.cli.terminal import RunDisplay
from emulator.metrics.histogram import Histogram
from emulator.metrics.live_status import LiveStatus, merge_statuses
from scenarios.language.load import parse
from tests.emulator.cli.pty_screen import PtyTerminal, screen
from tests.emulator.realtime.test_by_hand import ROOT, SCENARIO
from wire.errors import InputError
from wire.units import NS_PER_S

MS = 1_000_000
FAULTS = (
    SCENARIO
    + """
faults:
  - {type: loss, at: 20 s, duration: 40 s, share: 30 %}
  - {type: cloud_slow, at: 50 s, duration: 50 s, factor: 3}
"""
)


def bucketed(latency_ms: int, count: int) -> dict[int, int]:
    return dict(Histogram.from_values(np.full(count, latency_ms * MS)).counts)


CALM = LiveStatus(
    t_ns=10 * NS_PER_S, wall_s=1.0, devices=30, online=24, connections=23, budget_bytes=30 * 1024,
    resident_bytes=15 * 1024, over_budget=0, ndcg_sum=3.0, best_sum=4.0, started=24, reports=100, applied=90,
    lost=0, update_bytes=50_000, in_flight=2, lag_ns=2 * MS, latency=bucketed(100, 9),
)  # fmt: skip


def after(pulse: LiveStatus, **changes: object) -> LiveStatus:
    return msgspec.structs.replace(pulse, **changes)


def drawn(view: LiveView, width: int = 110) -> str:
    text = io.StringIO()
    Terminal(file=text, width=width).print(view)
    return text.getvalue()


def figure(text: str, name: str) -> str:
    """Return what stands behind *name*."""
    match = re.search(rf"{re.escape(name)} +(\S+)", text)
    assert match, f"{name} in\n{text}"
    return match[1]


def test_what_the_fleet_is_doing_stands_in_the_picture() -> None:
    view = live_view(parse(FAULTS, "tiny.yaml"))
    assert "waiting for the fleet" in drawn(view)
    view.add(CALM)
    calm = drawn(view)
    shown = (
        "online",
        "connections",
        "budget",
        "held",
        "over budget",
        "of the best",
        "in flight",
        "lost",
        "lag",
    )
    assert [figure(calm, name) for name in shown] == ["24", "23", "30", "15", "0", "75.0%", "2", "0", "2.0"]
    assert (figure(calm, "NDCG@10"), figure(calm, "faults in force")) == ("0.1250", "none")
    assert "10 of 120 s" in calm
    late, slow = {"t_ns": 55 * NS_PER_S, "wall_s": 3.0, "lag_ns": 1500 * MS}, bucketed(400, 9)
    counts = {"reports": 140, "update_bytes": 70_480, "lost": 7, "over_budget": 3, "online": 20}
    view.add(after(CALM, **late, **counts, latency=slow))
    storm = drawn(view)
    moved = ("online", "over budget", "reports/s", "lost", "lag", "p99")
    assert [figure(storm, name) for name in moved] == ["20", "3", "20", "7", "1,500.0", "0.4"]
    assert figure(storm, "update bytes/s") == "10"  # KiB
    assert "loss, cloud_slow" in storm


@pytest.mark.parametrize("width", [60, 80, 103, 104, 200])
def test_every_line_fits_the_terminal_and_no_number_is_cut(width: int) -> None:
    view = live_view(parse(FAULTS, "tiny.yaml"))
    big = {"online": 24_000_000, "budget_bytes": 1023 << 20, "resident_bytes": 1022 << 20, "reports": 10**9}
    for second in range(40):
        view.add(after(CALM, wall_s=float(second), update_bytes=second**4 * 10**6, **big))
    text = drawn(view, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert (figure(text, "online"), figure(text, "budget")) == ("24,000,000", "1,023")
    assert len(re.findall("[▁▂▃▄▅▆▇█]{16}", text)) >= 6  # the newest values of every curve


def test_the_view_follows_the_width_of_the_terminal() -> None:
    terminal = PtyTerminal(120)
    with terminal.receiving(), RunDisplay(live_view(parse(FAULTS, "tiny.yaml"))) as display:
        display.on_status(CALM, 10 * NS_PER_S)
        terminal.resize(70)
        display.on_status(after(CALM, wall_s=2.0), 10 * NS_PER_S)
    before, after_it = terminal.text.split("\x1b[2J")
    first, *_ = re.findall("╰─*╯", before)
    assert len(first) == 120
    assert {len(line) for line in screen(after_it).splitlines()} == {70}


def test_a_curve_is_flat_where_nothing_changes_and_spans_its_range_where_something_does() -> None:
    view = live_view(parse(FAULTS, "tiny.yaml"))
    for second in range(20):
        view.add(after(CALM, wall_s=float(second), online=24, budget_bytes=10_000 + second))
    text = drawn(view)
    assert re.search("online +24 +▁{16}", text)
    assert re.search(r"budget +\S+ (KiB|B) +▁[▁▂▃▄▅▆▇]+█", text)


def test_a_name_in_brackets_is_shown_as_it_is() -> None:
    view = LiveView("squeeze [red]", live_view(parse(FAULTS, "tiny.yaml"))._plan)
    assert "squeeze [red]" in drawn(view)
    view.add(CALM)
    assert "squeeze [red]: 30 devices" in drawn(view)


def test_a_shard_that_counts_from_the_start_again_shows_no_negative_rate() -> None:
    view = live_view(parse(FAULTS, "tiny.yaml"))
    view.add(CALM)
    view.add(after(CALM, wall_s=2.0, reports=3, update_bytes=10))
    text = drawn(view)
    assert (figure(text, "reports/s"), figure(text, "update bytes/s")) == ("0", "0")


def test_a_fleet_is_its_shards_together() -> None:
    other = after(
        CALM, t_ns=9 * NS_PER_S, wall_s=0.9, lag_ns=80 * MS, latency={**bucketed(100, 1), **bucketed(900, 1)}
    )
    both = merge_statuses([CALM, other])
    assert (both.t_ns, both.wall_s, both.lag_ns) == (9 * NS_PER_S, 1.0, 80 * MS)
    assert (both.devices, both.online, both.reports, both.ndcg_sum) == (60, 48, 200, 6.0)
    assert both.latency == {**bucketed(100, 10), **bucketed(900, 1)}


def test_the_view_is_drawn_while_pulses_come_from_another_thread() -> None:
    view, ended = live_view(parse(FAULTS, "tiny.yaml")), threading.Event()
    view.add(CALM)

    def feed() -> None:
        at = 1.0
        while not ended.is_set():
            at += 1.0
            view.add(after(CALM, wall_s=at))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        for _ in range(40):
            drawn(view)
    finally:
        ended.set()
        feeder.join()
    assert len(re.findall("[▁▂▃▄▅▆▇█]", drawn(view))) > 16
    assert HISTORY > 16


def test_a_clock_without_a_now_has_no_live_view() -> None:
    with pytest.raises(InputError, match="--live needs clock lockstep or realtime"):
        live_view(parse(SCENARIO, "tiny.yaml", ["clock=virtual"]))


@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
@pytest.mark.slow
def test_in_a_terminal_the_numbers_move(tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(FAULTS)
    command = [sys.executable, "-m", "emulator.cli", "run", "tiny.yaml", "--live", "--store", str(store_root)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs
    ) as run:
        os.close(theirs)
        screen = read_all(ours, run)
    os.close(ours)
    assert run.returncode == 0, screen
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    times = [int(number) for number in re.findall(r"(\d+) of 120 s", text)]
    assert times == sorted(times)
    assert len(set(times)) >= 3
    online = {int(number) for number in re.findall(r"online +(\d+)", text)}
    assert max(online) == 30
    assert {"none", "loss"} <= set(re.findall(r"faults in force +(\w+)", text))
    assert len(set(re.findall(r"reports/s +(\S+)", text))) >= 2
    assert re.search(r"lag +[\d,.]+ ms", text)


def read_all(terminal: int, run: "subprocess.Popen[bytes]") -> str:
    """Return what a program wrote to its terminal until it ended."""
    output, deadline = bytearray(), time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        try:
            if ready:
                output += os.read(terminal, 65_536)
            elif run.poll() is not None:
                break
        except OSError:  # the program has closed its end
            break
    run.wait(30)
    return output.decode(errors="replace")
