"""The PEE container: one update part is one safetensors file.

An update is a series of self-contained parts of whole blocks in ranking order. The header's
``__metadata__`` holds the fields, the tensors hold the blocks:

    ids          U16 [B]    block ids, in ranking order
    data         U8 [bytes] the blocks' numbers, packed, in the same order
    scales       F32 [B]    where the codec has scales
    user_vector  F32 [d]    where the device holds no part of this model version yet
    layer_blocks U32 [L]    with it: how many blocks the first l layers hold, l = 1 .. L
    layer_bytes  U32 [L]    with it: how many bytes a device stores for them

The header starts with the checksum, at a fixed place: ``{"__metadata__":{"crc32":"xxxxxxxx",``. It is
the CRC-32 of the data section followed by the header text, its own eight digits set to ``00000000``.
Data first, so that a cloud which sends the same blocks to many devices checksums them once.
"""

import zlib
from collections.abc import Iterable
from typing import Annotated

import msgspec

from wire.errors import Reason, RemoteProtocolError
from wire.messages import Count, ModelVersion

DEFAULT_MAX_PAYLOAD = 128 * 1024
MAX_PART_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 4096

_START = b'{"__metadata__":{"crc32":"'
_ZEROS = b"00000000"
_TYPE_BYTES = {"U8": 1, "U16": 2, "U32": 4, "F32": 4}
_TENSOR_TYPES = {
    "user_vector": "F32",
    "layer_blocks": "U32",
    "layer_bytes": "U32",
    "scales": "F32",
    "ids": "U16",
    "data": "U8",
}  # in the order of the data section: widest first, so that every tensor is aligned


class Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of an update part; all of them are strings in the file, as safetensors wants it."""

    crc32: str
    seq: Annotated[int, msgspec.Meta(ge=1)]
    """The report that this answers."""
    model: ModelVersion
    group: Count
    """The user group whose ranking the blocks are of."""
    first: Count
    """The place in the ranking of this part's first block."""
    target: Count
    """How many blocks the PEE for the reported budget has."""
    part: Annotated[int, msgspec.Meta(ge=1)]
    parts: Annotated[int, msgspec.Meta(ge=1)]


class _Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"metadata": "__metadata__"}):
    metadata: Metadata
    user_vector: _Tensor | None = None
    layer_blocks: _Tensor | None = None
    layer_bytes: _Tensor | None = None
    scales: _Tensor | None = None
    ids: _Tensor | None = None
    data: _Tensor | None = None


class Part(msgspec.Struct, frozen=True):
    """A decoded update part; tensors are raw little-endian bytes, empty where absent."""

    metadata: Metadata
    data_crc32: int
    """CRC-32 of the data section: equal content has an equal value."""
    ids: bytes
    data: bytes
    scales: bytes
    user_vector: bytes
    layer_blocks: bytes
    layer_bytes: bytes

    @property
    def blocks(self) -> int:
        """How many blocks the part brings."""
        return len(self.ids) // 2


class Body(msgspec.Struct, frozen=True):
    """A part without its report's number: the same for every device that needs these blocks."""

    fields: bytes
    data: bytes
    data_crc32: int


_decode_header = msgspec.json.Decoder(_Header, strict=False).decode  # not strict: numbers are strings


def body(
    *, model: str, group: int, first: int, target: int, part: int, parts: int, tensors: dict[str, bytes]
) -> Body:
    """Return a part to be sealed with the number of each report that it answers.

    Args:
        model: model version.
        group: user group.
        first: place in the ranking of the first block.
        target: blocks of the whole PEE.
        part: this part's number, from 1.
        parts: how many there are.
        tensors: raw bytes by tensor name; the names and types are those of the module's docstring.
    """
    described = [b""]
    offset = 0
    present = [(name, tensors[name]) for name in _TENSOR_TYPES if tensors.get(name)]
    for name, raw in present:
        kind = _TYPE_BYTES[_TENSOR_TYPES[name]]
        described.append(
            f'"{name}":{{"dtype":"{_TENSOR_TYPES[name]}","shape":[{len(raw) // kind}],'
            f'"data_offsets":[{offset},{offset + len(raw)}]}}'.encode()
        )
        offset += len(raw)
    fields = (
        f'","model":"{model}","group":"{group}","first":"{first}","target":"{target}",'
        f'"part":"{part}","parts":"{parts}"}}'
    ).encode() + b",".join(described)
    data = b"".join(raw for _, raw in present)
    return Body(fields, data, zlib.crc32(data))


