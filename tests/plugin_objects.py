"""Plug-ins of all kinds, and some that break a rule, for tests that give them as objects."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np

from cloud.blocks.selection import Candidates, order_in_cells
from cloud.data.interactions import Interactions
from cloud.data.sources import Synthetic
from cloud.data.synthetic import generate
from cloud.training.config import BackbonePlugin, Training, Vectors
from devices.timeline.actions.action import Action, BudgetFactor
from devices.timeline.faults.fault import Draw, LinkFault
from devices.traces.importers.importer import Importer, ImportOptions
from devices.traces.writer import Row, Sidecar
from emulator.metrics.aggregates import Counter
from emulator.metrics.inputs import MetricInputs
from scenarios.catalogue.metrics import Kind, Metric, MetricPlugin, Unit
from wire.codecs.floats import FloatCoder
from wire.ranking_metrics import IntArray
from wire.units import Bytes, Duration, parse_bytes, parse_duration


class Steps(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="steps"
):
    """Memory that jumps between two sizes."""

    low: Bytes = parse_bytes("64 KiB")
    """The lower size."""
    high: Bytes
    """The upper size."""
    every: Duration = parse_duration("30 s")
    """The time between jumps."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low(={self.low} B) must not exceed high(={self.high} B)")

    def periods(self) -> Iterator[Mapping[str, int]]:
        yield {"every": self.every}

    def limits(self) -> Mapping[str, int]:
        return {"high": self.high}

    def changes(self, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
        wait_ns, is_high = 0, bool(rng.integers(2))
        while True:
            yield wait_ns, int(self.high if is_high else self.low)
            wait_ns, is_high = int(self.every), not is_high


class Fog(LinkFault, frozen=True, kw_only=True, tag="fog"):
    """Messages take longer."""

    slows: ClassVar[bool] = True

    delay: Duration
    """The time that each message takes longer."""

    def added_delay_ns(self, draw: Draw) -> int:
        return int(self.delay)


class Halving(Action, frozen=True, kw_only=True, tag="halving"):
    """Budgets are halved."""

    def budget_factor(self) -> BudgetFactor:
        return BudgetFactor(0.5, 0)


class Twins(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="twins"
):
    """Data that are made: a synthetic world."""

    users: int = 100
    """The number of users."""

    def read(self, path: Path) -> Interactions:
        assert path == Path()
        return generate(Synthetic(users=self.users, items=60, interactions_per_user=12, item_kinds=4))


class Drawn(BackbonePlugin, frozen=True, kw_only=True, tag_field="type", tag="drawn"):
    """Vectors drawn at random: a control."""

    scale: float = 1.0
    """The size of the numbers."""

    def learn(
        self, interactions: Interactions, training: Training, tick: Callable[[int, int, str], None]
    ) -> tuple[Vectors, Vectors]:
        rng = np.random.default_rng(training.seed)
        tick(1, 1, "drawn")
        return tuple(  # type: ignore[return-value]  # two of them
            (self.scale * rng.standard_normal((count, training.dim))).astype(np.float32)
            for count in (interactions.n_users, interactions.n_items)
        )


class Narrow(BackbonePlugin, frozen=True, kw_only=True, tag_field="type", tag="narrow"):
    """Vectors of the wrong width."""

    def learn(
        self, interactions: Interactions, training: Training, tick: Callable[[int, int, str], None]
    ) -> tuple[Vectors, Vectors]:
        return np.zeros((interactions.n_users, 1), np.float32), np.zeros(
            (interactions.n_items, 1), np.float32
        )


class BigEndian(FloatCoder):
    """Numbers as they stand in network order."""

    def __init__(self) -> None:
        super().__init__(">f4")


def order_cheapest(candidates: Candidates, rng: np.random.Generator) -> IntArray:
    return order_in_cells(-candidates.bytes, candidates.cells)


def order_twice(candidates: Candidates, rng: np.random.Generator) -> IntArray:
    return np.zeros(len(candidates.bytes), dtype=np.int64)


def order_backwards(candidates: Candidates, rng: np.random.Generator) -> IntArray:
    return np.arange(len(candidates.bytes))[::-1]


def _count_falls(inputs: MetricInputs) -> Counter:
    changes = inputs.budget_changes
    return Counter(changes.rows, (changes.rows.own["direction"] == 2).astype(np.int64))


FALLS = MetricPlugin(
    Metric("budget_falls", Kind.COUNTER, Unit.NUMBER, "budget", "changes to less"), _count_falls
)


def _rows(path: Path, options: ImportOptions) -> Iterator[Row]:
    yield Row(options.name, 0.0, mem_available_bytes=int(path.read_text()))


def _sidecar(path: Path, options: ImportOptions) -> Sidecar:
    return Sidecar(source="a file", licence="ours", sampling="once", transform="none")


IMPORTER = Importer("one number", _rows, _sidecar)

ALL: Mapping[str, Mapping[str, object]] = {
    "memory": {"steps": Steps},
    "faults": {"fog": Fog},
    "actions": {"halving": Halving},
    "loaders": {"twins": Twins},
    "backbones": {"drawn": Drawn},
    "codecs": {"big_endian": BigEndian},
    "policies": {"cheapest": order_cheapest},
    "metrics": {"budget_falls": "tests.plugin_objects:FALLS"},
    "trace_importers": {"number": "tests.plugin_objects:IMPORTER"},
}
"""A plug-in of each kind that works."""
