"""What a scenario may say: frozen, closed values, composed of the settings that live with what they set.

Nothing in this file touches a file, a clock or the environment. The string below each field is its
documentation: `scenarios.reference.scenario_page` prints it.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from cloud.blocks.selection import Selection
from cloud.data.sources import Data, Synthetic
from cloud.service.rollout import Rollout
from cloud.settings import Seed
from cloud.training.config import Training
from cloud.training.recipes import TRAININGS, RecipeName
from devices.mqtt.settings import RealtimeSettings
from devices.protocol.report_policy import LevelsPerDoubling, ReportPolicy
from devices.simulated.cloud_model import CloudSettings
from devices.simulated.device_class import DeviceClass
from devices.simulated.link import Network
from devices.simulated.roster import FleetGroup
from devices.timeline.actions import Actions
from devices.timeline.faults import Faults
from devices.timeline.schedule import Stage
from scenarios.language.sweep import Sweep
from scenarios.language.thresholds import Threshold, rules_of
from wire.codecs import Codec
from wire.geometry import MAX_BLOCKS, Score
from wire.units import (
    BYTE_UNITS,
    TIME_UNITS,
    Bytes,
    Duration,
    Share,
    format_bytes,
    format_duration,
    format_share,
)
from wire.update_part import DEFAULT_MAX_PAYLOAD, MAX_PART_BYTES

LEAST_PAYLOAD = 4 * BYTE_UNITS["KiB"]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The model: how it is trained, and how its blocks are stored."""

    recipe: RecipeName = "best"
    """Which defaults the other keys of the model have: `best`, what validation prefers; or `paper`, the
    paper's method to the letter. A key that is written wins over the recipe."""

    training: Training = Training()
    """The stages of PEEL and their settings."""

    codec: Codec = Codec.CODED
    """How the numbers of a block are stored, on the wire and on the device: `fp32` to `int4` whole;
    `planes` bit by bit, most significant first; `coded` likewise, entropy-coded."""

    score: Score = Score.ALIGNED
    """What a device ranks by: `aligned`, the user's and the item's numbers slice by slice; or `tiled`, the
    sum of the item's slices with that of the user's, as in the authors' code."""

    selection: Selection = Selection.PEEL
    """By what a user group's blocks are ranked behind the floor (one block per item group, the first that the
    policy itself would take): `peel`, by weight, or by what a block buys per byte where the codec is `planes`
    or `coded`; `weight`, by what a block buys, whatever it costs; `weight_per_byte`, by weight over stored
    bytes, another order only where cells differ in size; `popularity`, all blocks of the item group that the
    user group wants most, then of the next; `prefix`, all blocks of the first slice of dimensions, then of
    the second; `random`, in an order drawn for each user group (`training.seed`). Within an item group or a
    slice `popularity` and `prefix` rank as `peel` does. What is `peel` by another name is refused: `weight`
    where a block is a whole cell (`fp32` to `int4`), `weight_per_byte` where it is not."""

    layers: Annotated[int, Meta(ge=1, le=65_536)] = 64
    """Sizes of PEE to choose from, geometric in bytes; with as many as blocks, a PEE is whatever fits."""

    def __post_init__(self) -> None:
        blocks = self.training.item_groups * self.training.slices * self.planes
        if blocks > MAX_BLOCKS:
            raise ValueError(
                f"item_groups(={self.training.item_groups}) times slices(={self.training.slices}) times "
                f"planes(={self.planes}) of codec {self.codec} must be <= {MAX_BLOCKS}"
            )
        if self.selection is not Selection.PEEL and self.selection.is_peel(self.codec.embedded):
            raise ValueError(
                f"selection(={self.selection}) must be peel where codec is {self.codec}: they rank the same"
            )

    @property
    def planes(self) -> int:
        """P, the number of precision planes; with all of 12 a table ranks as the whole one does."""
        return 12 if self.codec.embedded else 1


RECIPES: Final[Mapping[str, Model]] = {
    "best": Model(),
    "paper": Model(recipe="paper", training=TRAININGS["paper"], codec=Codec.FP32),
}
"""The model of each recipe, if nothing else is written."""


