"""The JSON messages of the wire: frozen types, bounded in size.

A field that is not known is ignored, so that the other end may be newer; only `geometry` is closed, since a
device that does not know all of it cannot decode a block.

The PEE itself travels as a safetensors file: see `wire.update_part`.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar, cast

import msgspec

from wire.errors import Reason, RemoteProtocolError
from wire.geometry import MAX_BLOCKS, Geometry, codec_hint

MAX_JSON_BYTES = 4096
MAX_USER_GROUPS = 2**24
PROTOCOL: Final = "1.1"
"""The version of the protocol that is written here: additions to version 1 count up the second number."""
MAX_NAMED_MODELS = 32
"""Model versions that a cloud's status names."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
ModelVersion = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[0-9a-zA-Z._-]*$")]
ProtocolVersion = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}$")]
CodecNames = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=64)], ...], msgspec.Meta(max_length=32)]


class BudgetReport(msgspec.Struct, frozen=True, kw_only=True):
    """The budget and the state of a device: all that a stateless cloud needs for an answer.

    A device names its user or, if it keeps the user's vector to itself, only the user's group.
    """

    seq: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    """Number of the report; it rises with every report of the device, and the answer repeats it."""
    budget_bytes: Count
    """Largest number of bytes for the item embeddings, block ids and scales included."""
    user: Count | None = None
    """The user who needs a PEE."""
    group: Count | None = None
    """The user's group, if the device does not name its user."""
    model: ModelVersion = ""
    """The model version held; empty if none, and then the answer includes the user's vector."""
    held: Count = 0
    """Number of blocks held: the first ones of the group's ranking."""
    wants: ModelVersion | msgspec.UnsetType = msgspec.UNSET
    """The model version requested, if it is not the one that the cloud serves to all."""
    shared: bool | msgspec.UnsetType = msgspec.UNSET
    """True if the device takes its blocks from the topics of layers: then the answer has no blocks."""
    deltas: bool | msgspec.UnsetType = msgspec.UNSET
    """True if the device can turn the blocks of `model` into those of another version by a delta."""
    max_part: Count | msgspec.UnsetType = msgspec.UNSET
    """Bytes of the largest update part that the device can take in; the cloud sends no larger one."""
    codecs: CodecNames | msgspec.UnsetType = msgspec.UNSET
    """The codecs that the device knows; without the field it is asked for none."""


class QualityReport(msgspec.Struct, frozen=True, kw_only=True):
    """The quality of the PEE in use."""

    model: ModelVersion
    """The model version in use; empty if none."""
    layer: Count
    """The layer in use: the highest that the blocks held complete; layer 0 gives no recommendations."""
    held: Count
    """Number of blocks of the group's ranking that are held."""
    ndcg_at_10: float
    """Normalized discounted cumulative gain of the first 10 recommended, 0 to 1."""
    recall_at_20: float
    """The share of the test items that is among the first 20 recommended, 0 to 1."""
    hit_rate_at_10: float
    """1 if a test item is among the first 10 recommended, else 0; the mean over several rankings."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The connection state of a device; also its last will."""

    online: bool
    """True while the device has a session."""
    reason: Annotated[str, msgspec.Meta(max_length=200)]
    """The cause, for people to read, such as ``start``, ``reconnect`` or ``connection lost``."""
    protocol: ProtocolVersion | msgspec.UnsetType = msgspec.UNSET
    """The version of the protocol that the device speaks; without the field 1.0."""
    model: ModelVersion | msgspec.UnsetType = msgspec.UNSET
    """The model version that the device holds; a device that names it takes part in rollouts."""


class CloudStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The connection state of a service of the cloud, and what it offers; also its last will."""

    online: bool
    """True while the service answers reports."""
    reason: Annotated[str, msgspec.Meta(max_length=200)]
    """The cause, for people to read, such as ``start``, ``stop`` or ``connection lost``."""
    protocol: ProtocolVersion
    """The version of the protocol that it speaks: a device sends it no field of a newer one."""
    models: Annotated[tuple[ModelVersion, ...], msgspec.Meta(max_length=MAX_NAMED_MODELS)] = ()
    """The model versions that it serves, the announced one first; at most 32 of them."""
    max_part: Count = 0
    """Bytes of the largest update part that it sends, if the device asks for no smaller ones."""
    layers: bool = False
    """True if it leaves each layer at the broker, for shared delivery."""


class Remedy(StrEnum):
    """The ways in which a device reacts to an error."""

    WAIT = "wait"  # nothing: the report is answered later
    RETRY = "retry"  # report again, later
    RESTART = "restart"  # drop all blocks, and report again
    CHANGE = "change"  # the report is wrong: until somebody changes a setting, no report is answered


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a report that is refused, or not answered now."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    """The report's number; 0 where it could not be read."""
    reason: Annotated[str, msgspec.Meta(max_length=64)]
    """The reason, a word that stays the same; the page lists them, and more may come."""
    text: Annotated[str, msgspec.Meta(max_length=300)]
    """The exact problem, for people to read."""
    remedy: Annotated[str, msgspec.Meta(max_length=32)]
    """The device's task: wait, retry, restart or change; another word means retry."""
    retry_after_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)]
    """The least number of seconds to the next report; with wait: to the answer."""


