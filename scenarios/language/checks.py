"""Checks across the parts of a scenario: names, times, and how often events repeat."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final, get_args
from urllib.parse import urlsplit

import msgspec

from broker_config.daemons import BrokerKind
from devices.event_log import Pressure, labels_of
from devices.timeline.actions import Action
from devices.timeline.faults import LinkFault
from devices.timeline.schedule import DeviceSelector, parse_moment, stage_starts
from scenarios.catalogue.metrics import DECILES, DIMENSIONS, LABEL
from scenarios.language.interaction_checks import interaction_errors, retrain_errors
from scenarios.language.sample_checks import sample_errors
from scenarios.language.schema import Model, ScenarioFields
from scenarios.language.thresholds import listed, metric_errors, read_rules, threshold_errors
from wire.topics import valid_name
from wire.units import format_bytes, format_duration

MAX_NAME = 40
BROKERS = ("auto", *get_args(BrokerKind))
MAX_ERRORS = 101
"""The search for errors ends after these."""
MAX_DEVICES = 10_000_000
MAX_LABELS = 1000
"""Different labels of a fleet: every metric is split by each of them."""
MAX_REPETITIONS = 10_000_000
"""Repetitions of an event in the run of one device; with more, a run would seem never to end."""


class RuleError(ValueError):
    """A scenario breaks rules.

    Args:
        texts: a text for each broken rule.
    """

    def __init__(self, *texts: str) -> None:
        super().__init__(texts[0])
        self.texts = texts


def check_scenario(scenario: ScenarioFields) -> None:
    """Check the rules across the parts of a scenario.

    Raises:
        RuleError: rules are broken.
    """
    errors = list(islice(find_errors(scenario), MAX_ERRORS))
    if errors:
        raise RuleError(*errors)


def find_errors(scenario: ScenarioFields, unknown: AbstractSet[str] = frozenset()) -> Iterator[str]:
    """Yield the errors across the parts of *scenario*.

    Args:
        scenario: the scenario to check.
        unknown: keys without a valid value: checks that need them are left out.
    """
    if "stop_time" not in unknown and scenario.stop_time <= 0:
        yield f"stop_time(={format_duration(scenario.stop_time)}) must be > 0, or left to stages"
        unknown = {*unknown, "stop_time"}
    for needed, check in _CHECKS:
        if unknown.isdisjoint(needed):
            yield from check(scenario)


def _errors_of(check: Callable[..., None], *args: object) -> Iterator[str]:
    """Yield the text of the error that *check* raises, if it does."""
    try:
        check(*args)
    except ValueError as error:
        yield str(error)


def _realtime(scenario: ScenarioFields) -> Iterator[str]:
    if scenario.clock == "realtime" and scenario.cloud.workers is not None:
        yield (
            f"cloud.workers(={scenario.cloud.workers}) needs clock virtual or lockstep: in real time the "
            "cloud is a real one"
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
        f"broker(={shown}) must be {', '.join(BROKERS)} or mqtt[s]|ws[s]://[user:password@]host[:port]"
    )


def _is_address(broker: str) -> bool:
    """Return whether *broker* has the form of a URL; `broker_config`, an MQTT client, checks the rest."""
    try:
        url = urlsplit(broker)
        return (
            url.scheme in ("mqtt", "mqtts", "ws", "wss")
            and bool(url.hostname)
            and url.port != 0
            and (url.scheme in ("ws", "wss") or not url.path.strip("/"))
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


def _timeline(scenario: ScenarioFields, key: str) -> Iterator[str]:
    """Yield the errors in the times of actions or faults, and in the names that they refer to."""
    starts = stage_starts(scenario.stages)
    for at, entry in enumerate(getattr(scenario, key)):
        yield from _errors_of(_check_moment, scenario, starts, f"{key}[{at}].at", entry.at)
        if isinstance(entry, Action | LinkFault):
            yield from _select(scenario, f"{key}[{at}].select", entry.select)
        move = entry.network_move() if isinstance(entry, Action) else None
        if move is not None:
            yield from _unknown(f"{key}[{at}].to", move.network, "networks", scenario.networks)


def _starts(scenario: ScenarioFields) -> Iterator[str]:
    starts = stage_starts(scenario.stages)
    for at, group in enumerate(scenario.fleet):
        yield from _errors_of(_check_moment, scenario, starts, f"fleet[{at}].start_at", group.start_at)


def _rollout(scenario: ScenarioFields) -> Iterator[str]:
    rollout = scenario.rollout
    if rollout is None:
        return
    yield from _errors_of(_check_moment, scenario, stage_starts(scenario.stages), "rollout.at", rollout.at)
    if scenario.model.store is not None:
        yield "rollout: its version is trained, so model.store must be left out"
    elif rollout.seed == scenario.model.training.seed:
        yield (
            f"rollout.seed(={rollout.seed}) must differ from model.training.seed, or the version is the same"
        )


def _repetitions(scenario: ScenarioFields) -> Iterator[str]:
    """Yield the errors of events that repeat so soon that the run would seem to hang."""
    slow = {"updates.": {"retry_after": int(scenario.updates.retry_after)}}
    for path, spans in [*slow.items(), *_repeating_spans(scenario)]:
        if sum(spans.values()) * MAX_REPETITIONS < scenario.stop_time:
            shown = " + ".join(f"{name}(={format_duration(span)})" for name, span in spans.items())
            yield (
                f"{path}{shown} must be longer: until stop_time(={format_duration(scenario.stop_time)}) "
                f"it repeats more than {MAX_REPETITIONS} times"
            )


def repeating_spans(scenario: ScenarioFields) -> Iterator[tuple[int, Mapping[str, int]]]:
    """Yield the index of a group of the fleet and the spans after which an event of it repeats."""
    for path, spans in _repeating_spans(scenario):
        yield int(path.removeprefix("fleet[").partition("]")[0]), spans


def _repeating_spans(scenario: ScenarioFields) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the path of each group's repeating events, and the spans from one event to the next."""
    for at, group in enumerate(scenario.fleet):
        path, memory, publish = f"fleet[{at}].", group.memory, group.budget.publish
        for spans in memory.periods():
            yield f"{path}memory.", dict(spans)
        for index, shock in enumerate(group.shocks):
            yield f"{path}shocks[{index}].", {"every": shock.every}
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
        select.fits(group=group.name, labels=group.labels, node=group.node, network=group.network)
        for group in scenario.fleet
    ):
        keys = {
            key: value for key, value in msgspec.structs.asdict(select).items() if value and key != "share"
        }
        shown = ", ".join(f"{key}: {_shown(value)}" for key, value in keys.items())
        yield f"{path}(={{{shown}}}) must fit at least one group of the fleet"


