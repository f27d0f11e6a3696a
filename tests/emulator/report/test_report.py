"""The report of a small run whose numbers can be worked out by hand."""

import base64
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devices.event_log import (
    BudgetRow,
    ExchangeResult,
    FleetLog,
    Pressure,
    QualityRow,
    UpdateKind,
    UpdateRow,
)
from devices.protocol.report_scheduler import ReportCause
from emulator.executors.in_process import InProcessExecutor
from emulator.metrics.by_dimension import metrics_table
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.summary import RunInfo, encode_tables, summarize
from emulator.metrics.timeline import RunTimeline, Span
from emulator.report.axes import byte_ticks, format_seconds, time_ticks
from emulator.report.example_devices import DeviceTotals, choose_devices, count_ratios
from emulator.report.figure_sums import FigureSums
from emulator.report.fleet_views import FleetViews
from emulator.report.load import load_figures
from emulator.report.page import write_report
from emulator.report.page_parts import PLOTLY
from emulator.report.tables import flatten, share
from emulator.run_directory.event_log import EventLogWriter
from emulator.run_directory.event_reader import read_tables
from emulator.run_directory.layout import DEVICES, EVENTS, METRICS, SCENARIO, SUMMARY, write_summary
from emulator.run_directory.run_files import RunFiles
from tests.emulator.event_logs import write_drafts
from tests.emulator.worlds import whole_metrics
from wire.units import NS_PER_S

KIB = 1024
STOP_S = 300  # the grid of 300 steps has one a second, a traffic bin is 2.5 s
NAMES = ("a-0", "a-1", "b-0")
SCRIPT = "<script>alert(1)</script>"

# second, device, budget, resident, NDCG held, NDCG of the best PEE for the budget
State = tuple[float, int, int, int, float, float]
STATES: tuple[State, ...] = (
    (0, 0, 4 * KIB, 0, 0.0, 0.2),
    (0, 1, 8 * KIB, 0, 0.0, 0.4),
    (0, 2, 16 * KIB, 0, 0.0, 0.6),
    (30, 0, 4 * KIB, 4 * KIB, 0.2, 0.2),
    (30, 1, 8 * KIB, 8 * KIB, 0.4, 0.4),
    (30, 2, 16 * KIB, 8 * KIB, 0.5, 0.6),
    (150, 0, 2 * KIB, 2 * KIB, 0.1, 0.1),
    (150, 2, 4 * KIB, 8 * KIB, 0.3, 0.3),  # over its budget until the cloud answers
    (160, 2, 4 * KIB, 4 * KIB, 0.3, 0.3),
)

# second, device, result, changed, sent, payload, on the wire, used, lost, full push
Update = tuple[float, int, ExchangeResult, float, float, int, int, int, int, int]
UPDATES: tuple[Update, ...] = (
    (30, 0, ExchangeResult.APPLIED, 0, 0, 4000, 4100, 4000, 0, 4000),
    (30, 1, ExchangeResult.APPLIED, 0, 0, 8000, 8200, 8000, 0, 8000),
    (30, 2, ExchangeResult.APPLIED, 0, 0, 8000, 8200, 8000, 0, 16000),
    (150.25, 0, ExchangeResult.CONFIRMED, 150, 150, 100, 200, 100, 0, 2000),
    (160, 2, ExchangeResult.APPLIED, 150, 150, 100, 200, 100, 0, 4000),
    (201, 2, ExchangeResult.SUPERSEDED, 200, 200, 500, 600, 0, 0, 900),
    (230, 1, ExchangeResult.LOST, 200, 200, 700, 800, 0, 700, 8000),
    (300, 1, ExchangeResult.REJECTED, 299.5, 299.5, 300, 400, 0, 0, 8000),
)


PLAN = RunTimeline(
    STOP_S * NS_PER_S,
    stages=(
        Span("calm", "calm", 0, 150 * NS_PER_S),
        Span("squeeze", "squeeze", 150 * NS_PER_S, STOP_S * NS_PER_S),
    ),
    faults=(Span("loss", "squeeze", 150 * NS_PER_S, 200 * NS_PER_S),),
)


def ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def write_events(
    folder: Path, states: Sequence[State], updates: Sequence[Update], whole: Sequence[float]
) -> None:
    log = FleetLog(clock=lambda: 0.0)
    order = iter(range(1, 1000))
    for t, device, budget, resident, ndcg, best in states:
        stamp = (ns(t), 0.0, device, next(order))
        log.budget(
            BudgetRow(
                *stamp,
                free_bytes=10 * budget,
                budget_bytes=budget,
                resident_before_bytes=resident,
                resident_bytes=resident,
                pressure=Pressure.NORMAL,
            )
        )
        log.quality(
            QualityRow(
                *stamp,
                budget_bytes=budget,
                resident_bytes=resident,
                layer=1,
                best_layer=2,
                ndcg_at_10=ndcg,
                recall_at_20=ndcg / 2,
                hit_rate_at_10=1.0,
                best_ndcg_at_10=best,
                full_ndcg_at_10=whole[device],
                pressure=Pressure.NORMAL,
                online=True,
                version=0,
                user_group=7 if device < 2 else 3,
                message_bytes=90,
                message_wire_bytes=160,
            )
        )
    for seq, (t, device, result, changed, sent, size, wire, used, lost, full) in enumerate(updates):
        stamp = (ns(t), 0.0, device, next(order))
        log.update(
            UpdateRow(
                *stamp,
                seq=seq,
                cause=ReportCause.CHANGE,
                result=result,
                sent=UpdateKind.DELTA,
                changed_ns=ns(changed),
                sent_ns=ns(sent),
                arrived_ns=ns(sent),
                begun_ns=ns(sent),
                left_ns=ns(sent),
                answered_ns=ns(sent),
                received_ns=ns(sent),
                applied_ns=ns(t),
                report_bytes=90,
                report_wire_bytes=160,
                ack_wire_bytes=112,
                resent_wire_bytes=0,
                parts=1,
                update_bytes=size,
                copied_bytes=0,
                update_wire_bytes=wire,
                used_bytes=used,
                lost_bytes=lost,
                full_update_bytes=full,
                wanted_bytes=1000,
                held_before=0,
                held=1,
            )
        )
    journal = EventLogWriter(folder / "draft")
    journal.close(log)
    write_drafts([folder / "draft"], len(whole), folder)


def devices_table(group: str = "a") -> pa.Table:
    return pa.table(
        {
            "device": NAMES,
            "group": [group, group, "b"],
            "user_group": [7, 7, 3],
            "full_ndcg_at_10": [0.4, 0.4, 0.8],
        }
    )


def make_run(
    folder: Path,
    states: Sequence[State] = STATES,
    updates: Sequence[Update] = UPDATES,
    devices: pa.Table | None = None,
    description: str = "Three devices.",
    more: Mapping[str, object] | None = None,
) -> Path:
    """Write a run directory of three devices, or of the first so many that *devices* has."""
    folder.mkdir()
    devices = devices_table() if devices is None else devices
    write_events(folder, states, updates, devices["full_ndcg_at_10"].to_pylist())
    pq.write_table(devices, folder / DEVICES)
    identity = RunInfo("small", 3, "virtual", "0123456789abcdef", ns(STOP_S))
    events = read_tables(folder / EVENTS)
    table = DeviceTable.read(devices)
    metrics = whole_metrics(encode_tables(table, events), table, PLAN)
    pq.write_table(metrics_table(metrics), folder / METRICS)
    write_summary(folder, summarize(identity, metrics, "0", 1.5) | dict(more or {}))
    (folder / SCENARIO).write_text(f"version: 1\nname: small\ndescription: '{description}'\n")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def figures_of(run: Path) -> tuple[FleetViews, FigureSums]:
    return load_figures(RunFiles(run), InProcessExecutor())


