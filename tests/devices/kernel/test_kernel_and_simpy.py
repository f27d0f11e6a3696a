"""The kernel yields the rows of the SimPy device: shipped scenarios, and scenarios that are drawn."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.simulation.engines import unsupported
from emulator.simulation.model_cache import resolve_data
from scenarios.language.load import load, parse, shipped
from tests.devices.kernel.engines import BothEngines, differences, job_of
from tests.emulator.scenarios import TINY
from tests.test_shipped_scenarios import data_of, reduced


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernel-stores")


SUPPORTED = (
    "day-in-the-life", "flaky-network", "heterogeneous-fleet", "live-squeeze", "ml-100k", "ml-1m",
    "playground", "policy-matrix", "quickstart", "squeeze", "thrash", "trace-replay",
)  # fmt: skip
QUICKEST = ("flaky-network", "heterogeneous-fleet", "policy-matrix")
"""The others are run in the slow set."""


def test_the_shipped_scenarios_that_share_something_are_simpys() -> None:
    virtual = {path.stem: load(path, ["clock=virtual"]) for path in shipped()}

    assert {name for name, scenario in virtual.items() if unsupported(scenario) is None} == set(SUPPORTED)


@pytest.mark.data
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in QUICKEST else [pytest.mark.slow])
        for path in shipped()
        if path.stem in SUPPORTED
    ],
)
def test_a_shipped_scenario_has_the_same_rows_in_both_engines(
    path: Path, stores: Path, tmp_path: Path
) -> None:
    scenario = reduced(path)
    scenario = msgspec.structs.replace(scenario, data=resolve_data(scenario.data, data_of(path)))
    both = BothEngines(job_of(scenario, stores, tmp_path))

    rows, left = both.kernel_rows()

    assert left == []
    assert differences(rows, both.simpy_rows()) == []


def times(shortest: int, longest: int) -> st.SearchStrategy[str]:
    return st.integers(shortest, longest).map(lambda ms: f"{ms} ms")


@st.composite
def directions(draw: st.DrawFn) -> dict[str, object]:
    latency = draw(st.integers(1, 3000))
    distribution = draw(st.sampled_from(("normal", "uniform", "lognormal", "pareto")))
    most = latency if distribution == "pareto" else 3 * latency
    return {
        "latency": f"{latency} ms",
        "deviation": draw(st.sampled_from(("0 s", f"{draw(st.integers(0, most))} ms"))),
        "distribution": distribution,
        "bandwidth": draw(st.sampled_from(("20 kbps", "300 kbps", "20 Mbps"))),
        "loss": draw(st.sampled_from((0.0, 0.05, 0.4))),
        "recovery": draw(st.sampled_from(("none", "transport"))),
    }


networks = st.fixed_dictionaries({"uplink": directions(), "downlink": directions()})
shares = st.sampled_from((0.1, 0.5))
streams = st.sampled_from(("both", "uplink", "downlink"))
spans = {"at": times(0, 200_000), "duration": times(50_000, 400_000)}
selects = st.sampled_from(({}, {"groups": ["phone"]}, {"share": 0.5}))
link_faults = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(("loss", "duplicates", "corruption")), "share": shares, "stream": streams}
        | spans
        | {"select": selects}
    ),
    st.fixed_dictionaries(
        {"type": st.just("reordering"), "share": shares, "delay": times(1, 5_000), "select": selects} | spans
    ),
    st.fixed_dictionaries(
        {"type": st.just("latency"), "delay": st.just("2 s"), "jitter": times(0, 2_000), "stream": streams}
        | spans
    ),
    st.fixed_dictionaries(
        {"type": st.just("bandwidth"), "rate": st.just("10 kbps"), "stream": streams} | spans
    ),
)
other_faults = st.one_of(
    st.fixed_dictionaries({"type": st.just("broker_down"), "reconnect_within": times(0, 20_000)} | spans),
    st.fixed_dictionaries({"type": st.just("cloud_down")} | spans),
    st.fixed_dictionaries(
        {"type": st.just("cloud_slow"), "factor": st.sampled_from((0.5, 20.0, 700.0))} | spans
    ),
)
at = {"at": times(0, 500_000), "select": selects}
actions = st.one_of(
    st.fixed_dictionaries({"type": st.just("budget_scale"), "factor": st.sampled_from((0.0, 0.4, 2.0))} | at),
    st.fixed_dictionaries({"type": st.just("disconnect"), "duration": times(1, 100_000)} | at),
    st.fixed_dictionaries({"type": st.just("network"), "to": st.sampled_from(("far", "near"))} | at),
    st.fixed_dictionaries({"type": st.just("new_users"), "within": times(0, 100_000)} | at),
)
publishes = st.fixed_dictionaries(
    {
        "on_change": st.sampled_from((0.0, 0.2)),
        "min_interval": times(0, 20_000),
        "max_interval": st.sampled_from((None, "30 s", "2 min")),
    }
)
walks = st.fixed_dictionaries(
    {
        "type": st.just("bounded_walk"),
        "min": st.just("1 KiB"),
        "max": st.just("1200 KiB"),
        "initial": st.sampled_from((None, "600 KiB")),
        "max_step": st.sampled_from(("10 KiB", "900 KiB")),
        "step_every": times(500, 60_000),
        "spacing": st.sampled_from(("exponential", "fixed")),
        "phase": st.sampled_from(("random", "aligned")),
        "retain_probability": st.sampled_from((0.0, 0.3)),
        "reset_probability": st.sampled_from((0.0, 0.2)),
    }
)
waves = st.fixed_dictionaries(
    {
        "type": st.just("square_wave"),
        "low": st.just("50 KiB"),
        "high": st.just("1 MiB"),
        "low_for": times(900, 60_000),
    }
)
boundaries = st.fixed_dictionaries(
    {"type": st.just("boundary"), "low_for": times(500, 60_000), "high_for": times(500, 60_000)}
)
groups = st.fixed_dictionaries(
    {
        "count": st.integers(1, 4),
        "network": st.sampled_from(("near", "far")),
        "node": st.sampled_from(("default", "slow")),
        "memory": st.one_of(walks, walks, waves, boundaries),
        "shocks": st.sampled_from(((), ({"every": "90 s", "lasting": "20 s", "over": "8 s", "share": 0.7},))),
        "start_within": st.sampled_from(("0 s", "40 s")),
        "churn": st.sampled_from((None, {"uptime_mean": "50 s", "downtime_mean": "9 s"})),
        "budget": st.fixed_dictionaries({"share": st.just(0.001), "publish": publishes}),
    }
)
updates = st.fixed_dictionaries(
    {
        "max_payload": st.sampled_from(("4 KiB", "128 KiB")),
        "full_if_delta_over": st.sampled_from((1.0, 0.6)),
        "local_eviction": st.booleans(),
        "retry_after": times(500, 40_000),
        "supersede": st.booleans(),
        "hysteresis": st.sampled_from((0.0, 0.3)),
        "debounce": st.sampled_from(("0 s", "3 s")),
        "levels_per_doubling": st.sampled_from((None, 3)),
        "headroom": st.sampled_from((0.0, 0.1)),
    }
)


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    """Draw a scenario, as changes of the tiny one."""
    phone, tvbox = draw(groups), draw(groups)
    fleet = [{"name": "phone", **phone}, {"name": "tvbox", **tvbox}]
    update = draw(updates)
    if draw(st.booleans()):
        update |= {"encoding": "full", "full_if_delta_over": 1.0}
    changes: dict[str, object] = {
        "seed": draw(st.integers(0, 1000)),
        "stop_time": "10 min",
        "nodes": {"slow": {"memory": "2 MiB", "apply_rate": "40 kbps"}},
        "networks": {"near": draw(networks), "far": draw(networks)},
        "fleet": fleet,
        "updates": update,
        "faults": draw(st.lists(link_faults, max_size=3)) + draw(st.lists(other_faults, max_size=1)),
        "actions": draw(st.lists(actions, max_size=3)),
        "model.codec": draw(st.sampled_from(("coded", "int8", "fp32"))),
        "cloud.service_time": draw(st.sampled_from(("5 ms", "3 s"))),
    }
    return [f"{key}={msgspec.json.encode(value).decode()}" for key, value in changes.items()]


def compare_engines(changes: list[str], stores: Path, folder: Path) -> None:
    scenario = parse(TINY, "tiny", changes)
    both = BothEngines(job_of(scenario, stores, folder))
    rows, left = both.kernel_rows()
    exact = {name: table[~np.isin(table["device"], left)] for name, table in both.simpy_rows().items()}
    assert differences(rows, exact) == []


@given(changes=overrides())
@settings(max_examples=30, deadline=None)
def test_a_drawn_scenario_has_the_same_rows_in_both_engines(
    changes: list[str], stores: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    compare_engines(changes, stores, tmp_path_factory.mktemp("drawn"))


@pytest.mark.slow
@given(changes=overrides())
@settings(max_examples=400, deadline=None)
def test_four_hundred_drawn_scenarios_have_the_same_rows_in_both_engines(
    changes: list[str], stores: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    compare_engines(changes, stores, tmp_path_factory.mktemp("drawn"))
