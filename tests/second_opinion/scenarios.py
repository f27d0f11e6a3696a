"""Random scenarios from a number: some minutes of a few devices, whatever may happen to them."""

import random
from pathlib import Path
from typing import Any

import yaml

from scenarios.language.load import parse
from wire.errors import InputError

Tree = dict[str, Any]  # Any: YAML
ATTEMPTS = 200

MODEL: Tree = {
    "data": {
        "type": "synthetic", "users": 90, "items": 700, "interactions_per_user": 15, "user_groups": 3,
        "item_kinds": 4,
    },
    "model": {
        "layers": 12,
        "training": {
            "dim": 8, "epochs": 4, "user_groups": 3, "item_groups": 8,
        },
    },
}  # fmt: skip
"""One model for all, and one more that rollouts bring: they are trained once."""
STAGES = ("wake", "work", "rest")
SIZES = ("1 KiB", "40 KiB", "200 KiB", "500 KiB", "1 MiB")


def scenario_of(number: int, folder: Path) -> str:
    """Return the text of scenario *number*; traces that it plays are written into *folder*.

    Not all that is drawn fits together: the first draw that the loader takes is it.
    """
    for attempt in range(ATTEMPTS):
        tree = _Draw(random.Random(1000 * number + attempt), folder).scenario(number)
        text = yaml.safe_dump(tree, sort_keys=False)
        try:
            parse(text)
        except InputError:
            continue
        return text
    raise AssertionError(f"no scenario {number} in {ATTEMPTS} attempts")