class Updates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How updates travel and what a device does by itself."""

    max_payload: Bytes = Bytes(DEFAULT_MAX_PAYLOAD)
    """No part of an update is larger; large public IoT brokers take 128 KiB."""

    delivery: Literal["device", "shared"] = "device"
    """How blocks come to a device: in answers to its reports; or from topics that all devices of a user group
    share, one per layer, on which the cloud leaves them once and the broker fans them out."""

    encoding: Literal["delta", "full"] = "delta"
    """What an update brings: the blocks that are missing, or the whole PEE every time."""

    full_if_delta_over: Share = Share(1.0)
    """With `delta`: where the missing blocks are more than this share of the whole PEE, it is sent whole."""

    local_eviction: bool = True
    """Whether a device whose budget shrinks evicts blocks at once, before it hears from the cloud."""

    retry_after: Duration = Duration(30 * TIME_UNITS["s"])
    """How long a device waits for an answer before it reports again."""

    supersede: bool = True
    """Whether a newer answer takes back the parts of an older one that have not begun to be sent."""

    hysteresis: Share = Share(0.0)
    """A device asks for more only when its budget is this share above the one that it reported last."""

    debounce: Duration = Duration(0)
    """A device reports a budget that has not changed for this time; what does not fit is evicted at once."""

    levels_per_doubling: LevelsPerDoubling | None = None
    """Levels between a size and its double, to which reported budgets are rounded down; null: exact."""

    headroom: Share = Share(0.0)
    """The share of its budget that a device leaves free, so that small dips force nothing out."""

    def __post_init__(self) -> None:
        if not LEAST_PAYLOAD <= self.max_payload <= MAX_PART_BYTES:
            raise ValueError(
                f"max_payload(={format_bytes(self.max_payload)}) must be from "
                f"{format_bytes(LEAST_PAYLOAD)} to {format_bytes(MAX_PART_BYTES)}"
            )
        if self.retry_after <= 0:
            raise ValueError(f"retry_after(={format_duration(self.retry_after)}) must be > 0")
        if self.headroom >= 1.0:
            raise ValueError(f"headroom(={format_share(self.headroom)}) must be below 100 %")
        if self.encoding == "full" and self.full_if_delta_over < 1.0:
            raise ValueError(
                f"full_if_delta_over(={format_share(self.full_if_delta_over)}) needs encoding delta"
            )
        if self.delivery == "shared" and self.encoding == "full":
            raise ValueError("encoding(='full') needs delivery device: shared topics hold layers, not PEEs")
        if self.delivery == "shared" and not self.local_eviction:
            raise ValueError(
                "local_eviction(=false) needs delivery device: with shared topics nobody else would evict"
            )


class ScenarioFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a scenario; `scenarios.language.scenario.Scenario` is one that was checked."""

    version: Literal[1]
    """Version of the scenario language."""

    name: str
    """Name of the scenario: at most 40 letters, digits, '.', '_' or '-'; it names the run folder too."""

    description: str = ""
    """What the scenario is for, in the author's words."""

    seed: Seed = 0
    """Seed of everything random in the run; data and training have their own."""

    clock: Literal["virtual", "lockstep", "realtime"] = "lockstep"
    """How time passes and messages travel: as fast as possible, in memory (virtual) or through a real broker
    to a real cloud (lockstep); or with the wall clock, through a real broker (realtime)."""

    stop_time: Duration = Duration(0)
    """Simulated time at which memory stops moving; what is under way still arrives. Left out: the end of the
    last stage."""

    broker: str = "auto"
    """Where lockstep and realtime find their broker: auto, mosquitto, amqtt, or mqtt://host[:port] of one
    that runs."""

    data: Data = Synthetic()
    """Where interactions come from."""

    model: Model = Model()
    """What is trained and how it is stored."""

    realtime: RealtimeSettings = RealtimeSettings()
    """How a run in real time goes."""

    cloud: CloudSettings = CloudSettings()
    """How fast the cloud answers; in real time it takes as long as it takes."""

    updates: Updates = Updates()
    """How updates travel."""

    networks: dict[str, Network] = {}
    """Kinds of network, by name; one named `default` is always there."""

    nodes: dict[str, DeviceClass] = {}
    """Classes of devices, by name; one named `default` is always there."""

    fleet: tuple[FleetGroup, ...]
    """Groups of devices, each with its own memory, budget and network."""

    stages: tuple[Stage, ...] = ()
    """Parts of the run, one after the other, each with a share of the fleet that is connected."""

    actions: tuple[Actions, ...] = ()
    """What happens to chosen devices at chosen times."""

    faults: tuple[Faults, ...] = ()
    """What goes wrong, from when and for how long."""

    warmup: Duration = Duration(0)
    """What happens before this does not count for thresholds; it is in the summary and the report."""

    thresholds: dict[str, tuple[str | Threshold, ...]] = {}
    """What the run must keep to, or it ends with exit status 99: rules by metric, such as
    `update_latency_seconds: [p(95)<2s]`. A metric may be narrowed: `update_bytes{kind=wasted}`. A rule is an
    aggregation that the metric has, `<`, `<=`, `>`, `>=` or `==`, and a value with its unit; the mean of
    `ndcg_at_10` also compares with `0.9*full` or `0.9*best`. Any other number of `summary.json` can be named,
    too: `broker_egress_bytes: [value<500MB]`. Metrics, aggregations and dimensions:
    [metrics.md](metrics.md)."""

    rollout: Rollout | None = None
    """A new model version that comes to the fleet in stages."""

    sweep: Sweep | None = None
    """Variants of this scenario that `peelfleet sweep` runs."""

    def fill_in(self) -> None:
        """Add what is always there, and what is left to the stages."""
        # Copies: the caller's dictionaries stay as they are.
        msgspec.structs.force_setattr(self, "networks", {"default": Network(), **self.networks})
        msgspec.structs.force_setattr(self, "nodes", {"default": DeviceClass(), **self.nodes})
        staged = sum(stage.duration for stage in self.stages)
        if not self.stop_time and staged:
            msgspec.structs.force_setattr(self, "stop_time", Duration(staged))

    @property
    def reporting(self) -> ReportPolicy:
        """The rules for reports that all groups share."""
        updates = self.updates
        return ReportPolicy(
            hysteresis=float(updates.hysteresis),
            debounce_ns=int(updates.debounce),
            levels_per_doubling=updates.levels_per_doubling,
            headroom=float(updates.headroom),
        )

    @property
    def shared_by(self) -> str | None:
        """Why all devices must live in one environment, None if they need not."""
        if self.cloud.workers is not None:
            return "all devices share a cloud with few workers"
        if self.rollout is not None:
            return "the rollout is one for all devices"
        return "a threshold that can end the run is judged by the whole fleet" if self.can_abort else None

    @property
    def shared(self) -> bool:
        """Whether devices share something, so that all of them must live in one environment."""
        return self.shared_by is not None

    @property
    def can_abort(self) -> bool:
        """Whether a threshold can end the run early: what it is judged by is the whole fleet's."""
        return any(rule.abort_ns is not None for rule in rules_of(self.thresholds))