class ModelNotice(msgspec.Struct, frozen=True, kw_only=True):
    """The current model version and its geometry."""

    version: ModelVersion
    """The name of the model, made of its content: equal names mean equal bytes."""
    geometry: Geometry
    """The blocks of the item tables."""
    user_groups: Annotated[int, msgspec.Meta(ge=1, le=MAX_USER_GROUPS)]
    """Number of user groups, numbered from 0; each has its own item table and ranking."""
    users: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    """Number of users that the model knows, numbered from 0."""
    layers: Annotated[int, msgspec.Meta(ge=1, le=MAX_BLOCKS)]
    """Largest number of layers of any group's ranking."""


class RolloutState(StrEnum):
    """The states of a rollout."""

    RUNNING = "running"
    COMPLETE = "complete"  # the version is that of all devices
    PAUSED = "paused"  # no further group starts; devices that were offered the version keep it
    ROLLED_BACK = "rolled_back"  # all devices get the previous version


Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=2.0**31)]
GroupCount = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class RolloutNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout of a model version, in groups of devices: its last order, and how far it has come."""

    rollout: Number
    """Number of the rollout; it rises with every rollout of a fleet."""
    order: Number
    """Number of the last order to the rollout, from 1: to start it, to pause it and so on."""
    state: RolloutState
    """The state: running, complete, paused or rolled_back."""
    version: Annotated[ModelVersion, msgspec.Meta(min_length=1)]
    """The model version that is offered."""
    previous: ModelVersion
    """The version that all devices have, or get again after a rollback."""
    groups: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    """Devices are split into this number of groups of about equal size."""
    started: GroupCount = 0
    """Groups that have started: 0 up to, but without, this number."""
    began_ms: Count = 0
    """Start of the last of them, or of its resumption, in milliseconds since 1970."""
    notice: ModelNotice | None = None
    """The notice of the offered version; a device follows no offer without it."""
    success_threshold: Fraction = 0.8
    """The next group starts when this part of a group holds the version."""
    error_threshold: Fraction = 0.05
    """The rollout stops when more than this part of a group has failed."""
    timeout_s: Seconds = 300.0
    """A device has failed that was connected for so long since its group started, and does not hold the
    version."""
    pause_s: Seconds = 0.0
    """The shortest time between the starts of two groups."""
    on_error: Literal["pause", "rollback"] = "pause"
    """Effect of a stop."""
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """The reason for which the cloud has stopped the rollout, for people to read."""


Message = TypeVar(
    "Message", BudgetReport, QualityReport, Status, ModelNotice, CloudStatus, ErrorAnswer, RolloutNotice
)

_encode = msgspec.json.Encoder().encode
_DECODERS: dict[type, msgspec.json.Decoder[object]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (BudgetReport, QualityReport, Status, ModelNotice, CloudStatus, ErrorAnswer, RolloutNotice)
}


def encode(message: msgspec.Struct) -> bytes:
    """Return *message* as compact JSON."""
    return _encode(message)


def decode(payload: bytes, kind: type[Message]) -> Message:
    """Return the message of type *kind* in *payload*.

    Raises:
        RemoteProtocolError: the payload is too large, not JSON, or not of that type.
    """
    if len(payload) > MAX_JSON_BYTES:
        raise RemoteProtocolError(Reason.TOO_LARGE, f"{len(payload)} bytes, at most {MAX_JSON_BYTES}")
    try:
        try:
            return cast("Message", _DECODERS[kind].decode(payload))  # one decoder per type
        except msgspec.ValidationError:
            return msgspec.convert(_with_whole_numbers(msgspec.json.decode(payload)), kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(Reason.MALFORMED, f"{kind.__name__}: {error}{codec_hint(error)}") from None


def _with_whole_numbers(value: object) -> object:
    """Return decoded JSON with 1e3 and 1000.0 as 1000: some libraries write integers so."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _with_whole_numbers(item) for key, item in value.items()}
    return [_with_whole_numbers(item) for item in value] if isinstance(value, list) else value


def knows_capabilities(protocol: str) -> bool:
    """Tell whether a cloud of this version of the protocol knows the fields `max_part` and `codecs`."""
    major, _, minor = protocol.partition(".")
    return major == "1" and minor.isdigit() and int(minor) >= 1