class _Draw:
    def __init__(self, rng: random.Random, folder: Path) -> None:
        self._rng = rng
        self._folder = folder

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _ms(self, low: int, high: int) -> str:
        """Return a span; often a round one, so that things fall together."""
        if self._chance(0.4) and high >= 1000:
            return f"{self._rng.randint(-(-low // 1000), high // 1000)} s"
        return f"{self._rng.randint(low, high)} ms"

    def _percent(self, low: int, high: int) -> str:
        return f"{self._rng.randint(low, high)} %"

    def _some(self, share: float, /, **keys: Any) -> Tree:  # Any: YAML
        return {key: value for key, value in keys.items() if self._chance(share)}

    def _two_sizes(self) -> tuple[str, str]:
        low, high = sorted(self._rng.sample(range(len(SIZES)), 2))
        return SIZES[low], SIZES[high]

    def scenario(self, number: int) -> Tree:
        rng = self._rng
        stages = [
            {"name": name, "duration": self._ms(100_000, 180_000), "ramp": self._ms(0, 60_000),
             "target": self._percent(40, 100), "spread": rng.choice(["linear", "uniform", "poisson"])}
            for name in STAGES[: rng.randint(1, 3)]
        ] if self._chance(0.7) else []  # fmt: skip
        names = [str(stage["name"]) for stage in stages]
        tree: Tree = {
            "version": 1, "name": f"random-{number}", "seed": rng.randint(0, 99), "clock": "virtual",
            **MODEL,
            "networks": {"default": self._network(), "lte": self._network()},
            "nodes": {"slow": self._some(0.5, memory="2 GiB", apply_rate=rng.choice(["1 kB/s", "1 MB/s"]),
                                         moderate="0.03 %", low="0.015 %", critical="0.005 %")},
            "fleet": [self._group(name, names) for name in ("phone", "tv", "watch")[: rng.randint(1, 3)]],
            "stages": stages,
            "updates": self._updates(),
            "cloud": self._cloud(),
        }  # fmt: skip
        if not stages or self._chance(0.5):
            total = 180 * len(stages) + rng.randint(300, 900)
            tree["stop_time"] = f"{total} s"
        tree["actions"] = [self._action(names) for _ in range(rng.randint(0, 3))]
        tree["faults"] = [self._fault(names) for _ in range(rng.randint(0, 3))]
        if self._chance(0.3):
            tree["rollout"] = {
                "at": self._moment(names), "seed": 9, "groups": rng.randint(1, 3),
                **self._some(0.5, timeout=self._ms(5_000, 60_000), error_threshold=self._percent(0, 60),
                             pause=self._ms(0, 20_000), on_error="rollback"),
            }  # fmt: skip
        if self._chance(0.5):
            tree["warmup"] = self._ms(1, 60_000)
        tree["thresholds"] = self._thresholds(names)
        return tree

    def _network(self) -> Tree:
        return {"uplink": self._direction(), "downlink": self._direction()}

    def _direction(self) -> Tree:
        rng = self._rng
        return self._some(
            0.5,
            latency=self._ms(1, 2500),
            deviation=self._ms(1, 400),
            distribution=rng.choice(["normal", "uniform", "lognormal", "pareto"]),
            bandwidth=rng.choice(["8 kbps", "50 kbps", "1 Mbps"]),
            loss=self._percent(0, 25),
            recovery=rng.choice(["none", "transport"]),
        )

    def _group(self, name: str, stages: list[str]) -> Tree:
        rng = self._rng
        group: Tree = {
            "name": name,
            "count": rng.randint(2, 9),
            "memory": self._memory(name),
            "budget": {
                "share": "3 %",
                **self._some(0.3, reserve="2 KiB", min="300 B", max="12 KiB"),
                **self._some(0.3, publish=self._some(
                    0.6, on_change=self._percent(0, 50), min_interval=self._ms(0, 20_000),
                    max_interval=self._ms(20_000, 90_000),
                )),
            },
            **self._some(0.5, network="lte", node="slow", start_within=self._ms(0, 60_000)),
            **self._some(0.6, labels=self._some(0.7, region=rng.choice(["eu", "us"]), os="x")),
        }  # fmt: skip
        if self._chance(0.3):
            group["start_at"] = self._moment(stages)
        if self._chance(0.3):
            group["shocks"] = [{"every": "2 min", "lasting": self._ms(1000, 50_000),
                                "keeps": self._percent(0, 90), "share": self._percent(1, 100)}]  # fmt: skip
        if self._chance(0.4):
            group["churn"] = self._some(
                0.7,
                intermittent_share=self._percent(0, 100),
                uptime_mean=self._ms(1000, 60_000),
                downtime_mean=self._ms(500, 40_000),
                deviation=self._percent(0, 50),
            )
        if self._chance(0.2):
            group["availability"] = {"file": self._trace(f"{name}-online", "online", ["true", "false"])}
        return group

    def _memory(self, name: str) -> Tree:
        rng, every = self._rng, self._ms(700, 15_000)
        low, high = self._two_sizes()
        spacing = rng.choice(["exponential", "fixed"])
        kind = rng.choice(
            ["bounded_walk", "daily", "square_wave", "sawtooth", "pressure_states", "boundary", "trace"]
        )
        match kind:
            case "bounded_walk":
                return {
                    "type": kind, "min": low, "max": high, "max_step": rng.choice(SIZES),
                    "step_every": every, "spacing": spacing,
                    **self._some(0.4, retain_probability=0.2, reset_probability=0.3),
                }  # fmt: skip
            case "daily":
                return {
                    "type": kind, "mean": high, "swing": low, "min": low, "max": "2 MiB", "deviation": low,
                    "reversion": "1 min", "step_every": every,
                }  # fmt: skip
            case "square_wave":
                return {
                    "type": kind, "low": low, "high": high, "low_for": self._ms(500, 60_000),
                    "high_for": self._ms(500, 60_000), "phase": rng.choice(["random", "high"]),
                }  # fmt: skip
            case "sawtooth":
                return {"type": kind, "low": low, "high": high, "leak": "30 KiB", "step_every": every}
            case "pressure_states":
                return {
                    "type": kind, "distribution": rng.choice(["exponential", "fixed", "lognormal"]),
                    "step_every": rng.choice([None, every]),
                    **{level: {"min": least, "max": most, "dwell": self._ms(2000, 60_000), "next": after}
                       for level, least, most, after in (
                           ("normal", "500 KiB", "1 MiB", {"moderate": 1.0}),
                           ("moderate", "200 KiB", "500 KiB", {"normal": 0.5, "low": 0.5}),
                           ("low", "40 KiB", "200 KiB", {"moderate": 0.7, "critical": 0.3}),
                           ("critical", "1 KiB", "40 KiB", {"normal": 0.2, "low": 0.8}))},
                }  # fmt: skip
            case "boundary":
                return {
                    "type": kind, "at": self._percent(10, 90), "depth": self._percent(1, 60),
                    "low_for": self._ms(500, 60_000), "high_for": self._ms(500, 60_000),
                }  # fmt: skip
        values = [str(rng.randint(1_000, 1_000_000)) for _ in range(4)]
        return {
            "type": "trace", "file": self._trace(f"{name}-memory", "mem_available_bytes", values),
            "on_end": rng.choice(["wrap", "hold"]),
        }  # fmt: skip

    def _trace(self, name: str, column: str, values: list[str]) -> str:
        """Write a trace of two series that takes *values*, and return its path."""
        rng, rows = self._rng, []
        for series in ("a", "b"):
            t_s = 0
            for _ in range(8):
                rows.append(f"{series},{t_s},{rng.choice(values)}\n")
                t_s += rng.randint(1, 30)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.csv"
        path.write_text(f"device_id,t_s,{column}\n" + "".join(rows))
        return str(path)

    def _moment(self, stages: list[str]) -> str:
        after = self._ms(0, 90_000)
        if not stages or self._chance(0.3):
            return after
        stage = self._rng.choice(stages)
        return stage if self._chance(0.5) else f"{stage} + {self._ms(0, 50_000)}"

    def _select(self) -> Tree:
        return self._some(0.4, share=self._percent(20, 100), groups=["phone"], labels={"os": "x"})

    def _action(self, stages: list[str]) -> Tree:
        rng = self._rng
        action: Tree = rng.choice([
            {"type": "budget_scale", "factor": rng.choice([0, 0.2, 0.7, 2]), "over": self._ms(0, 40_000)},
            {"type": "disconnect", "duration": self._ms(1, 40_000), "reconnect_within": self._ms(0, 9000)},
            {"type": "network", "to": rng.choice(["default", "lte"]), "duration": self._ms(1000, 60_000)},
            {"type": "new_users", "within": self._ms(0, 40_000)},
        ])  # fmt: skip
        return {"at": self._moment(stages), "select": self._select(), **action}

    def _fault(self, stages: list[str]) -> Tree:
        rng, lasting = self._rng, {"duration": self._ms(1000, 60_000)}
        links: list[Tree] = [
            {"type": "latency", "delay": self._ms(1000, 4000), "jitter": self._ms(0, 900)},
            {"type": "bandwidth", "rate": rng.choice(["2 kbps", "50 kbps"])},
            {"type": "loss", "share": self._percent(10, 100)},
            {"type": "duplicates", "share": self._percent(10, 100)},
            {"type": "corruption", "share": self._percent(10, 80)},
            {"type": "reordering", "share": self._percent(10, 100), "delay": self._ms(1, 5000)},
        ]
        fault = rng.choice([
            *({**each, "select": self._select()} for each in links),
            {"type": "broker_down", "reconnect_within": self._ms(0, 9000)},
            {"type": "cloud_down"},
            {"type": "cloud_slow", "factor": rng.choice([0.5, 20, 500])},
        ])  # fmt: skip
        if fault["type"] not in ("reordering", "broker_down", "cloud_down", "cloud_slow"):
            fault |= self._some(0.5, stream=rng.choice(["both", "uplink", "downlink"]))
        return {"at": self._moment(stages), **lasting, **fault}

    def _updates(self) -> Tree:
        rng = self._rng
        common = self._some(
            0.4,
            retry_after=self._ms(1000, 40_000),
            supersede=rng.choice([True, False]),
            hysteresis=self._percent(0, 50),
            debounce=self._ms(0, 20_000),
            levels_per_doubling=rng.choice([1, 4, 16]),
            headroom=self._percent(0, 40),
        )
        way: Tree = rng.choice([
            {"local_eviction": False}, {"delivery": "shared"}, {"encoding": "full"}, {},
            {"full_if_delta_over": self._percent(5, 95)},
        ])  # fmt: skip
        return {"max_payload": "4 KiB", **common, **way}

    def _cloud(self) -> Tree:
        rng = self._rng
        if self._chance(0.5):
            return self._some(0.5, service_time=self._ms(0, 2000))
        return {
            "workers": rng.randint(1, 2), "service_time": self._ms(1, 1500),
            **self._some(0.5, distribution="exponential", queue_limit=rng.randint(1, 4),
                         coalesce=rng.choice([True, False])),
        }  # fmt: skip

    def _thresholds(self, stages: list[str]) -> Tree:
        rng = self._rng
        filters = ["", "", "{group=phone}", "{pressure=normal}", "{budget_decile=2}"]
        filters += [f"{{stage={name},group=phone}}" for name in stages]
        rules = {
            "update_latency_seconds": ["p(50)<2s", "p(99.9)<9s", "mean<1s", "sum<100s", "count>3"],
            "over_budget_device_seconds": ["rate<1%", "total<10s"],
            "quality_ratio_to_full": ["value>0.9"],
            "ndcg_at_10": ["mean>0.9*full", "mean>0.9*best", "min>0"],
            "update_bytes": ["value<10 KiB", "rate<1 kB/s"],
            "budget_reports": ["count<9", "rate<1/s"],
            "connects": ["count<9"],
            "resident_bytes": ["max<4 KiB"],
            "quality_recovery_seconds": ["p(50)<60s", "max<90s"],
            "time_to_fit_seconds": ["p(95)<3s"],
            "downlink_peak_1s": ["value<4 kB/s"],
        }
        chosen: Tree = {}
        for metric in rng.sample(sorted(rules), rng.randint(0, 5)):
            chosen.setdefault(metric + rng.choice(filters), []).append(rng.choice(rules[metric]))
        if self._chance(0.3):
            chosen["update_bytes{kind=wasted}"] = ["share<5%"]
        if self._chance(0.5):
            chosen["broker_egress_bytes"] = ["value<10 KiB"]
            chosen["update_latency_seconds.p95"] = ["value<2s"]
            chosen["budget_reports_by_cause.retry.lost"] = ["value<2"]
        if self._chance(0.15):
            chosen["updates_applied"] = [
                {"threshold": "count<30", "abort_on_fail": True, "delay_abort_eval": self._ms(0, 60_000)}
            ]
        return chosen