def page_of(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def our_part(page: str) -> str:
    return page.replace(PLOTLY.read_text(encoding="utf-8"), "")


Views = list[dict[str, Any]]  # Any: JSON


def views_of(page: str, name: str) -> Views:
    found = re.search(rf'<script type="application/json" id="{name}-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return msgspec.json.decode(found[1], type=Views)


def traces(view: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in view["data"]}


class TestPage:
    def test_writes_one_file_atomically_and_the_same_twice(self, run: Path) -> None:
        first = page_of(run)
        assert page_of(run) == first
        assert {path.name for path in run.iterdir()} >= {"report.html"}
        assert not list(run.glob("*.partial"))

    def test_a_draft_has_its_report_too(self, tmp_path: Path) -> None:
        assert "Three devices." in page_of(make_run(tmp_path / "run.partial"))

    def test_has_plotly_once_and_fetches_nothing(self, run: Path) -> None:
        page = page_of(run)
        assert page.count(PLOTLY.read_text(encoding="utf-8")) == 1
        ours = our_part(page)
        assert re.search(r"https?:|//cdn|\bsrc=|\bhref=\"[^#]|url\(|@import|<link|<iframe", ours) is None
        assert "default-src 'none'" in ours
        assert len(page) < 2_000_000

    def test_the_policy_allows_the_scripts_that_are_there_and_no_other(self, run: Path) -> None:
        page = page_of(run)
        scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts]
        assert re.findall(r"'sha256-([^']+)'", our_part(page)) == hashes
        assert len(hashes) == 3
        assert "unsafe-inline'; script" not in page

    def test_hostile_text_is_only_text(self, tmp_path: Path) -> None:
        threshold = {"metric": SCRIPT, "rule": "<b>", "value": 1.0, "passed": False}
        run = make_run(
            tmp_path / "run",
            devices=devices_table(group=SCRIPT),
            description=f"{SCRIPT} & {{{{ policy }}}}",
            more={
                "scenario": SCRIPT,
                "model_version": SCRIPT,
                "thresholds": [threshold],
                SCRIPT: SCRIPT,
            },
        )
        ours = our_part(page_of(run))
        assert "<script>alert" not in ours
        assert ours.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{ policy }}") == 2
        assert views_of(ours, "budget")[1]["label"] == SCRIPT

    def test_says_what_was_run_and_what_came_of_it(self, run: Path) -> None:
        page = page_of(run)
        assert "<h1>small</h1>" in page
        assert '<p class="description">Three devices.</p>' in page
        for term, value in {"devices": "3", "seed": "3", "simulated": "5 minutes"}.items():
            assert f"<dt>{term}</dt><dd>{value}</dd>" in page
        for value, what in {
            "21.2 KiB": "update traffic",
            "42.6 %": "update traffic, as a share of full pushes",
            "1.1 %": "time above the budget",  # 10 of 900 device seconds
            "30 s": "time until an update is in use (p95)",
        }.items():
            assert f"<div><dt>{what}</dt><dd>{value}</dd></div>" in page

    def test_every_key_of_the_summary_is_explained(self, run: Path) -> None:
        page = page_of(run)
        summary = msgspec.json.decode((run / SUMMARY).read_bytes())
        for key in flatten(summary):
            assert re.search(rf"<code>{key}</code></th><td>.*?</td><td>.*?</td><td>\S+", page), key
        assert "<td>21,700 (21.2 KiB)</td><td>bytes</td>" in page

    def test_a_broken_threshold_stands_out(self, tmp_path: Path) -> None:
        kept = {"metric": "ndcg_at_10", "rule": ">= 0.1", "value": 0.25, "passed": True}
        broken = {"metric": "over_budget_share", "rule": "== 0", "value": 0.0111, "passed": False}
        page = page_of(make_run(tmp_path / "run", more={"thresholds": [kept, broken]}))
        rule = "<td><code>&gt;= 0.1</code></td><td>0.25</td><td><b>passed</b></td>"
        assert f'<tr class="passed"><th scope="row">ndcg_at_10</th>{rule}</tr>' in page
        assert '<tr class="failed"><th scope="row">over_budget_share</th>' in page
        assert '<p class="verdict broken"><b>Broken: 1 of 2 thresholds did not hold.</b> The fleet' in page

    def test_groups_stand_in_one_table_each(self, run: Path) -> None:
        """By the model version that was held at the time: a table by device would know the first one only."""
        page = page_of(run)
        assert page.count("<h3>group</h3>") == page.count("<h3>user_group</h3>") == 1
        assert "<h2>Groups</h2>" not in page

    def test_every_view_is_one_that_plotly_accepts(self, run: Path) -> None:
        page = page_of(run)
        for name in ("budget", "quality", "devices", "traffic", "latency", "elasticity"):
            for view in views_of(page, name):
                go.Figure(data=view["data"], layout=view["layout"])

    def test_faults_are_shaded_and_stages_named_where_the_axis_is_time(self, run: Path) -> None:
        page = page_of(run)
        for name in ("budget", "quality", "devices", "traffic"):
            for view in views_of(page, name):
                shapes = [(shape["type"], shape["x0"], shape["x1"]) for shape in view["layout"]["shapes"]]
                assert shapes == [("rect", 2.5, pytest.approx(200 / 60)), ("line", 0, 0), ("line", 2.5, 2.5)]
                notes = [(note["text"], note["x"]) for note in view["layout"]["annotations"]]
                assert notes == [("calm", 0), ("squeeze", 2.5)]
        assert "rect" not in str(views_of(page, "latency")[0]["layout"])

    def test_tells_what_a_fault_did(self, run: Path) -> None:
        page = page_of(run)
        assert "<li>loss (squeeze), from 150 seconds until 3.33 minutes: 0 devices were affected; " in page
        assert 'id="faults"' not in page_of(self.without(run, "faults"))

    @staticmethod
    def without(run: Path, *keys: str) -> Path:
        summary = msgspec.json.decode((run / SUMMARY).read_bytes())
        write_summary(run, {key: value for key, value in summary.items() if key not in keys})
        return run

    def test_a_fleet_that_was_never_whole_again_stands_out(self, tmp_path: Path) -> None:
        summary = msgspec.json.decode((make_run(tmp_path / "other") / SUMMARY).read_bytes())
        never = summary["faults"][0] | {"whole_again_seconds": None, "devices_not_whole": 2}
        page = page_of(make_run(tmp_path / "run", more={"faults": [never]}))
        assert "<b>never: 2 devices</b></td>" in page
        assert "After 1 of 1 not all devices recovered." in page

    def test_the_parts_of_the_fleet_are_compared(self, run: Path) -> None:
        page = page_of(run)
        options = re.findall(r'<option value="\d">(\w+)</option>', page.split('id="split-by"')[1])
        dimensions = ["group", "user_group", "stage", "pressure", "budget_decile", "budget_range"]
        assert options[:6] == dimensions
        assert page.count('<div class="split">') == 6
        by_stage = page.split("<h3>stage</h3>")[1].split("</table>")[0]
        rows = re.findall(r"<tr[^>]*><th[^>]*>(\w+)( <em>lowest</em>)?</th><td[^>]*>([\d,]+)</td>", by_stage)
        assert rows == [("calm", "", "6"), ("squeeze", " <em>lowest</em>", "3"), ("all", "", "9")]

    def test_a_run_without_splits_and_accounts_has_its_report_too(self, run: Path) -> None:
        """As older versions left them."""
        (run / METRICS).unlink()
        page = page_of(self.without(run, "faults", "actions", "stages", "pressure_seconds_by_level"))
        assert 'id="split-by"' not in page.replace(PLOTLY.read_text(encoding="utf-8"), "").split("</main>")[0]


