"""The JSON messages of the wire: frozen types, closed, bounded in size.

The PEE itself travels as a safetensors file: see `wire.update_part`.
"""

from typing import Annotated, TypeVar

import msgspec

from wire.errors import Reason, RemoteProtocolError
from wire.geometry import MAX_BLOCKS, Geometry

MAX_JSON_BYTES = 4096
MAX_USER_GROUPS = 2**24

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
ModelVersion = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[0-9a-zA-Z._-]*$")]


class BudgetReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A device says what it may hold and what it holds: all that a stateless cloud needs.

    A device names its user, or, where it keeps the user's vector to itself, only the user's group.
    """

    seq: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    """Counts up with every report of the device; the answer carries it back."""
    budget_bytes: Count
    """The most bytes that the item embeddings may take, block ids and scales included."""
    user: Count | None = None
    """The user whose PEE is wanted."""
    group: Count | None = None
    """The user's group, for a device that does not tell its user."""
    model: ModelVersion = ""
    """The model version held; empty if none, and then the answer brings the user's vector too."""
    held: Count = 0
    """How many blocks of the group's ranking are held: a prefix."""
    wants: ModelVersion | msgspec.UnsetType = msgspec.UNSET
    """The model version wanted, where it is not the one that the cloud serves to everybody."""
    shared: bool | msgspec.UnsetType = msgspec.UNSET
    """Whether the device takes its blocks from the layers' own topics: the answer then brings none."""


class QualityReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The quality of the PEE in use."""

    model: ModelVersion
    """The model version in use; empty if none."""
    layer: Count
    """The layer in use: the highest that the blocks held complete; 0 recommends nothing."""
    held: Count
    """How many blocks of the group's ranking are held."""
    ndcg_at_10: float
    """Normalized discounted cumulative gain of the first 10 recommended, 0 to 1."""
    recall_at_20: float
    """The share of the items to be found that is among the first 20 recommended, 0 to 1."""
    hit_rate_at_10: float
    """1 where any of them is among the first 10 recommended, else 0; of several rankings, the mean."""


class Status(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether a device is there; also its last will."""

    online: bool
    """Whether the device has a session."""
    reason: Annotated[str, msgspec.Meta(max_length=200)]
    """Why, for people to read, such as ``start``, ``reconnect`` or ``connection lost``."""


class ModelNotice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The current model version and its geometry."""

    version: ModelVersion
    """The name of the model, made of its content: equal names are equal bytes."""
    geometry: Geometry
    """How its item tables are cut into blocks."""
    user_groups: Annotated[int, msgspec.Meta(ge=1, le=MAX_USER_GROUPS)]
    """How many groups of users there are, numbered from 0; each has its own item table and ranking."""
    users: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    """How many users the model knows, numbered from 0."""
    layers: Annotated[int, msgspec.Meta(ge=1, le=MAX_BLOCKS)]
    """The most layers that any group's ranking is cut into."""


Message = TypeVar("Message", BudgetReport, QualityReport, Status, ModelNotice)

_encode = msgspec.json.Encoder().encode
_DECODERS: dict[type, msgspec.json.Decoder[object]] = {
    kind: msgspec.json.Decoder(kind) for kind in (BudgetReport, QualityReport, Status, ModelNotice)
}


def encode(message: msgspec.Struct) -> bytes:
    """Return *message* as compact JSON."""
    return _encode(message)


def decode(payload: bytes, kind: type[Message]) -> Message:
    """Return the message of type *kind* in *payload*.

    Raises:
        RemoteProtocolError: it is too large, no JSON, or not of that type.
    """
    if len(payload) > MAX_JSON_BYTES:
        raise RemoteProtocolError(Reason.TOO_LARGE, f"{len(payload)} bytes, at most {MAX_JSON_BYTES}")
    try:
        try:
            return _DECODERS[kind].decode(payload)  # type: ignore[return-value]  # one decoder per type
        except msgspec.ValidationError:
            return msgspec.convert(_with_whole_numbers(msgspec.json.decode(payload)), kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(Reason.MALFORMED, f"{kind.__name__}: {error}") from None


def _with_whole_numbers(value: object) -> object:
    """Return decoded JSON with 1e3 and 1000.0 as 1000: some libraries write whole numbers so."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _with_whole_numbers(each) for key, each in value.items()}
    return [_with_whole_numbers(each) for each in value] if isinstance(value, list) else value
