"""Retained messages of a fleet that no living cloud or device owns: found by the statuses.

A broker keeps a retained message for ever. Devices that are gone leave their status, clouds that are gone
their notice, their layers, their rollout and their own status.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from wire.errors import RemoteProtocolError
from wire.messages import MAX_NAMED_MODELS, CloudStatus, ModelNotice, RolloutNotice, Status, decode
from wire.topics import MessageKind, parse

Known = TypeVar("Known", CloudStatus, Status, ModelNotice, RolloutNotice)
_ROLLOUTS = (MessageKind.ROLLOUT, MessageKind.ORDER)


class Leftover(NamedTuple):
    """A retained message that nobody owns."""

    topic: str
    kind: MessageKind
    reason: str


def find_leftovers(retained: Mapping[str, bytes]) -> list[Leftover]:
    """Return those of a fleet's retained messages that no living cloud or device owns.

    A cloud of protocol 1.0 has no status: where no service says anything, notice and layers are kept.

    Args:
        retained: payloads by topic.
    """
    found, services = list[Leftover](), list[CloudStatus]()
    for topic, payload in retained.items():
        kind = parse(topic).kind
        if kind is MessageKind.CLOUD and (service := _decoded(payload, CloudStatus)) is not None:
            services.append(service)
            if not service.online:
                found.append(Leftover(topic, kind, f"service away: {service.reason}"))
        device = _decoded(payload, Status) if kind is MessageKind.STATUS else None
        if device is not None and not device.online:
            found.append(Leftover(topic, kind, f"device away: {device.reason}"))
    online = [service for service in services if service.online]
    if services and not any(len(service.models) == MAX_NAMED_MODELS for service in online):
        served = {model for service in online for model in service.models}
        found += _of_unserved(retained, served)
    return sorted(found)


def _of_unserved(retained: Mapping[str, bytes], served: set[str]) -> Iterable[Leftover]:
    """Yield the notice, the layers and the rollout of models that no service serves."""
    for topic, payload in retained.items():
        address = parse(topic)
        rollout = _decoded(payload, RolloutNotice) if address.kind in _ROLLOUTS else None
        if rollout is not None and not {rollout.version, rollout.previous} & served:
            yield Leftover(topic, address.kind, f"rollout of model {rollout.version}, which is not served")
        model = ""
        if address.kind is MessageKind.MODEL and (notice := _decoded(payload, ModelNotice)) is not None:
            model = notice.version
        elif address.layer is not None:
            model = address.layer.model
        if model and model not in served:
            yield Leftover(topic, address.kind, f"model {model} is not served")


def _decoded(payload: bytes, kind: type[Known]) -> Known | None:
    try:
        return decode(payload, kind)
    except RemoteProtocolError:
        return None