class TestFigures:
    def test_budget_over_time(self, run: Path) -> None:
        views = views_of(page_of(run), "budget")
        assert [view["label"] for view in views] == ["whole fleet", "a", "b"]
        fleet = traces(views[0])
        budget, held = fleet["budget, median"]["y"], fleet["held, median"]["y"]
        assert budget == [8.0] * 150 + [4.0] * 151
        assert held == [0.0] * 30 + [8.0] * 130 + [4.0] * 141
        assert fleet["budget, sum"]["y"] == [28.0] * 150 + [14.0] * 151
        assert fleet["budget, 10 to 90 %"]["y"][0] == 16.0  # of 4, 8 and 16 the nearest rank
        assert views[0]["layout"]["yaxis"]["title"]["text"] == "per device (KiB)"
        assert (fleet["budget, sum"]["x0"], fleet["budget, sum"]["dx"]) == (0, pytest.approx(1 / 60))
        assert traces(views[2])["budget, median"]["y"] == [16.0] * 150 + [4.0] * 151

    def test_quality_over_time(self, run: Path) -> None:
        fleet, _, b = (traces(view) for view in views_of(page_of(run), "quality"))
        assert b["held"]["y"] == [0.0] * 30 + [0.5] * 120 + [0.3] * 151
        assert b["best for the budget"]["y"] == [0.6] * 150 + [0.3] * 151
        assert fleet["full table"]["y"] == [0.533333] * 301

    def test_each_title_says_what_is_seen(self, run: Path) -> None:
        page = page_of(run)
        titles = dict(
            re.findall(r'id="(\w+)"(?: open)?>\n<summary><h2><span class="topic">.*?</span> (.*?)</h2>', page)
        )
        headline = re.findall(r'id="(\w+)-chart">\n<h2><span class="topic">.*?</span> (.*?)</h2>', page)
        figures = ("budget", "devices", "traffic", "latency", "elasticity")
        assert dict(headline) | {name: titles[name] for name in figures} == {
            "budget": "Embeddings took 72.1 % of the budgets.",
            "quality": "After the first updates, mean NDCG@10 was between 0.267 and 0.367; "
            "the full table has 0.533.",
            "devices": "Three devices show the extremes of the fleet, and its middle.",
            "traffic": "Updates took 21.2 KiB, 42.6 % of what full pushes cost.",
            "latency": "Half of the updates were in use within 30 s of the budget change, 95 % within 30 s.",
            "elasticity": "Devices had 25.0 % of full quality at budgets of 2 KiB, and 50.0 % at 16 KiB.",
        }

    def test_traffic(self, run: Path) -> None:
        page = page_of(run)
        each, added = views_of(page, "traffic")
        sent = np.zeros(121)
        sent[[0, 60, 80, 119, 120]] = 20000, 200, 1200, 300, 300  # the last bin ends at the last edge
        assert np.multiply(traces(each)["sent"]["y"], KIB) == pytest.approx(sent, rel=1e-5)
        assert traces(added)["full pushes"]["y"][-1] == pytest.approx(50900 / KIB, rel=1e-5)
        assert traces(each)["lost (1)"]["y"][80] == traces(each)["superseded (1)"]["y"][80] == 1
        assert traces(each)["rejected (1)"]["y"][119] == 1
        assert "700 B were lost on the way and 800 B wasted" in page

    def test_latency(self, run: Path) -> None:
        page = page_of(run)
        fleet = traces(views_of(page, "latency")[0])
        assert fleet["updates"]["y"][0] == 1  # 10 s
        assert fleet["updates"]["y"][-1] == 3  # 30 s
        assert (fleet["share done"]["y"][1], fleet["share done"]["y"][-1]) == (25, 100)
        row = re.sub("<td[^>]*>", "<td>", page.split('<th scope="row">b</th>')[1].split("</tr>")[0])
        assert row == "<td>2</td><td>10 s</td><td>30 s</td><td>30 s</td><td>30 s</td>"

    def test_a_device_can_be_chosen(self, run: Path) -> None:
        views = views_of(page_of(run), "devices")
        assert [view["label"] for view in views] == [
            "a-0 (lowest quality: 32.5 % of full)",
            "b-0 (most budget changes: 4)",
            "a-1 (most update bytes: 8.79 KiB)",
        ]
        b = views[1]["data"]
        assert b[0]["y"] == [16, 16, 4, 4, 4]
        assert b[0]["x"] == [0, 0.5, 2.5, 2.66667, 5]
        assert b[-1]["name"] == "over budget"
        assert (b[-1]["x"], b[-1]["y"]) == ([2.5], [8])


