"""What no part of a scenario can check alone: names to be known, moments, and how often things come."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

import msgspec

from devices.event_log import Pressure, labels_of
from devices.timeline.actions import Action
from devices.timeline.faults import LinkFault
from devices.timeline.schedule import DeviceSelector, parse_moment, stage_starts
from scenarios.catalogue.metrics import DECILES, DIMENSIONS, LABEL
from scenarios.language.schema import ScenarioFields
from scenarios.language.thresholds import listed, read_rules, thresholds_that_mean_nothing
from wire.topics import valid_name
from wire.units import format_bytes, format_duration

MAX_NAME = 40
BROKERS = ("auto", "mosquitto", "amqtt")
MOST_SAID = 101
"""Of more problems than these nobody reads: the others are not looked for."""
MOST_DEVICES = 10_000_000
MOST_LABELS = 1000
"""Different labels of a fleet: every metric is told by each of them."""
MOST_OFTEN = 10_000_000
"""What comes again does so at most so many times in a run of one device: more would seem never to end."""


class RuleError(ValueError):
    """A scenario breaks rules.

    Args:
        texts: what is said of each.
    """

    def __init__(self, *texts: str) -> None:
        super().__init__(texts[0])
        self.texts = texts


def check_scenario(scenario: ScenarioFields) -> None:
    """Check what no part of a scenario can check alone.

    Raises:
        RuleError: rules are broken.
    """
    found = list(islice(problems(scenario), MOST_SAID))
    if found:
        raise RuleError(*found)


def problems(scenario: ScenarioFields, unknown: AbstractSet[str] = frozenset()) -> Iterator[str]:
    """Yield what is wrong with *scenario* as a whole.

    Args:
        scenario: to be checked.
        unknown: keys that have no value, or one that nobody wrote: what needs them is not checked.
    """
    if "stop_time" not in unknown and scenario.stop_time <= 0:
        yield f"stop_time(={format_duration(scenario.stop_time)}) must be > 0, or left to stages"
        unknown = {*unknown, "stop_time"}
    for needed, check in _CHECKS:
        if unknown.isdisjoint(needed):
            yield from check(scenario)


def _said(check: Callable[..., None], *args: object) -> Iterator[str]:
    """Yield what *check* raises."""
    try:
        check(*args)
    except ValueError as error:
        yield str(error)


def _realtime(scenario: ScenarioFields) -> Iterator[str]:
    if scenario.clock == "realtime" and scenario.cloud.workers is not None:
        yield (
            f"cloud.workers(={scenario.cloud.workers}) needs clock virtual or lockstep: in real time the "
            "cloud is real, and takes as long as it takes"
        )


def _times(scenario: ScenarioFields) -> Iterator[str]:
    stop_time, staged = scenario.stop_time, sum(stage.duration for stage in scenario.stages)
    if staged > stop_time:
        yield (
            f"stop_time(={format_duration(stop_time)}) must not be before the end of the stages, "
            f"{format_duration(staged)}"
        )
    if scenario.warmup >= stop_time:
        yield (
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


def _names(key: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not valid_name(name):
            yield f"{key}(={name!r}) must have names of letters, digits, '.', '_' or '-'"


def _stages(scenario: ScenarioFields) -> Iterator[str]:
    first_at: dict[str, int] = {}
    for at, stage in enumerate(scenario.stages):
        same = first_at.setdefault(stage.name, at)
        if same != at:
            yield f"stages[{at}].name(={stage.name!r}) must differ from that of stages[{same}]"


def _program(scenario: ScenarioFields, key: str) -> Iterator[str]:
    """Yield what is wrong with what names a stage, a group, a node or a network, and when it is."""
    starts = stage_starts(scenario.stages)
    for at, entry in enumerate(getattr(scenario, key)):
        yield from _said(_check_moment, scenario, starts, f"{key}[{at}].at", entry.at)
        if isinstance(entry, Action | LinkFault):
            yield from _select(scenario, f"{key}[{at}].select", entry.select)
        move = entry.network_move() if isinstance(entry, Action) else None
        if move is not None:
            yield from _unknown(f"{key}[{at}].to", move.network, "networks", scenario.networks)


def _starts(scenario: ScenarioFields) -> Iterator[str]:
    starts = stage_starts(scenario.stages)
    for at, group in enumerate(scenario.fleet):
        yield from _said(_check_moment, scenario, starts, f"fleet[{at}].start_at", group.start_at)


def _rollout(scenario: ScenarioFields) -> Iterator[str]:
    rollout = scenario.rollout
    if rollout is None:
        return
    yield from _said(_check_moment, scenario, stage_starts(scenario.stages), "rollout.at", rollout.at)
    if rollout.seed == scenario.model.training.seed:
        yield (
            f"rollout.seed(={rollout.seed}) must differ from model.training.seed, or the version is the same"
        )


def _pace(scenario: ScenarioFields) -> Iterator[str]:
    """Yield what comes again so soon that the run would seem to hang."""
    slow = {"updates.": {"retry_after": int(scenario.updates.retry_after)}}
    for path, spans in [*slow.items(), *_paces(scenario)]:
        if sum(spans.values()) * MOST_OFTEN < scenario.stop_time:
            shown = " + ".join(f"{name}(={format_duration(span)})" for name, span in spans.items())
            yield (
                f"{path}{shown} must be longer: until stop_time(={format_duration(scenario.stop_time)}) "
                f"it comes again more than {MOST_OFTEN} times"
            )


def paces(scenario: ScenarioFields) -> Iterator[tuple[int | None, Mapping[str, int]]]:
    """Yield the number of a group of the fleet and the spans after which something of it comes again."""
    for path, spans in _paces(scenario):
        found = re.match(r"fleet\[([0-9]+)\]", path)
        yield (int(found[1]) if found else None), spans


def _paces(scenario: ScenarioFields) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield whatever comes again: its path, and the spans from one time to the next."""
    for at, group in enumerate(scenario.fleet):
        path, memory, publish = f"fleet[{at}].", group.memory, group.budget.publish
        for spans in memory.periods():
            yield f"{path}memory.", dict(spans)
        for place, shock in enumerate(group.shocks):
            yield f"{path}shocks[{place}].", {"every": shock.every}
        if group.churn is not None:
            churn = group.churn
            yield f"{path}churn.", {"uptime_mean": churn.uptime_mean, "downtime_mean": churn.downtime_mean}
        if publish.max_interval is not None:
            yield f"{path}budget.publish.", {"max_interval": publish.max_interval}


