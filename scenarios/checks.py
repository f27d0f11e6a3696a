"""What no part of a scenario can check alone: names to be known, moments, and how often things come."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from cloud.rollout import Rollout
from devices.actions import Action, SwapNetwork
from devices.faults import LinkFault
from devices.memory import Boundary, PressureStates, Replay, SquareWave
from devices.memory.pressure import LEVELS
from devices.schedule import Select, Stage, parse_moment, stage_starts
from scenarios.thresholds import check_thresholds
from wire.topics import valid_name
from wire.units import format_bytes, format_duration

if TYPE_CHECKING:
    from scenarios.schema import Scenario

MAX_NAME = 40
BROKERS = ("auto", "mosquitto", "amqtt")
MOST_OFTEN = 10_000_000
"""What comes again does so at most so many times in a run of one device: more would seem never to end."""


def check_scenario(scenario: "Scenario") -> None:
    """Check what no part of a scenario can check alone.

    Raises:
        ValueError: a rule is broken.
    """
    _check_name(scenario.name)
    _check_broker(scenario.broker)
    _check_times(scenario)
    for key, names in (("networks", scenario.networks), ("nodes", scenario.nodes)):
        _check_names(key, names)
    _check_stages(scenario.stages)
    _check_fleet(scenario)
    _check_program(scenario)
    check_thresholds(scenario)
    _check_pace(scenario)
    _check_realtime(scenario)


def _check_realtime(scenario: "Scenario") -> None:
    if scenario.clock == "realtime" and scenario.cloud.workers is not None:
        raise ValueError(
            f"cloud.workers(={scenario.cloud.workers}) needs clock virtual or lockstep: in real time the "
            "cloud is real, and takes as long as it takes"
        )


def _check_times(scenario: "Scenario") -> None:
    stop_time, staged = scenario.stop_time, sum(stage.duration for stage in scenario.stages)
    if stop_time <= 0:
        raise ValueError(f"stop_time(={format_duration(stop_time)}) must be > 0, or left to stages")
    if staged > stop_time:
        raise ValueError(
            f"stop_time(={format_duration(stop_time)}) must not be before the end of the stages, "
            f"{format_duration(staged)}"
        )
    if scenario.warmup >= stop_time:
        raise ValueError(
            f"warmup(={format_duration(scenario.warmup)}) must be less than "
            f"stop_time(={format_duration(stop_time)})"
        )


def _check_name(name: str) -> None:
    if not valid_name(name) or len(name) > MAX_NAME:
        raise ValueError(
            f"name(={name!r}) must be 1 to {MAX_NAME} letters, digits, '.', '_' or '-', "
            "a letter or digit first"
        )


def _check_broker(broker: str) -> None:
    if broker in BROKERS or _is_address(broker):
        return
    shown = "..." if "@" in broker else repr(broker)  # it may hold a password
    raise ValueError(
        f"broker(={shown}) must be {', '.join(BROKERS)} or mqtt[s]://[user:password@]host[:port]"
    )


def _is_address(broker: str) -> bool:
    """The form only: `broker_config.launch` has the last word, but loads an MQTT client."""
    try:
        url = urlsplit(broker)
        return (
            url.scheme in ("mqtt", "mqtts")
            and bool(url.hostname)
            and url.port != 0
            and not url.path.strip("/")
        )
    except ValueError:
        return False


def _check_names(key: str, names: Iterable[str]) -> None:
    for name in names:
        if not valid_name(name):
            raise ValueError(f"{key}(={name!r}) must have names of letters, digits, '.', '_' or '-'")


def _check_stages(stages: Sequence[Stage]) -> None:
    first_at: dict[str, int] = {}
    for at, stage in enumerate(stages):
        same = first_at.setdefault(stage.name, at)
        if same != at:
            raise ValueError(f"stages[{at}].name(={stage.name!r}) must differ from that of stages[{same}]")


def _check_program(scenario: "Scenario") -> None:
    """Check what names a stage, a group, a node or a network, and when it is."""
    if scenario.rollout is not None:
        _check_rollout(scenario, scenario.rollout)
    for at, group in enumerate(scenario.fleet):
        _check_moment(scenario, f"fleet[{at}].start_at", group.start_at)
    for key, entries in (("actions", scenario.actions), ("faults", scenario.faults)):
        for at, entry in enumerate(entries):
            _check_moment(scenario, f"{key}[{at}].at", entry.at)
            if isinstance(entry, Action | LinkFault):
                _check_select(scenario, f"{key}[{at}].select", entry.select)
            if isinstance(entry, SwapNetwork):
                _check_known(f"{key}[{at}].to", entry.to, "networks", scenario.networks)


def _check_rollout(scenario: "Scenario", rollout: Rollout) -> None:
    _check_moment(scenario, "rollout.at", rollout.at)
    if rollout.seed == scenario.model.training.seed:
        raise ValueError(
            f"rollout.seed(={rollout.seed}) must differ from model.training.seed, or the version is the same"
        )


def _check_pace(scenario: "Scenario") -> None:
    """Check that nothing comes again so soon that the run would seem to hang."""
    for path, spans in _paces(scenario):
        if sum(spans.values()) * MOST_OFTEN < scenario.stop_time:
            shown = " + ".join(f"{name}(={format_duration(span)})" for name, span in spans.items())
            raise ValueError(
                f"{path}.{shown} must be longer: until stop_time(={format_duration(scenario.stop_time)}) "
                f"it comes again more than {MOST_OFTEN} times"
            )


def _paces(scenario: "Scenario") -> Iterator[tuple[str, dict[str, int]]]:
    """Yield whatever comes again: its path, and the spans from one time to the next."""
    yield "updates", {"retry_after": scenario.updates.retry_after}
    for at, group in enumerate(scenario.fleet):
        path, memory, publish = f"fleet[{at}]", group.memory, group.budget.publish
        if isinstance(memory, SquareWave | Boundary):
            yield f"{path}.memory", {"low_for": memory.low_for, "high_for": memory.high_for}
        elif not isinstance(memory, Replay) and memory.step_every is not None:
            yield f"{path}.memory", {"step_every": memory.step_every}
        if isinstance(memory, PressureStates):
            for level in LEVELS:
                yield f"{path}.memory.{level}", {"dwell": getattr(memory, level).dwell}
        for place, shock in enumerate(group.shocks):
            yield f"{path}.shocks[{place}]", {"every": shock.every}
        if group.churn is not None:
            churn = group.churn
            yield f"{path}.churn", {"uptime_mean": churn.uptime_mean, "downtime_mean": churn.downtime_mean}
        if publish.max_interval is not None:
            yield f"{path}.budget.publish", {"max_interval": publish.max_interval}


def _check_moment(scenario: "Scenario", path: str, text: str) -> None:
    try:
        moment = parse_moment(text)
    except ValueError as error:
        raise ValueError(str(error).replace("at(", f"{path}(", 1)) from None
    starts = stage_starts(scenario.stages)
    if moment.stage is not None:
        _check_known(path, moment.stage, "stages", starts)
    if moment.resolve(starts) >= scenario.stop_time:
        raise ValueError(
            f"{path}(={text!r}) must be before stop_time(={format_duration(scenario.stop_time)})"
        )


def _check_select(scenario: "Scenario", path: str, select: Select) -> None:
    groups = {group.name: group for group in scenario.fleet}
    known = (("groups", groups), ("nodes", scenario.nodes), ("networks", scenario.networks))
    for key, names in known:
        for at, name in enumerate(getattr(select, key)):
            _check_known(f"{path}.{key}[{at}]", name, "the groups" if key == "groups" else key, names)
    if not any(
        select.fits(group=each.name, labels=each.labels, node=each.node, network=each.network)
        for each in scenario.fleet
    ):
        keys = {
            key: value for key, value in msgspec.structs.asdict(select).items() if value and key != "share"
        }
        shown = ", ".join(f"{key}: {_shown(value)}" for key, value in keys.items())
        raise ValueError(f"{path}(={{{shown}}}) must fit at least one group of the fleet")


def _shown(value: Mapping[str, str] | Sequence[str]) -> str:
    """Return a value of a selection as one would write it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {each}" for key, each in value.items()) + "}"
    return "[" + ", ".join(value) + "]"