class TestSeries:
    def test_before_a_device_starts_it_is_not_there(self, tmp_path: Path) -> None:
        late = make_run(tmp_path / "run", states=((0, 0, 10, 5, 0.1, 0.1), (2, 2, 30, 5, 0.3, 0.3)))
        views, sums = figures_of(late)
        found = sums.states.series(views)
        assert found["whole fleet"].total_budget[:4].tolist() == [10, 10, 40, 40]
        assert found["whole fleet"].full[:4].tolist() == pytest.approx([0.4, 0.4, 0.6, 0.6])
        assert np.isnan(found["b"].budget.median[:4]).tolist() == [True, True, False, False]

    def test_of_states_at_the_same_time_the_last_counts(self, tmp_path: Path) -> None:
        states = ((0, 0, 10, 0, 0.0, 0.1), (1, 0, 10, 4, 0.1, 0.1), (1, 0, 10, 8, 0.2, 0.1))
        views, sums = figures_of(make_run(tmp_path / "run", states=states))
        assert sums.states.series(views)["a"].total_resident[:3].tolist() == [0, 8, 8]

    def test_traffic_adds_up_to_the_summary(self, run: Path) -> None:
        summary = msgspec.json.decode((run / SUMMARY).read_bytes())
        found = figures_of(run)[1].updates.traffic_series()
        for name, curve in {
            "update_bytes": found.sent_bytes,
            "update_wire_bytes": found.wire_bytes,
            "full_update_bytes": found.full_bytes,
            "wasted_bytes": found.wasted_bytes,
            "lost_bytes": found.lost_bytes,
            "updates_lost": found.lost,
        }.items():
            assert curve.sum() == summary[name]

    def test_what_is_sent_after_the_stop_time_is_there(self, tmp_path: Path) -> None:
        """In further bins of 2.5 s; one that is sent at the very end is in the last bin of the run."""
        late = (
            (300, 0, ExchangeResult.APPLIED, 300, 300, 10, 10, 10, 0, 10),
            (306, 0, ExchangeResult.APPLIED, 304, 304, 20, 20, 20, 0, 20),
        )
        found = figures_of(make_run(tmp_path / "run", updates=late))[1].updates.traffic_series()
        assert found.edges_ns[-3:].tolist() == [ns(300), ns(302.5), ns(305)]
        assert found.sent_bytes[-3:].tolist() == [10, 0, 20]

    def test_latency_percentiles_are_those_of_the_metrics(self, run: Path) -> None:
        rows = pq.read_table(run / METRICS).to_pylist()
        views, sums = figures_of(run)
        found = sums.updates.distributions(views)
        for name, dimension, value in (("whole fleet", "all", ""), ("a", "group", "a"), ("b", "group", "b")):
            metric = ("update_latency_seconds", dimension, value)
            stats = {
                row["statistic"]: row["number"]
                for row in rows
                if (row["metric"], row["dimension"], row["value"]) == metric
            }
            percentiles = found[name].percentiles
            assert percentiles == {key: stats[key] for key in ("p50", "p95", "p99", "max")}
        assert found["a"].count + found["b"].count == found["whole fleet"].count == 4

    def test_groups_beyond_the_largest_have_no_view(self) -> None:
        sizes = {f"g{at:02d}": 1 for at in range(30)} | {"g28": 2, "g29": 2}
        views = FleetViews.from_sizes(sizes)
        assert [name for name, _ in views] == [
            "whole fleet",
            *(f"g{at:02d}" for at in range(14)),
            "g28",
            "g29",
        ]
        assert views.slots_of(["g00", "g14", "g29", "g27"]).tolist() == [0, 16, 15, 16]


