"""The topic table: all topics are built, parsed and matched here.

The access rules of every broker are generated from the same table.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from wire.errors import LocalProtocolError, Reason, RemoteProtocolError

ROOT = "peel/1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")


class Role(StrEnum):
    """The roles of clients of a broker."""

    DEVICE = "device"  # one device; its MQTT user name is its device id
    FLEET = "fleet"  # a gateway that speaks for all devices of a fleet
    CLOUD = "cloud"
    EMULATOR = "emulator"  # a whole run under one login: fleet and cloud
    OBSERVER = "observer"  # may read everything, write nothing


class MessageKind(StrEnum):
    """The content of a topic; the value is a level of the topic, the last one where no name follows."""

    BUDGET = "budget"
    PEE = "pee"
    QUALITY = "quality"
    STATUS = "status"
    MODEL = "model"
    BLOCKS = "blocks"
    ERROR = "error"
    CLOUD = "cloud"
    ROLLOUT = "rollout"
    ORDER = "order"


@dataclass(frozen=True)
class Route:
    """One row of the topic table."""

    per_device: bool
    """True if each device has a topic of its own; else there is one per fleet, or one per layer."""
    writers: tuple[Role, ...]
    readers: tuple[Role, ...]
    qos: Literal[0, 1]
    retained: bool
    per_layer: bool = False
    """True if each layer of each user group's ranking has a topic."""
    per_replica: bool = False
    """True if each service of a cloud has a topic."""


_ENDS = (Role.DEVICE, Role.FLEET, Role.EMULATOR)
_CLOUD = (Role.CLOUD, Role.EMULATOR)

TABLE: dict[MessageKind, Route] = {
    MessageKind.BUDGET: Route(per_device=True, writers=_ENDS, readers=_CLOUD, qos=1, retained=False),
    MessageKind.PEE: Route(per_device=True, writers=_CLOUD, readers=_ENDS, qos=1, retained=False),
    MessageKind.QUALITY: Route(per_device=True, writers=_ENDS, readers=_CLOUD, qos=0, retained=False),
    MessageKind.STATUS: Route(per_device=True, writers=_ENDS, readers=_CLOUD, qos=1, retained=True),
    MessageKind.MODEL: Route(per_device=False, writers=_CLOUD, readers=_ENDS, qos=1, retained=True),
    MessageKind.BLOCKS: Route(
        per_device=False, writers=_CLOUD, readers=_ENDS, qos=1, retained=True, per_layer=True
    ),
    MessageKind.ERROR: Route(per_device=True, writers=_CLOUD, readers=_ENDS, qos=1, retained=False),
    MessageKind.CLOUD: Route(
        per_device=False, writers=_CLOUD, readers=_ENDS, qos=1, retained=True, per_replica=True
    ),
    MessageKind.ROLLOUT: Route(per_device=False, writers=_CLOUD, readers=_ENDS, qos=1, retained=True),
    MessageKind.ORDER: Route(per_device=False, writers=_CLOUD, readers=_CLOUD, qos=1, retained=True),
}


_ROUTES: dict[str, Route] = {kind.value: route for kind, route in TABLE.items()}


@dataclass(frozen=True)
class TopicAddress:
    """The parts of a topic: the kind of message, the fleet and, if there is one, a name."""

    kind: MessageKind
    fleet: str
    device: str | None = None
    layer: "LayerName | None" = None
    replica: str | None = None
    """A service of the fleet's cloud."""


class LayerName(NamedTuple):
    """A layer of a user group's ranking."""

    model: str
    group: int
    layer: int


@dataclass(frozen=True)
class AccessRule:
    """One line of a broker's access rules; ``%u`` in *filter* stands for the user's name."""

    access: Literal["read", "write"]
    filter: str


def device_topic(kind: MessageKind, fleet: str, device: str) -> str:
    """Return the topic of one device, such as ``peel/1/<fleet>/<device>/budget``."""
    return f"{ROOT}/{_name(fleet)}/{_name(device)}/{kind.value}"


def fleet_topic(kind: MessageKind, fleet: str) -> str:
    """Return a topic that all devices of a fleet share, such as ``peel/1/<fleet>/model``."""
    return f"{ROOT}/{_name(fleet)}/{kind.value}"


