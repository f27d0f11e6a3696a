"""Random small scenarios: some minutes of a few devices, whatever may happen to them."""

from typing import Any

import yaml
from hypothesis import strategies as st

from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from tests.emulator.storms import STORM

Tree = dict[str, Any]  # Any: YAML

BASE: Tree = {
    key: value for key, value in yaml.safe_load(STORM).items() if key in ("version", "data", "model")
}
STAGES = ("first", "second", "third")
CALM_MIN = 4


def ms(low: int, high: int) -> st.SearchStrategy[str]:
    """Return spans of time; round ones too, so that things fall together."""
    exact = st.integers(low, high).map("{} ms".format)
    least, most = -(-low // 1000), high // 1000
    return exact | st.integers(least, most).map("{} s".format) if least <= most else exact


def percent(low: int, high: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map("{} %".format)


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Tree]:
    """Return mappings with any of *keys*."""
    return st.fixed_dictionaries({}, optional=keys)


bandwidths = st.sampled_from(["8 kbps", "20 kbps", "100 kbps", "1 Mbps"])
directions = some(latency=ms(1, 2000), bandwidth=bandwidths, loss=percent(0, 40)) | st.fixed_dictionaries(
    {
        "latency": ms(1000, 4000),
        "deviation": ms(1, 1000),
        "distribution": st.sampled_from(["normal", "uniform", "lognormal", "pareto"]),
    },
    optional={"bandwidth": bandwidths, "loss": percent(0, 40)},
)
networks = some(uplink=directions, downlink=directions)
selects = some(
    share=percent(1, 100),
    groups=st.sampled_from([["a"], ["b"], ["a", "b"]]),
    labels=st.just({"os": "x"}),
    networks=st.just(["lte"]),
    nodes=st.just(["slow"]),
)
moments = st.sampled_from(STAGES) | st.tuples(st.sampled_from(STAGES), ms(0, 50_000)).map(" + ".join)
actions = (
    st.fixed_dictionaries({"type": st.just("budget_scale"), "factor": st.sampled_from([0, 0.1, 0.5, 1.0, 3])},
                          optional={"over": ms(0, 60_000)})
    | st.fixed_dictionaries({"type": st.just("disconnect"), "duration": ms(1, 60_000)},
                            optional={"reconnect_within": ms(0, 10_000)})
    | st.fixed_dictionaries({"type": st.just("network"), "to": st.sampled_from(["default", "lte"])},
                            optional={"duration": ms(1, 60_000)})
    | st.fixed_dictionaries({"type": st.just("new_users")}, optional={"within": ms(0, 60_000)})
)  # fmt: skip
lasting = {"duration": ms(1, 60_000)}
streams = {"stream": st.sampled_from(["both", "uplink", "downlink"])}
link_faults = (
    st.fixed_dictionaries({"type": st.just("latency"), "delay": ms(1000, 5000), **lasting},
                          optional={"jitter": ms(0, 999), **streams})
    | st.fixed_dictionaries({"type": st.just("bandwidth"), "rate": st.sampled_from(["1 kbps", "50 kbps"]),
                             **lasting}, optional=streams)
    | st.fixed_dictionaries({"type": st.sampled_from(["loss", "duplicates"]), "share": percent(0, 100),
                             **lasting}, optional=streams)
    | st.fixed_dictionaries({"type": st.just("corruption"), "share": percent(0, 90), **lasting},
                            optional=streams)
    | st.fixed_dictionaries({"type": st.just("reordering"), "share": percent(0, 100), **lasting},
                            optional={"delay": ms(1, 5000)})
)  # fmt: skip
faults = (
    st.tuples(link_faults, st.just({}) | selects.map(lambda select: {"select": select})).map(
        lambda both: both[0] | both[1]
    )
    | st.fixed_dictionaries(
        {"type": st.just("broker_down"), **lasting}, optional={"reconnect_within": ms(0, 9000)}
    )
    | st.fixed_dictionaries({"type": st.just("cloud_down"), **lasting})
    | st.fixed_dictionaries(
        {"type": st.just("cloud_slow"), "factor": st.sampled_from([0.5, 10, 1000]), **lasting}
    )
)
memories = (
    st.fixed_dictionaries({
        "type": st.just("bounded_walk"), "min": st.just("1 KiB"), "max": st.just("1200 KiB"),
        "max_step": st.sampled_from(["20 KiB", "600 KiB"]), "step_every": ms(500, 8_000),
        "spacing": st.sampled_from(["exponential", "fixed"]),
    })
    | st.fixed_dictionaries({
        "type": st.just("square_wave"), "low": st.sampled_from(["1 KiB", "500 KiB"]),
        "high": st.sampled_from(["501 KiB", "1200 KiB"]), "low_for": ms(500, 20_000),
        "high_for": ms(500, 20_000),
    })
    | st.fixed_dictionaries({
        "type": st.just("boundary"), "at": percent(0, 100), "depth": percent(1, 90),
        "low_for": ms(500, 20_000), "high_for": ms(500, 20_000),
    })
)  # fmt: skip
publishes = some(on_change=percent(0, 60), min_interval=ms(0, 40_000), max_interval=ms(40_000, 200_000))
groups = st.fixed_dictionaries(
    {"memory": memories, "count": st.integers(1, 4)},
    optional={
        "budget": some(min=st.sampled_from(["0 B", "300 B"]), publish=publishes),
        "network": st.just("lte"),
        "node": st.just("slow"),
        "start_at": st.sampled_from(["first", "second + 10 s", "0 s"]),
        "start_within": ms(0, 60_000),
        "churn": some(
            intermittent_share=percent(0, 100),
            uptime_mean=ms(1000, 60_000),
            downtime_mean=ms(1000, 60_000),
            deviation=percent(0, 50),
        ),
    },
)
updates = (
    some(
        retry_after=ms(500, 60_000),
        supersede=st.booleans(),
        local_eviction=st.booleans(),
        hysteresis=percent(0, 60),
        debounce=ms(0, 40_000),
        levels_per_doubling=st.sampled_from([1, 4, 64]),
        headroom=percent(0, 60),
    )
    | st.fixed_dictionaries({"full_if_delta_over": percent(0, 100)})
    | st.just({"encoding": "full"})
)
clouds = some(service_time=ms(0, 2000)) | st.fixed_dictionaries(
    {"workers": st.integers(1, 2), "service_time": ms(1, 2000)},
    optional={
        "distribution": st.sampled_from(["constant", "exponential"]),
        "queue_limit": st.integers(1, 3),
        "coalesce": st.booleans(),
    },
)


nodes = some(memory=st.just("2 GiB"), apply_rate=st.sampled_from(["1 kB/s", "1 MB/s"]))


@st.composite
def lives(draw: st.DrawFn) -> Scenario:
    """Draw a scenario of three stages of weather, and a last one of calm."""
    fleet: list[Tree] = []
    for name in ("a", "b"):
        group: Tree = draw(groups)
        budget = {"share": "3 %", **group.pop("budget", {})}
        if group["memory"]["type"] == "boundary":
            budget.pop("min", None)  # the budget must get below the boundary
        fleet.append({"name": name, "labels": {"os": "x"}, "budget": budget, **group})
    fleet[0].update(network="lte", node="slow")  # somebody whom a selection by these fits
    fleet[0].pop("availability", None)
    stages = [
        {
            "name": name,
            "duration": "2 min",
            "target": draw(percent(0, 100)),
            "ramp": draw(ms(0, 120_000)),
            "spread": draw(st.sampled_from(["linear", "uniform", "poisson"])),
        }
        for name in STAGES
    ]
    stages.append({"name": "calm", "duration": f"{CALM_MIN} min", "ramp": "30 s"})
    tree = BASE | {
        "name": "life",
        "seed": draw(st.integers(0, 5)),
        "clock": "virtual",
        "fleet": fleet,
        "networks": {"default": draw(networks), "lte": draw(networks)},
        "nodes": {"slow": draw(nodes)},
        "stages": stages if draw(st.booleans()) else [stage | {"target": 1.0} for stage in stages],
        "actions": [{"at": draw(moments), **draw(actions), "select": _fitting(draw(selects))}
                    for _ in range(draw(st.integers(0, 4)))],
        "faults": [{"at": draw(moments), **draw(faults)} for _ in range(draw(st.integers(0, 5)))],
        "updates": {"max_payload": "4 KiB", **draw(updates)},
        "cloud": draw(clouds),
    }  # fmt: skip
    for fault in tree["faults"]:
        if "select" in fault:
            fault["select"] = _fitting(fault["select"])
    return parse(yaml.safe_dump(tree, sort_keys=False), "life.yaml")


def _fitting(select: Tree) -> Tree:
    """Return *select* so that it fits a group: the first is on `lte` and `slow`."""
    if "networks" in select or "nodes" in select:
        return select | {"groups": ["a"]}
    return select