class TestStates:
    def test_device_time_is_that_of_the_summary(self, run: Path) -> None:
        summary = msgspec.json.decode((run / SUMMARY).read_bytes())
        totals = figures_of(run)[1].examples.totals
        assert totals.number.tolist() == [0, 1, 2]
        assert totals.seconds.tolist() == [300, 300, 300]
        assert totals.over_seconds.sum() == summary["over_budget_device_seconds"] == 10
        assert totals.ndcg.sum() / totals.full.sum() == pytest.approx(summary["quality_ratio_to_full"])
        assert totals.regret.mean() == pytest.approx(summary["quality_regret"])

    def test_quality_by_budget(self, run: Path) -> None:
        views, sums = figures_of(run)
        b = sums.by_budget.curves(views, bins=4)["b"]
        # Edges lie on the fixed scale, 128 to a doubling: less than 0.8 % below the even ones.
        even = [2 * KIB, 2**1.75 * KIB, 2**2.5 * KIB, 2**3.25 * KIB, 16 * KIB]
        assert b.edges_bytes == pytest.approx(even, rel=1 / 128)
        assert [(edge * 128 / 2 ** math.floor(math.log2(edge))) % 1 for edge in b.edges_bytes] == [0.0] * 5
        assert b.share.tolist() == [0, 0.5, 0, 0.5]
        assert b.budget_bytes.tolist() == [4 * KIB, 16 * KIB]
        assert b.ratio == pytest.approx([0.3 / 0.8, 120 * 0.5 / (150 * 0.8)])
        assert b.best_ratio == pytest.approx([0.3 / 0.8, 0.6 / 0.8])

    def test_long_courses_are_sampled(self, tmp_path: Path) -> None:
        states = [(at / 4, 0, KIB + at, at, 0.1, 0.2) for at in range(900)]
        found = figures_of(make_run(tmp_path / "run", states=states))[1].examples.chosen()[0]
        assert found.sampled
        assert found.seconds.tolist() == [step / 2 for step in range(601)]
        assert found.budget_bytes.tolist() == [KIB + min(2 * step, 899) for step in range(601)]

    def test_devices_are_chosen_for_different_reasons(self) -> None:
        def of(*values: float) -> Any:  # Any: an array of floats
            return np.array(values, dtype=np.float64)

        totals = DeviceTotals(
            number=np.arange(10, 17),
            seconds=of(1, 1, 1, 1, 1, 1, 0),
            over_seconds=of(0, 0, 0, 0, 9, 0, 0),
            ndcg=of(0.1, 0.5, 0.5, 0.5, 0.6, 0.5, 0),
            best=of(0.1, 0.5, 0.5, 0.8, 0.6, 0.5, 0),
            full=of(1, 1, 1, 1, 1, 1, 0),
            changes=of(9, 8, 1, 1, 1, 1, 0),
            update_bytes=of(9, 9, 8, 1, 1, 1, 0),
        )
        assert choose_devices(totals, count_ratios(totals.ratio)) == [
            (10, "lowest quality: 10.0 % of full"),
            (11, "most budget changes: 8"),
            (12, "most update bytes: 8 B"),
            (13, "highest regret: 0.3 NDCG@10 on average"),
            (14, "longest over budget: 9 s"),
            (15, "median quality: 50.0 % of full"),
        ]


