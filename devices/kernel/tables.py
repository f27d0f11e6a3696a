"""The tables of a run for the kernel: settings, model, links and groups, from the values that SimPy uses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from devices.distributions import normal_before_cut, uniform_before_cut
from devices.kernel import links
from devices.kernel.layout import DIRECTION, GROUP, SETTINGS, WINDOW
from devices.kernel.support import LINK_FAULTS
from devices.memory import BoundedWalk
from devices.protocol.block_prefix import BlockPrefix
from devices.protocol.report_policy import ReportPolicy
from devices.recommender.quality import UserQuality
from devices.simulated.device_class import DeviceClass
from devices.simulated.fleet_config import FleetConfig
from devices.simulated.link import PARETO_SHAPE, Direction, Network
from devices.simulated.roster import FleetGroup
from devices.simulated.status_message import status_message
from devices.timeline.connectivity import ConnectivityCause
from devices.timeline.faults import BrokerFault, CloudFault, FaultWindow, LinkFault
from wire.geometry import Geometry
from wire.messages import BudgetReport, QualityReport, encode
from wire.units import NS_PER_S

MOST_DIGITS = 20


@dataclass(frozen=True)
class CloudAnswers:
    """The settings by which the cloud answers reports."""

    service_ns: int
    part_room: int
    """Bytes of blocks in a part."""
    always_full: bool
    full_above: float


@dataclass(frozen=True)
class DeviceRules:
    """The settings of a run that all devices share."""

    stop_ns: int
    retry_ns: int
    local_eviction: bool
    supersedes: bool


@dataclass(frozen=True)
class ModelTables:
    """A model version and its quality for the users of a fleet, as arrays (`RunArrays`)."""

    places: Mapping[int, int]
    """The place of each user in the arrays."""
    users: NDArray[np.int64]
    user_groups: NDArray[np.int64]
    quality: NDArray[np.float64]
    quality_text: NDArray[np.int64]
    tops: NDArray[np.int64]
    layer_blocks: NDArray[np.int64]
    layer_bytes: NDArray[np.int64]
    rankings: NDArray[np.int64]
    starts: NDArray[np.int64]
    resident: NDArray[np.int64]
    full_bytes: NDArray[np.int64]


def model_tables(prefixes: Mapping[int, BlockPrefix], qualities: Mapping[int, UserQuality]) -> ModelTables:
    """Return the tables of a model version.

    Args:
        prefixes: the complete ranking of each user group, by its number.
        qualities: of the fleet's users.
    """
    groups = [prefixes[number] for number in sorted(prefixes)]
    users = sorted(qualities)
    width = 1 + max(prefix.layers.top for prefix in groups)
    blocks, sizes = np.zeros((2, len(groups), width), np.int64)
    for number, prefix in enumerate(groups):
        blocks[number, : prefix.layers.top + 1] = prefix.layers.blocks
        sizes[number, : prefix.layers.top + 1] = prefix.layers.bytes
    quality = np.zeros((len(users), width, 3))
    for layer in range(width):
        for place, user in enumerate(users):
            if layer <= qualities[user].top:
                quality[place, layer] = qualities[user].at(layer)
    lengths = [len(prefix.starts) for prefix in groups]
    return ModelTables(
        places={user: place for place, user in enumerate(users)},
        users=np.array(users, np.int64),
        user_groups=np.array([qualities[user].user_group for user in users], np.int64),
        quality=quality,
        quality_text=_text_bytes(quality),
        tops=np.array([prefix.layers.top for prefix in groups], np.int64),
        layer_blocks=blocks,
        layer_bytes=sizes,
        rankings=np.cumsum([0, *lengths[:-1]], dtype=np.int64),
        starts=np.concatenate([np.array(prefix.starts, np.int64) for prefix in groups]),
        resident=np.concatenate([np.array(prefix.resident, np.int64) for prefix in groups]),
        full_bytes=np.zeros((len(groups), width, MOST_DIGITS), np.int64),
    )


def _text_bytes(quality: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bytes of the three numbers of each quality in a message."""
    values, where = np.unique(quality, return_inverse=True)
    bytes_of = np.array([len(msgspec.json.encode(value)) for value in values.tolist()], np.int64)
    return np.asarray(bytes_of[where.reshape(quality.shape)].sum(axis=2))


def settings_table(
    geometry: Geometry, version: str, rules: DeviceRules, answers: CloudAnswers
) -> NDArray[Any]:
    """Return the settings of a run; messages are measured with numbers of one digit, which are taken off."""
    report = BudgetReport(seq=1, budget_bytes=0, user=0)
    quality = QualityReport(model="", layer=0, held=0, ndcg_at_10=0.0, recall_at_20=0.0, hit_rate_at_10=0.0)
    table = np.zeros(1, SETTINGS)
    values = {
        "stop_ns": rules.stop_ns,
        "retry_ns": rules.retry_ns,
        "service_ns": answers.service_ns,
        "always_full": answers.always_full,
        "local_eviction": rules.local_eviction,
        "supersedes": rules.supersedes,
        "part_room": answers.part_room,
        "overhead": geometry.codec.overhead,
        "scale_bytes": geometry.codec.scale_bytes,
        "is_embedded": geometry.codec.embedded,
        "dimensions": geometry.dim,
        "version_bytes": len(version),
        "report_bytes": len(encode(report)) - 4,
        "quality_bytes": len(encode(quality)) - 2 - 9,
        "full_above": answers.full_above,
    }
    for name, value in values.items():
        table[name] = value
    return table


