"""docs/traffic.md: its tables say what its prose says, and so do the same sweeps run in small."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks.traffic import COLUMNS, PAGE, SWEEPS, markdown, read_figures, replace_tables, table_pattern
from emulator.sweep.run_sweep import SweepObserver, SweepOptions, run_sweep
from scenarios.language.sweep_expansion import load_plan
from tests.emulator.event_logs import event_table
from wire.units import BYTE_UNITS

SCENARIOS = Path(__file__).parents[1] / "scenarios"
SMALL = (
    "stop_time=6 min",
    "model.layers=32",
    "model.training.ials.epochs=6",
    "model.training.ials.l2_doublings=0",
    "model.training.user_groups=3",
)
COUNTS = {"thrash": (6, 10, 10), "policy-matrix": (8, 6, 6, 6, 6)}
FEW = ("full", "delta", "full-if-over-50", "cloud-evicts", "hysteresis-50", "debounce-15", "select-random")
"""Cases of the policy matrix that are run in small; the others would store the model once more each."""

Table = Mapping[str, Mapping[str, float]]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traffic-stores")


def in_small(name: str, folder: Path, stores: Path, only: tuple[str, ...] = ()) -> Table:
    """Run the sweep of a shipped scenario with a few devices; return its figures."""
    counts = (f"fleet[{place}].count={count}" for place, count in enumerate(COUNTS[name]))
    plan = load_plan(SCENARIOS / f"{name}.yaml", [*SMALL, *counts])
    wanted = tuple(each for each in plan.combinations if not only or each.name in only)
    run_sweep(
        replace(plan, combinations=wanted), SweepOptions(out=folder, jobs=1, store=stores), SweepObserver()
    )
    return read_figures(folder)


def on_the_page(name: str) -> Table:
    """Return the figures of a table of the page, as far as it shows them."""
    shown = table_pattern(name).search(PAGE.read_text(encoding="utf-8"))
    assert shown is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown[0].splitlines()]
    assert rows[0] == ["policy", *(heading for heading, _ in COLUMNS.values())]
    return {row[0].strip("`"): dict(zip(COLUMNS, map(figure, row[1:]), strict=True)) for row in rows[2:]}


def updates_of(combination: Path) -> pa.Table:
    return event_table(combination / "seed-1", "update")


def mean(values: pa.ChunkedArray) -> float:
    return float(pc.mean(values).as_py())


def figure(text: str) -> float:
    """Read a cell of the page."""
    number, _, unit = text.partition(" ")
    if unit in BYTE_UNITS:
        return float(number) * BYTE_UNITS[unit]
    return float(number.replace(",", "")) / (100 if unit == "%" else 1)


def column(table: Table, name: str) -> dict[str, float]:
    return {policy: figures[name] for policy, figures in table.items()}


def thrash_teaches(table: Table) -> None:
    """Assert what the page says of traffic and of time over budget in the sweep of `thrash`."""
    share, over = column(table, "of_the_first"), column(table, "over_budget_share")
    wire, payload = column(table, "update_wire_bytes"), column(table, "update_bytes")

    # Hysteresis cuts at least 80 % of the bytes of immediate full pushes, with full pushes and with deltas.
    assert max(share["full-hysteresis-10"], share["hysteresis-10"]) <= 0.2
    # Deltas alone are most of it; the more hysteresis, the fewer bytes.
    assert share["delta"] <= 0.2
    assert share["delta"] > share["hysteresis-5"] > share["hysteresis-10"] > share["hysteresis-40"]
    # Headroom saves about as much as the hysteresis of its size.
    assert abs(share["headroom-10"] / share["hysteresis-10"] - 1) < 0.25
    # A debounce longer than a flicker stills the flicker, as hysteresis above its height does.
    assert abs(share["debounce-15"] / share["hysteresis-5"] - 1) < 0.25
    assert share["levels-4"] < share["delta"]
    # Only who asks the cloud first is ever over budget, and saves no bytes by it.
    asks = {"cloud-evicts", "hysteresis-10.cloud-evicts"}
    assert {policy for policy, found in over.items() if found > 0} == asks
    assert over["hysteresis-10.cloud-evicts"] < over["cloud-evicts"] / 3
    assert abs(share["cloud-evicts"] / share["delta"] - 1) < 0.05
    # Framing weighs more, the smaller updates are.
    assert wire["delta"] / payload["delta"] > 1.5 * (wire["full"] / payload["full"] - 1) + 1
    # Who waits before it tells, waits.
    latency = column(table, "update_latency_seconds.p95")
    assert {policy for policy, seconds in latency.items() if seconds > 1} == {
        "debounce-15",
        "headroom-10.debounce-15",
    }
    # What it costs in quality is there to be read.
    assert {"ndcg_at_10", "quality_ratio_to_full", "quality_regret"} <= set(table["full"])
    assert abs(table["delta"]["ndcg_at_10"] / table["full"]["ndcg_at_10"] - 1) <= 0.002


def thrash_costs(table: Table) -> None:
    """Assert what the page says of the sweep of `thrash` that a short run of few devices does not show."""
    wire, payload = column(table, "update_wire_bytes"), column(table, "update_bytes")
    assert wire["delta"] / payload["delta"] > 1.1 > wire["full"] / payload["full"]
    regret, ratio = column(table, "quality_regret"), column(table, "quality_ratio_to_full")
    assert abs(regret["delta"]) + abs(regret["hysteresis-10"]) < 0.0005
    assert 0.0005 < regret["hysteresis-40"] < 0.002
    assert abs(regret["headroom-10"]) < 0.001  # cannot be told from chance
    assert max(regret, key=regret.__getitem__) == "hysteresis-40" == min(ratio, key=ratio.__getitem__)
    assert regret["cloud-evicts"] <= regret["delta"]  # it keeps what it may not keep


def the_matrix_teaches(table: Table) -> None:
    """Assert what the page says of traffic and of time over budget in the sweep of `policy-matrix`."""
    share, over = column(table, "of_the_first"), column(table, "over_budget_share")

    assert share["delta"] < 0.5
    assert share["delta"] < share["full-if-over-50"] < share["full"]
    assert {policy for policy, found in over.items() if found > 0} == {"cloud-evicts"}
    assert share["hysteresis-50"] < share["delta"]
    assert share["debounce-15"] < share["delta"]
    assert table["debounce-15"]["quality_regret"] > 2 * table["delta"]["quality_regret"]
    assert table["select-random"]["ndcg_at_10"] < 0.95 * table["delta"]["ndcg_at_10"]


def the_matrix_costs(table: Table) -> None:
    """Assert what the page says of the cases that run at full scale only."""
    ratio, share = column(table, "quality_ratio_to_full"), column(table, "of_the_first")
    regret = column(table, "quality_regret")
    assert abs(ratio["delta"] - ratio["full-if-over-50"]) <= 0.001
    assert share["delta"] < 1 / 3
    assert 1.05 < share["full-if-over-50"] / share["delta"] < 1.2
    assert 1 < share["no-supersede"] / share["delta"] < 1.03
    assert ratio["codec-fp32"] < 0.78 * ratio["delta"]
    assert ratio["select-random"] < 0.75 * ratio["delta"]
    assert ratio["delta"] > ratio["codec-planes"] > ratio["codec-int8"] > ratio["codec-fp32"]
    assert ratio["delta"] >= ratio["select-weight"] > ratio["select-popularity"] > ratio["select-random"]
    assert share["delta"] > share["hysteresis-10"] > share["hysteresis-50"] > share["levels-2"]
    assert abs(regret["hysteresis-50"]) < 0.0005 < regret["debounce-15"] < regret["headroom-10"] < 0.003


ON_THE_PAGE: Mapping[str, Sequence[Callable[[Table], None]]] = {
    "thrash": (thrash_teaches, thrash_costs),
    "policy-matrix": (the_matrix_teaches, the_matrix_costs),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_the_table_on_the_page_shows_what_the_prose_says(name: str) -> None:
    for check in ON_THE_PAGE[name]:
        check(on_the_page(name))


@pytest.mark.parametrize("name", SWEEPS)
def test_the_table_on_the_page_has_the_cases_of_the_file(name: str) -> None:
    cases = [each.name for each in load_plan(SCENARIOS / f"{name}.yaml").combinations]
    assert list(on_the_page(name)) == cases


def test_the_page_names_the_commands_that_make_its_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in SWEEPS:
        assert f"peelfleet sweep scenarios/{name}.yaml" in page


@pytest.mark.slow
def test_thrash_in_small_teaches_the_same(tmp_path: Path, stores: Path) -> None:
    thrash_teaches(in_small("thrash", tmp_path, stores))

    # An answer that brings no blocks is a small message with about a hundred bytes around it.
    sent = updates_of(tmp_path / "delta")
    empty = sent.filter(pc.equal(sent["sent"], "nothing"))
    assert 140 < mean(empty["update_bytes"]) < 165
    assert 90 < mean(empty["update_wire_bytes"]) - mean(empty["update_bytes"]) < 110
    assert 80 < mean(sent["report_bytes"]) < 100
    # What no policy saves are first PEEs.
    still = updates_of(tmp_path / "hysteresis-40")
    first = still.filter(pc.equal(still["sent"], "first"))
    assert pc.sum(first["update_bytes"]).as_py() > 0.9 * pc.sum(still["update_bytes"]).as_py()


@pytest.mark.slow
def test_the_policy_matrix_in_small_teaches_the_same(tmp_path: Path, stores: Path) -> None:
    the_matrix_teaches(in_small("policy-matrix", tmp_path, stores, FEW))


def test_tables_are_written_between_their_markers() -> None:
    full = {**dict.fromkeys(COLUMNS, 0.5), "update_bytes": 3 * 2**20, "update_wire_bytes": 4 * 2**20}
    table = markdown({"full": full})
    assert table.splitlines()[2] == (
        "| `full` | 3 MiB | 50 % | 4 MiB | 0 | 0.5000 | 0.500 | 0.50000 | 0.5 s | 50 % |"
    )
    page = "before\n<!-- thrash -->\nold\n<!-- end -->\n<!-- policy-matrix -->\nkept\n<!-- end -->\n"
    assert replace_tables(page, {"thrash": table}) == page.replace("old", table)
    with pytest.raises(ValueError, match="must hold the markers of table 'codecs' once, holds 0"):
        replace_tables(page, {"codecs": table})