def _check_moment(scenario: ScenarioFields, starts: Mapping[str, int], path: str, text: str) -> None:
    try:
        moment = parse_moment(text)
    except ValueError as error:
        raise ValueError(str(error).replace("at(", f"{path}(", 1)) from None
    if moment.stage is not None:
        _check_known(path, moment.stage, "stages", starts)
    if moment.resolve(starts) >= scenario.stop_time:
        raise ValueError(
            f"{path}(={text!r}) must be before stop_time(={format_duration(scenario.stop_time)})"
        )


def _select(scenario: ScenarioFields, path: str, select: DeviceSelector) -> Iterator[str]:
    groups = {group.name: group for group in scenario.fleet}
    known = (("groups", groups), ("nodes", scenario.nodes), ("networks", scenario.networks))
    unknown = [
        text
        for key, names in known
        for at, name in enumerate(getattr(select, key))
        for text in _unknown(f"{path}.{key}[{at}]", name, "the groups" if key == "groups" else key, names)
    ]
    yield from unknown
    if not unknown and not any(
        select.fits(group=each.name, labels=each.labels, node=each.node, network=each.network)
        for each in scenario.fleet
    ):
        keys = {
            key: value for key, value in msgspec.structs.asdict(select).items() if value and key != "share"
        }
        shown = ", ".join(f"{key}: {_shown(value)}" for key, value in keys.items())
        yield f"{path}(={{{shown}}}) must fit at least one group of the fleet"