def status_table() -> NDArray[np.int64]:
    """Return the bytes of the message that says whether a device is connected, by that and by the cause."""
    table = np.zeros((2, 1 + max(ConnectivityCause)), np.int64)
    for online in (False, True):
        for why in ConnectivityCause:
            table[int(online), why] = status_message(online, why)[1]
    return table


def direction_table(networks: Sequence[Network]) -> NDArray[Any]:
    """Return the settings of links: uplink and downlink of each network in turn."""
    table = np.zeros(2 * len(networks), DIRECTION)
    for number, network in enumerate(networks):
        for end, direction in enumerate((network.uplink, network.downlink)):
            row = table[2 * number + end]
            row["latency"], row["loss"] = int(direction.latency), direction.loss
            row["is_lossy"], row["bandwidth"] = direction.loss > 0, int(direction.bandwidth)
            row["recovers"], row["timeout_ns"] = direction.recovery == "transport", network.timeout_ns
            row["ns_per_byte"] = 8 * NS_PER_S / direction.bandwidth
            row["distribution"], row["a"], row["b"], row["c"] = _distribution(direction)
    return table


def _distribution(direction: Direction) -> tuple[int, float, float, float]:
    """Return the distribution of a delay and the numbers to draw it with, as `Link` draws it."""
    mean, deviation = int(direction.latency), int(direction.deviation)
    if not direction.deviation:
        return links.CONSTANT, 0.0, 0.0, 0.0
    match direction.distribution:
        case "normal":
            return links.NORMAL, *normal_before_cut(mean, deviation), 0.0
        case "uniform":
            low, high = uniform_before_cut(mean, deviation)
            return links.UNIFORM, low, high - low, 0.0
        case "lognormal":
            sigma = math.sqrt(math.log1p((deviation / mean) ** 2))
            return links.LOGNORMAL, math.log(mean) - sigma * sigma / 2, sigma, 0.0
        case "pareto":
            scale = deviation * (PARETO_SHAPE - 1.0) / PARETO_SHAPE
            return links.PARETO, mean - deviation, scale, PARETO_SHAPE


def link_windows(config: FleetConfig) -> tuple[FaultWindow[LinkFault], ...]:
    """Return the faults of links, in the order of their start: the bits of a link's windows."""
    return config.timeline.windows_of(LinkFault)


def window_table(windows: Sequence[FaultWindow[LinkFault]]) -> NDArray[Any]:
    """Return the faults of links as a table."""
    table = np.zeros(len(windows), WINDOW)
    for row, window in zip(table, windows, strict=True):
        row["start_ns"], row["end_ns"], row["number"] = window.start_ns, window.end_ns, window.number
        kind, numbers = LINK_FAULTS[type(window.fault)]
        row["kind"] = kind
        row["a"], row["b"], row["share"] = numbers(window.fault)
    return table


def outage_table(windows: Sequence[FaultWindow[BrokerFault]]) -> NDArray[Any]:
    """Return the outages of the broker as a table."""
    table = np.zeros(len(windows), WINDOW)
    for row, window in zip(table, windows, strict=True):
        row["start_ns"], row["end_ns"], row["number"] = window.start_ns, window.end_ns, window.number
    return table


def cloud_table(windows: Sequence[FaultWindow[CloudFault]]) -> NDArray[Any]:
    """Return the faults of the cloud: `a` is 1 for an outage, `share` the factor of a slow cloud."""
    table = outage_table(windows)  # type: ignore[arg-type]
    for row, window in zip(table, windows, strict=True):
        row["a"], row["share"] = window.fault.stops, getattr(window.fault, "factor", 1.0)
    return table


def group_row(group: FleetGroup, device_class: DeviceClass, policy: ReportPolicy, *, walks: bool) -> Any:
    """Return the settings of a group's devices.

    Args:
        group: the group.
        device_class: of its devices.
        policy: its rules for reports.
        walks: whether the kernel makes the changes of its memory itself.
    """
    row, budget, publish = np.zeros(1, GROUP)[0], group.budget, policy.publish
    values: dict[str, float] = {
        "every_change": policy.reports_every_change,
        "max_interval_ns": int(publish.max_interval or 0),
        "min_interval_ns": int(publish.min_interval),
        "debounce_ns": policy.debounce_ns,
        "levels": policy.levels_per_doubling or 0,
        "on_change": publish.on_change,
        "hysteresis": policy.hysteresis,
        "headroom": policy.headroom,
        "apply_ns_per_byte": 8e9 / device_class.apply_rate if device_class.apply_rate else 0.0,
        "moderate": device_class.moderate,
        "low": device_class.low,
        "critical": device_class.critical,
        "memory": int(device_class.memory),
        "share": budget.share,
        "reserve": int(budget.reserve),
        "has_min": budget.min is not None,
        "min": int(budget.min or 0),
        "has_max": budget.max is not None,
        "max": int(budget.max or 0),
        "walks": walks,
    }
    if walks:
        values |= _walk(group.memory)
    for name, value in values.items():
        row[name] = value
    return row


def _walk(memory: Any) -> dict[str, float]:
    """Return the settings of a bounded walk."""
    assert isinstance(memory, BoundedWalk)
    return {
        "walk_min": int(memory.min),
        "walk_max": int(memory.max),
        "has_initial": memory.initial is not None,
        "initial": int(memory.initial or 0),
        "max_step": int(memory.max_step),
        "step_every": int(memory.step_every),
        "is_fixed": memory.spacing == "fixed",
        "is_random_phase": memory.phase == "random",
        "increase": memory.increase_probability,
        "retain": memory.retain_probability,
        "reset": memory.reset_probability,
    }