def layer_topic(fleet: str, name: LayerName) -> str:
    """Return the topic of a layer's blocks, such as ``peel/1/<fleet>/blocks/<model>/<group>/<layer>``."""
    return f"{ROOT}/{_name(fleet)}/{MessageKind.BLOCKS.value}/{_name(name.model)}/{name.group}/{name.layer}"


def cloud_topic(fleet: str, replica: str) -> str:
    """Return the topic of a service's status, such as ``peel/1/<fleet>/cloud/<replica>/status``.

    It has one level more than the topics of devices, so no device can be called so that it could write it.
    """
    return f"{ROOT}/{_name(fleet)}/{MessageKind.CLOUD.value}/{_name(replica)}/{MessageKind.STATUS.value}"


def subscription(kind: MessageKind, fleet: str = "+", device: str = "+") -> str:
    """Return the topic filter for *kind*; ``+`` stands for any fleet or device."""
    route = TABLE[kind]
    above, below = [device] if route.per_device else [], ["+", "+", "+"] if route.per_layer else []
    if route.per_replica:
        below = ["+", MessageKind.STATUS.value]
    return "/".join([ROOT, fleet, *above, kind.value, *below])


def shared_subscription(kind: MessageKind, fleet: str) -> str:
    """Return the filter by which several clouds share *kind*: each message goes to one of them."""
    return f"$share/{Role.CLOUD.value}/{subscription(kind, fleet)}"


def parse(topic: str) -> TopicAddress:
    """Return the parts of *topic*.

    Raises:
        RemoteProtocolError: it is not a topic of the table (reason ``unknown_topic``).
    """
    match topic.split("/"):
        case ["peel", "1", fleet, device, kind] if _known(kind, per_device=True, names=(fleet, device)):
            return TopicAddress(MessageKind(kind), fleet, device)
        case ["peel", "1", fleet, kind] if _known(kind, per_device=False, names=(fleet,)):
            return TopicAddress(MessageKind(kind), fleet)
        case ["peel", "1", fleet, MessageKind.BLOCKS.value, model, group, layer] if (
            valid_name(fleet) and valid_name(model) and _NUMBER.fullmatch(group) and _NUMBER.fullmatch(layer)
        ):
            return TopicAddress(MessageKind.BLOCKS, fleet, layer=LayerName(model, int(group), int(layer)))
        case ["peel", "1", fleet, MessageKind.CLOUD.value, replica, MessageKind.STATUS.value] if valid_name(
            fleet
        ) and valid_name(replica):
            return TopicAddress(MessageKind.CLOUD, fleet, replica=replica)
    raise RemoteProtocolError(Reason.UNKNOWN_TOPIC, f"no topic of the table: {topic[:200]!r}")


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether *topic* matches *topic_filter* as MQTT 3.1.1 section 4.7 defines it."""
    pattern, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and pattern[0] in ("+", "#"):
        return False
    for index, level in enumerate(pattern):
        if level == "#":
            return index == len(pattern) - 1
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(pattern) == len(levels)


def access_rules(role: Role, fleet: str = "+") -> tuple[AccessRule, ...]:
    """Return the topics that *role* may read and write, generated from the topic table.

    Args:
        role: the role.
        fleet: its fleet; ``+``: any.
    """
    if role is Role.OBSERVER:
        return (AccessRule("read", f"{ROOT}/{'' if fleet == '+' else f'{fleet}/'}#"),)
    device = "%u" if role is Role.DEVICE else "+"
    rules: list[AccessRule] = []
    for kind, route in TABLE.items():
        topic_filter = subscription(kind, fleet, device)
        rules += [AccessRule("read", topic_filter)] * (role in route.readers)
        rules += [AccessRule("write", topic_filter)] * (role in route.writers)
    return tuple(rules)


def valid_name(name: str) -> bool:
    """Tell whether *name* can be a fleet or a device: letters, digits and ``._-``, at most 64 characters."""
    return NAME.fullmatch(name) is not None


def _name(name: str) -> str:
    if not valid_name(name):
        raise LocalProtocolError(f"name(={name!r}) must be 1 to 64 letters, digits, '.', '_' or '-'")
    return name


def _known(kind: str, *, per_device: bool, names: tuple[str, ...]) -> bool:
    route = _ROUTES.get(kind)
    return (
        route is not None
        and route.per_device is per_device
        and not (route.per_layer or route.per_replica)
        and all(map(valid_name, names))
    )