def _shown(value: Mapping[str, str] | Sequence[str]) -> str:
    """Return a value of a selector as in a scenario file."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {label}" for key, label in value.items()) + "}"
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
    if devices > MAX_DEVICES:
        yield f"fleet: the groups have {devices:,} devices in all, and must have at most {MAX_DEVICES:,}"
    labels = len({key for group in scenario.fleet for key in group.labels})
    if labels > MAX_LABELS:
        yield f"fleet: the groups have {labels:,} different labels, and must have at most {MAX_LABELS:,}"
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
        node_memory = scenario.nodes[group.node].memory
        for key, most in group.memory.limits().items():
            if most > node_memory:
                yield (
                    f"fleet[{at}].memory.{key}(={format_bytes(most)}) must not exceed "
                    f"memory(={format_bytes(node_memory)}) of node {group.node!r}"
                )
        if group.budget.reserve >= node_memory:
            yield (
                f"fleet[{at}].budget.reserve(={format_bytes(group.budget.reserve)}) must be less than "
                f"memory(={format_bytes(node_memory)}) of node {group.node!r}, or no budget is left"
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
    """Yield the errors of threshold filters that match nothing in *scenario*."""
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
    """Return the values of each dimension by which any metric can be filtered."""
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
        "user_group": [str(at) for at in range(_most_user_groups(scenario.model))],
        "budget_decile": DECILES,
    }
    assert set(DIMENSIONS) <= {*known, "label.<key>", "budget_range"}
    return known


def _most_user_groups(model: Model) -> int:
    """Return the largest number of user groups that the model may have; a store is not read here."""
    return model.training.user_groups if model.store is None else 1024


_CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[ScenarioFields], Iterable[str]]], ...]] = (
    (("name",), lambda scenario: _errors_of(_check_name, scenario.name)),
    (("broker",), lambda scenario: _errors_of(_check_broker, scenario.broker)),
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
    (("actions", "fleet", "nodes", "networks", *_WHEN), lambda scenario: _timeline(scenario, "actions")),
    (("faults", "fleet", "nodes", "networks", *_WHEN), lambda scenario: _timeline(scenario, "faults")),
    (("metrics",), lambda scenario: metric_errors(scenario.metrics)),
    (("thresholds",), lambda scenario: threshold_errors(scenario.thresholds)),
    (("thresholds", "fleet", "nodes", "networks", "stages", "model"), _filters),
    (("updates", "fleet", "stop_time", "stages"), _repetitions),
    (("clock", "cloud"), _realtime),
    (("sample", "clock", "cloud", "fleet"), sample_errors),
    (("interactions", "data", "sample", "actions", "thresholds"), interaction_errors),
    (("retrain", "interactions", "rollout", "model", "updates", *_WHEN), retrain_errors),
)
"""The keys that each check needs, and the check; errors are reported in this order."""