def _shown(value: Mapping[str, str] | Sequence[str]) -> str:
    """Return a value of a selection as one would write it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {each}" for key, each in value.items()) + "}"
    return "[" + ", ".join(value) + "]"


def _unknown(path: str, name: str, what: str, known: Iterable[str]) -> Iterator[str]:
    if name not in known:
        yield f"{path}(={name!r}) must name one of {what}: {', '.join(sorted(known)) or 'none'}"


def _check_known(path: str, name: str, what: str, known: Iterable[str]) -> None:
    for text in _unknown(path, name, what, known):
        raise ValueError(text)


def _fleet(scenario: ScenarioFields) -> Iterator[str]:
    if not scenario.fleet:
        yield "fleet(=[]) must have at least one group"
    devices = sum(group.count for group in scenario.fleet)
    if devices > MOST_DEVICES:
        yield f"fleet: the groups have {devices:,} devices in all, and must have at most {MOST_DEVICES:,}"
    labels = len({key for group in scenario.fleet for key in group.labels})
    if labels > MOST_LABELS:
        yield f"fleet: the groups have {labels:,} different labels, and must have at most {MOST_LABELS:,}"
    first_at: dict[str, int] = {}
    for at, group in enumerate(scenario.fleet):
        # Device ids end in a hyphen and digits, so distinct names are enough for distinct ids.
        same = first_at.setdefault(group.name, at)
        if same != at:
            yield f"fleet[{at}].name(={group.name!r}) must differ from that of fleet[{same}]"


def _networks_of_fleet(scenario: ScenarioFields) -> Iterator[str]:
    for at, group in enumerate(scenario.fleet):
        yield from _unknown(f"fleet[{at}].network", group.network, "networks", scenario.networks)


def _nodes_of_fleet(scenario: ScenarioFields) -> Iterator[str]:
    for at, group in enumerate(scenario.fleet):
        unknown = list(_unknown(f"fleet[{at}].node", group.node, "nodes", scenario.nodes))
        yield from unknown
        if unknown:
            continue
        there = scenario.nodes[group.node].memory
        for key, most in group.memory.limits().items():
            if most > there:
                yield (
                    f"fleet[{at}].memory.{key}(={format_bytes(most)}) must not exceed "
                    f"memory(={format_bytes(there)}) of node {group.node!r}"
                )
        if group.budget.reserve >= there:
            yield (
                f"fleet[{at}].budget.reserve(={format_bytes(group.budget.reserve)}) must be less than "
                f"memory(={format_bytes(there)}) of node {group.node!r}, or nothing is ever left"
            )


def _start_within(scenario: ScenarioFields) -> Iterator[str]:
    for at, group in enumerate(scenario.fleet):
        if group.start_within > scenario.stop_time:
            yield (
                f"fleet[{at}].start_within(={format_duration(group.start_within)}) must not exceed "
                f"stop_time(={format_duration(scenario.stop_time)})"
            )


_WHEN: Final = ("stages", "stop_time")


def _filters(scenario: ScenarioFields) -> Iterator[str]:
    """Yield what is wrong with each filter of the thresholds that names nothing in *scenario*."""
    names = _dimensions(scenario)
    for rule in read_rules(scenario.thresholds):
        if isinstance(rule, str):
            continue
        for dimension, value in rule.filters.items():
            known = {**rule.metric.own, **names}
            path = f"thresholds[{rule.selector}](={dimension!r})"
            if dimension not in known:
                yield f"{path} must be narrowed by one of {listed(dimension, known)}"
            elif value not in known[dimension]:
                path = f"thresholds[{rule.selector}](={value!r})"
                one = f"one of {listed(value, known[dimension])}" if known[dimension] else "and there is none"
                yield f"{path} must name a {dimension}, {one}"


def _dimensions(scenario: ScenarioFields) -> Mapping[str, Sequence[str]]:
    """Return the values of each dimension by which any metric can be narrowed."""
    labels: dict[str, dict[str, None]] = {}
    for group in scenario.fleet:
        for key, value in group.labels.items():
            labels.setdefault(LABEL + key, {})[value] = None
    known: dict[str, Sequence[str]] = {key: sorted(values) for key, values in labels.items()}
    known["group"] = [group.name for group in scenario.fleet]
    known |= {
        "node": list(scenario.nodes),
        "network": list(scenario.networks),
        "stage": [stage.name for stage in scenario.stages],
        "pressure": list(labels_of(Pressure)),
        "user_group": [str(at) for at in range(scenario.model.training.user_groups)],
        "budget_decile": DECILES,
    }
    assert set(DIMENSIONS) <= {*known, "label.<key>", "budget_range"}
    return known


_CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[ScenarioFields], Iterable[str]]], ...]] = (
    (("name",), lambda scenario: _said(_check_name, scenario.name)),
    (("broker",), lambda scenario: _said(_check_broker, scenario.broker)),
    ((*_WHEN, "warmup"), _times),
    (("networks",), lambda scenario: _names("networks", scenario.networks)),
    (("nodes",), lambda scenario: _names("nodes", scenario.nodes)),
    (("stages",), _stages),
    (("fleet",), _fleet),
    (("fleet", "networks"), _networks_of_fleet),
    (("fleet", "nodes"), _nodes_of_fleet),
    (("fleet", "stop_time", "stages"), _start_within),
    (("rollout", "model", *_WHEN), _rollout),
    (("fleet", *_WHEN), _starts),
    (("actions", "fleet", "nodes", "networks", *_WHEN), lambda scenario: _program(scenario, "actions")),
    (("faults", "fleet", "nodes", "networks", *_WHEN), lambda scenario: _program(scenario, "faults")),
    (("thresholds",), lambda scenario: thresholds_that_mean_nothing(scenario.thresholds)),
    (("thresholds", "fleet", "nodes", "networks", "stages", "model"), _filters),
    (("updates", "fleet", "stop_time", "stages"), _pace),
    (("clock", "cloud"), _realtime),
)
"""Each check with the keys that it needs to know; in the order in which what they find is said."""