def applied_nothing() -> Iterator[Update]:
    for row in UPDATES:
        if row[2] is not ExchangeResult.APPLIED:
            yield row


class TestEdges:
    def test_no_update_was_applied(self, tmp_path: Path) -> None:
        page = page_of(make_run(tmp_path / "run", updates=tuple(applied_nothing())))
        assert views_of(page, "latency")[0]["data"] == []
        assert "no update was applied" in page

    def test_no_update_at_all(self, tmp_path: Path) -> None:
        page = page_of(make_run(tmp_path / "run", updates=()))
        assert "<dt>update traffic</dt><dd>0 B</dd>" in page
        assert [trace["type"] for trace in views_of(page, "traffic")[0]["data"]] == ["bar"] * 3

    def test_one_device(self, tmp_path: Path) -> None:
        devices = devices_table().slice(0, 1)
        page = page_of(make_run(tmp_path / "run", STATES[:1], UPDATES[:1], devices))
        assert [view["label"] for view in views_of(page, "budget")] == ["whole fleet"]
        assert 'id="budget-view"' not in page  # nothing to choose from
        assert len(views_of(page, "devices")) == 1

    def test_budget_of_nothing_and_users_whom_nothing_helps(self, tmp_path: Path) -> None:
        devices = devices_table().set_column(3, "full_ndcg_at_10", [[0.0, 0.0, 0.0]])
        page = page_of(make_run(tmp_path / "run", ((0, 0, 0, 0, 0.0, 0.0),), (), devices))
        assert "recommends nothing of use" in page
        assert "<dt>quality, as a share of the full table's</dt>" not in page

    def test_a_device_that_starts_at_the_stop_time_has_no_course(self, tmp_path: Path) -> None:
        states = (*STATES[:1], (STOP_S, 2, KIB, 0, 0.0, 0.1))
        assert len(views_of(page_of(make_run(tmp_path / "run", states)), "devices")) == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.000134, "134 µs"), (0.134, "134 ms"), (12.34, "12.3 s"), (300, "5 minutes"), (86_400, "24 hours"),
     (604_800, "7 days")],
)  # fmt: skip
def test_durations_are_told_in_the_unit_that_suits(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 %"), (0.00001, "< 0.01 %"), (0.5, "50.00 %"), (None, "–")]
)
def test_a_small_share_does_not_look_like_none(value: float | None, text: str) -> None:
    assert share(value) == text


def test_ticks_of_logarithmic_axes() -> None:
    assert byte_ticks(np.array([3000.0, 40000.0]))[1] == ["4 KiB", "8 KiB", "16 KiB", "32 KiB"]
    assert len(byte_ticks(np.array([5000.0, 6000.0]))[0]) == 4
    assert time_ticks(np.array([0.04, 0.3]))[1] == ["50 ms", "100 ms", "200 ms"]
    assert all(math.isfinite(tick) for tick in time_ticks(np.array([1e-6, 1e-6 * 1.1]))[0])