def _check_known(path: str, name: str, what: str, known: Iterable[str]) -> None:
    if name not in known:
        there = ", ".join(sorted(known)) or "none"
        raise ValueError(f"{path}(={name!r}) must name one of {what}: {there}")


def _check_fleet(scenario: "Scenario") -> None:
    if not scenario.fleet:
        raise ValueError("fleet(=[]) must have at least one group")
    first_at: dict[str, int] = {}
    for at, group in enumerate(scenario.fleet):
        # Device ids end in a hyphen and digits, so distinct names are enough for distinct ids.
        same = first_at.setdefault(group.name, at)
        if same != at:
            raise ValueError(f"fleet[{at}].name(={group.name!r}) must differ from that of fleet[{same}]")
        _check_known(f"fleet[{at}].network", group.network, "networks", scenario.networks)
        _check_known(f"fleet[{at}].node", group.node, "nodes", scenario.nodes)
        there = scenario.nodes[group.node].memory
        for key in ("max", "high"):
            most = getattr(group.memory, key, None)
            if most is not None and most > there:
                raise ValueError(
                    f"fleet[{at}].memory.{key}(={format_bytes(most)}) must not exceed "
                    f"memory(={format_bytes(there)}) of node {group.node!r}"
                )
        if group.budget.reserve >= there:
            raise ValueError(
                f"fleet[{at}].budget.reserve(={format_bytes(group.budget.reserve)}) must be less than "
                f"memory(={format_bytes(there)}) of node {group.node!r}, or nothing is ever left"
            )
        if group.start_within > scenario.stop_time:
            raise ValueError(
                f"fleet[{at}].start_within(={format_duration(group.start_within)}) must not exceed "
                f"stop_time(={format_duration(scenario.stop_time)})"
            )
