"""The fields of a scenario: frozen values, composed of settings that are defined beside the code they set.

Nothing in this file touches a file, a clock or the environment. The string below each field is its
documentation: `scenarios.reference.scenario_page` prints it.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from cloud.blocks.selection import Selection
from cloud.data.sources import Data, Synthetic
from cloud.service.retraining import Retraining
from cloud.service.rollout import Rollout
from cloud.settings import Seed
from cloud.training.config import Training, VectorFiles
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
from scenarios.language.interactions import InteractionsKind
from scenarios.language.prices import Prices
from scenarios.language.sweep import SweepSection
from scenarios.language.thresholds import Threshold, rules_of
from wire.codecs import Codec
from wire.geometry import MAX_BLOCKS, MAX_ITEM_GROUP_ENDS, Score
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
    """Defaults of the other keys of the model: `best`, those that validation prefers; or `paper`, the method
    of the paper, see [paper.md](paper.md). A key in the file wins over the recipe."""

    store: str | None = None
    """Folder of a block store, as `peelfleet train` names it; nothing is trained then. A store decides every
    other key of the model, so it stands alone. It must have been trained with the scenario's data."""

    training: Training = Training()
    """The stages of PEEL and their settings."""

    codec: Codec = Codec.CODED
    """Format of the numbers of a block, on the wire and on the device: `fp32` to `int4`, complete numbers;
    `planes`, bit by bit, most significant first; `coded`, the same with entropy coding."""

    score: Score = Score.ALIGNED
    """Score by which a device ranks: `aligned`, products of the user's and the item's numbers, slice by
    slice; or `tiled`, the product of the sums of their slices, as in the authors' code."""

    floor: bool = False
    """True to rank one block of each item group before all others: an item without a block is ranked last
    then. Else it scores 0, as the mean item does, and blocks are ranked by their worth from the first."""

    order: Literal["auto", "own", "catalogue"] = "auto"
    """Order of the items from which item groups are cut: each user group's `own`, the items that are
    recommended most to it first, with lists of items in the blocks and item groups that grow; or that of the
    `catalogue`, for all the same, in equal parts. `auto`: `own` where it is possible: if the codec is
    `planes` or `coded`, without a floor and without the controller, with at most 256 item groups."""

    selection: Selection = Selection.PEEL
    """Order of a user group's blocks, after the floor if there is one. `peel`: by weight, or by weight per
    byte if the codec is `planes` or `coded`; `weight`: by weight, whatever the size; `weight_per_byte`: by
    weight over stored bytes, which differs only if cells differ in size; `popularity`: all blocks of the user
    group's most popular item group, then those of the next; `prefix`: all blocks of the first slice of
    dimensions, then those of the second; `random`: in an order drawn for each user group (`training.seed`).
    Within an item group or a slice, `popularity` and `prefix` rank as `peel` does. A policy that gives the
    same order as `peel` is refused: `weight` if a block is a complete cell (`fp32` to `int4`),
    `weight_per_byte` if it is not."""

    layers: Annotated[int, Meta(ge=1, le=65_536)] = 64
    """Number of sizes of a PEE, geometric in bytes; with as many layers as blocks, a PEE fills its budget."""

    def __post_init__(self) -> None:
        if self.store is not None:
            self._check_alone()
        self._check_order()
        blocks = self.training.item_groups * self.training.slices * self.planes
        if blocks > MAX_BLOCKS:
            raise ValueError(
                f"item_groups(={self.training.item_groups}) times slices(={self.training.slices}) times "
                f"planes(={self.planes}) of codec {self.codec} must be <= {MAX_BLOCKS}"
            )
        if self.training.score is Score.TILED and self.score is not Score.TILED:
            raise ValueError(f"score(={self.score}) must be tiled where training.score is tiled")
        if self.selection is not Selection.PEEL and self.selection.is_peel(self.codec.embedded):
            raise ValueError(
                f"selection(={self.selection}) must be peel with codec {self.codec}: both give the same order"
            )

    @property
    def own_order(self) -> bool:
        """True if item groups are cut from each user group's own order of items."""
        return self.order == "own" or (self.order == "auto" and self._without_own_order is None)

    @property
    def _without_own_order(self) -> str | None:
        """The key that rules out an order of each user group's own; None if none does."""
        training = self.training
        reasons = {
            f"codec is {self.codec}": not self.codec.embedded,
            "floor is true": self.floor,
            "training.controller is enabled": training.controller.enabled,
            f"training.item_groups is above {MAX_ITEM_GROUP_ENDS}": training.item_groups
            > MAX_ITEM_GROUP_ENDS,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _check_order(self) -> None:
        reason = self._without_own_order
        if self.order == "own" and reason is not None:
            raise ValueError(f"order(=own) must be catalogue where {reason}")

    def _check_alone(self) -> None:
        if not self.store:
            raise ValueError("store(='') must be the folder of a block store, or null")
        for field in msgspec.structs.fields(self):
            if field.name != "store" and getattr(self, field.name) != field.default:
                raise ValueError(
                    f"store(={self.store!r}) must be the only key of model: it decides {field.name}, too"
                )

    @property
    def planes(self) -> int:
        """P, the number of precision planes; 12 planes rank as the complete table does."""
        return 12 if self.codec.embedded else 1


def with_paths(model: Model, change: Callable[[str], str]) -> Model:
    """Return *model* with *change* applied to the name of each file and folder."""
    files = msgspec.structs.asdict(model.training.file)
    vectors = VectorFiles(**{key: change(name) if name else name for key, name in files.items()})
    training = msgspec.structs.replace(model.training, file=vectors)
    store = None if model.store is None else change(model.store)
    return msgspec.structs.replace(model, training=training, store=store)


RECIPES: Final[Mapping[str, Model]] = {
    "best": Model(),
    "paper": Model(
        recipe="paper",
        training=TRAININGS["paper"],
        codec=Codec.FP32,
        score=Score.TILED,
        floor=True,
        layers=320,
    ),
}
"""The model of each recipe, with no other key in the file."""


class Updates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Transport of updates, and the rules by which a device acts alone."""

    max_payload: Bytes = Bytes(DEFAULT_MAX_PAYLOAD)
    """Maximum size of an update part; large public IoT brokers accept 128 KiB."""

    delivery: Literal["device", "shared"] = "device"
    """Path of blocks to a device: `device`, in answers to its reports; `shared`, from topics that all devices
    of a user group share, one per layer: the cloud publishes the blocks once, the broker distributes them."""

    encoding: Literal["delta", "full"] = "delta"
    """Content of an update: only the missing blocks, or always the complete PEE."""

    full_if_delta_over: Share = Share(1.0)
    """With `delta`: if the missing blocks are more than this share of the PEE, the complete PEE is sent."""

    local_eviction: bool = True
    """Eviction without the cloud: a device whose budget shrinks evicts blocks at once."""

    retry_after: Duration = Duration(30 * TIME_UNITS["s"])
    """Time that a device waits for an answer before it reports again; it doubles with each report in a row
    that has none, up to 20 times this time."""

    supersede: bool = True
    """Cancellation of old answers: a newer answer cancels the parts of an older one that are not yet sent."""

    hysteresis: Share = Share(0.0)
    """A device reports a larger budget only if it is this share above the last reported one."""

    debounce: Duration = Duration(0)
    """Time for which a budget must not change before a device reports it; evictions do not wait."""

    levels_per_doubling: LevelsPerDoubling | None = None
    """Levels between a size and its double, to which reported budgets are rounded down; null: exact."""

    headroom: Share = Share(0.0)
    """Share of its budget that a device leaves free, so that small dips evict nothing."""

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
                "local_eviction(=false) needs delivery device: with shared topics only the device can evict"
            )


class ScenarioFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a scenario; `scenarios.language.scenario.Scenario` adds the checks."""

    version: Literal[1]
    """Version of the scenario language."""

    name: str
    """Name of the scenario: at most 40 letters, digits, '.', '_' or '-'; it also names the run folder."""

    description: str = ""
    """Purpose of the scenario, in the author's words."""

    seed: Seed = 0
    """Seed of all random numbers of the run; data and training have their own seeds."""

    sample: Share | None = None
    """Share of the devices of each group that is simulated, at least one of each: every total is scaled to
    the fleet, and summary and report have intervals ([samples.md](samples.md)). Null: all devices."""

    clock: Literal["virtual", "lockstep", "realtime"] = "lockstep"
    """Clock and transport: `virtual`, as fast as possible, messages in memory; `lockstep`, as fast as
    possible, messages through a real broker to a real cloud; `realtime`, the wall clock and a real broker."""

    engine: Literal["auto", "simpy", "kernel"] = "auto"
    """Engine of the virtual clock, which changes nothing of the log: `simpy`, event by event in Python;
    `kernel`, compiled code, many times faster, with the extra `peelfleet[fast]`; `auto`, the kernel where it
    can be used and pays, see [engines.md](engines.md)."""

    stop_time: Duration = Duration(0)
    """Simulated time at which the memory stops changing; messages on their way still arrive. Left out: the
    end of the last stage."""

    broker: str = "auto"
    """Broker of lockstep and realtime: auto, mosquitto, amqtt, rabbitmq or nats to start one
    ([brokers.md](brokers.md)), or the mqtt://host[:port] of a running one."""

    data: Data = Synthetic()
    """Source of the interactions."""

    interactions: InteractionsKind | None = None
    """Interactions in simulated time, with which each device's recommendations are measured as it goes
    ([living.md](living.md)); a device per user that has any, newcomers included. Null, or `none`: users meet
    nothing in the run."""

    model: Model = Model()
    """Training and storage of the model."""

    realtime: RealtimeSettings = RealtimeSettings()
    """Settings of a run in real time."""

    cloud: CloudSettings = CloudSettings()
    """Speed of the simulated cloud; in real time the cloud is a real one."""

    updates: Updates = Updates()
    """Transport of updates."""

    networks: dict[str, Network] = {}
    """Kinds of network, by name; `default` always exists."""

    nodes: dict[str, DeviceClass] = {}
    """Classes of devices, by name; `default` always exists."""

    fleet: tuple[FleetGroup, ...]
    """Groups of devices, each with its own memory, budget and network."""

    stages: tuple[Stage, ...] = ()
    """Consecutive parts of the run, each with a share of the fleet that is connected."""

    actions: tuple[Actions, ...] = ()
    """Changes of selected devices at given times."""

    faults: tuple[Faults, ...] = ()
    """Faults, each with a start and a duration."""

    warmup: Duration = Duration(0)
    """Events before this time do not count for thresholds; the summary and the report include them."""

    metrics: tuple[str, ...] = ()
    """Metrics of plug-ins that are measured, too; those that a threshold names are measured in any case."""

    thresholds: dict[str, tuple[str | Threshold, ...]] = {}
    """Rules that the run must pass; if one is broken, the exit status is 99. Rules are listed by metric, such
    as `update_latency_seconds: [p(95)<2s]`. A metric may be filtered: `update_bytes{kind=wasted}`. A rule is
    an aggregation of the metric, `<`, `<=`, `>`, `>=` or `==`, and a value with its unit; the mean of
    `ndcg_at_10` can also be compared with `0.9*full` or `0.9*best`. Other numbers of `summary.json` can be
    named, too: `broker_egress_bytes: [value<500MB]`. Metrics, aggregations and dimensions:
    [metrics.md](metrics.md)."""

    prices: Prices | None = None
    """Prices of traffic; with them, summary and report have costs. Null: none."""

    rollout: Rollout | None = None
    """Rollout of a new model version to the fleet, in stages."""

    retrain: Retraining | None = None
    """Retraining of the model on a cadence, with what users have met and reported ([living.md](living.md));
    it needs `interactions`. Null: the model stays."""

    sweep: SweepSection | None = None
    """Variants of this scenario that `peelfleet sweep` runs."""

    def fill_in(self) -> None:
        """Add the default network and node, and the stop time if only the stages give it."""
        # Copies, so that the dictionaries of the caller do not change.
        msgspec.structs.force_setattr(self, "networks", {"default": Network(), **self.networks})
        msgspec.structs.force_setattr(self, "nodes", {"default": DeviceClass(), **self.nodes})
        staged = sum(stage.duration for stage in self.stages)
        if not self.stop_time and staged:
            msgspec.structs.force_setattr(self, "stop_time", Duration(staged))

    @property
    def reporting(self) -> ReportPolicy:
        """The report rules that all groups share."""
        updates = self.updates
        return ReportPolicy(
            hysteresis=float(updates.hysteresis),
            debounce_ns=int(updates.debounce),
            levels_per_doubling=updates.levels_per_doubling,
            headroom=float(updates.headroom),
        )

    @property
    def shared_by(self) -> str | None:
        """The reason that all devices must be simulated in one environment; None if there is none."""
        if self.cloud.workers is not None:
            return "all devices share a cloud with few workers"
        if self.rollout is not None:
            return "the rollout is one for all devices"
        return "a threshold that can end the run is evaluated on all devices" if self.can_abort else None

    @property
    def shared(self) -> bool:
        """True if all devices must be simulated in one environment."""
        return self.shared_by is not None

    @property
    def can_abort(self) -> bool:
        """True if a threshold can end the run early: it is evaluated on all devices."""
        return any(rule.abort_ns is not None for rule in rules_of(self.thresholds))