def seal(body: Body, seq: int) -> bytes:
    """Return the safetensors file that answers report *seq* with *body*."""
    rest = b'","seq":"%d%b}' % (seq, body.fields)
    rest += b" " * (-(len(_START) + 8 + len(rest)) % 8)
    checksum = zlib.crc32(rest, zlib.crc32(_START + _ZEROS, body.data_crc32))
    length = (len(_START) + 8 + len(rest)).to_bytes(8, "little")
    return b"%b%b%08x%b%b" % (length, _START, checksum, rest, body.data)


def sealed_bytes(body: Body, seq: int) -> int:
    """Return ``len(seal(body, seq))`` without building it."""
    header = len(_START) + 8 + len(b'","seq":"') + len(str(seq)) + len(body.fields) + 1
    return 8 + header + (-header % 8) + len(body.data)


def decode_part(payload: bytes) -> Part:
    """Return the update part in *payload*, its checksum verified.

    Raises:
        RemoteProtocolError: it is too large, damaged, or no update part.
    """
    header, checked = _split(payload)
    try:
        fields = _decode_header(header)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RemoteProtocolError(Reason.MALFORMED, f"header: {error}") from None
    start, size = 8 + len(header), len(payload) - 8 - len(header)
    tensors: dict[str, bytes] = {}
    covered = 0
    for name, kind in _TENSOR_TYPES.items():
        tensor: _Tensor | None = getattr(fields, name)
        if tensor is None:
            tensors[name] = b""
            continue
        begin, end = tensor.data_offsets
        if tensor.dtype != kind or begin != covered or tensor.shape != ((end - begin) // _TYPE_BYTES[kind],):
            raise RemoteProtocolError(Reason.MALFORMED, f"tensor {name} is {tensor}")
        tensors[name] = payload[start + begin : start + end]
        covered = end
    if covered != size or fields.metadata.part > fields.metadata.parts:
        raise RemoteProtocolError(Reason.MALFORMED, f"{covered} of {size} data bytes are described")
    return Part(fields.metadata, checked, **tensors)


def peek(payload: bytes) -> Metadata:
    """Return the fields of a part without verifying or decoding its tensors, to route it."""
    try:
        length = int.from_bytes(payload[:8], "little")
        return _decode_header(payload[8 : 8 + min(length, MAX_HEADER_BYTES)]).metadata
    except (msgspec.DecodeError, RecursionError) as error:
        raise RemoteProtocolError(Reason.MALFORMED, f"header: {error}") from None


def _split(payload: bytes) -> tuple[bytes, int]:
    """Return the header's text and the data's CRC-32, both verified."""
    if len(payload) > MAX_PART_BYTES:
        raise RemoteProtocolError(Reason.TOO_LARGE, f"{len(payload)} bytes, at most {MAX_PART_BYTES}")
    length = int.from_bytes(payload[:8], "little")
    header = payload[8 : 8 + length] if length <= MAX_HEADER_BYTES else b""
    place = len(_START)
    if not header.startswith(_START) or len(header) != length or length % 8:
        raise RemoteProtocolError(Reason.MALFORMED, "no header of an update part")
    data_crc32 = zlib.crc32(memoryview(payload)[8 + length :])
    checksum = zlib.crc32(header[place + 8 :], zlib.crc32(_START + _ZEROS, data_crc32))
    if header[place : place + 8] != b"%08x" % checksum:
        raise RemoteProtocolError(Reason.CHECKSUM, f"{header[place : place + 8]!r}, counted {checksum:08x}")
    return header, data_crc32


def total_bytes(bodies: Iterable[Body], seq: int) -> int:
    """Return the payload bytes of an update of *bodies* that answers report *seq*."""
    return sum(sealed_bytes(each, seq) for each in bodies)
