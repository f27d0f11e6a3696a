"""The PEE container: one update part is one safetensors file.

An update is a series of self-contained parts of whole blocks in ranking order. The header's
``__metadata__`` holds the fields, the tensors hold the blocks:

    ids          U16 [B]    block ids, in ranking order
    data         U8 [bytes] the blocks' numbers, packed, in the same order
    sizes        U16 [B]    bytes of each block, where the geometry does not say them
    scales       F32 [B]    where the codec has scales
    layer_blocks U32 [L]    in an introduction: how many blocks the first l layers hold, l = 1 .. L
    layer_bytes  U32 [L]    with it: how many bytes a device stores for them
    user_vector  F32 [d]    with them, where the cloud knows the user

An introduction is the first part for a device that does not hold this model version; it has no blocks,
so that all other parts are the same for every device.

The header starts with the checksum and the report's number, at a fixed place:
``{"__metadata__":{"crc32":"xxxxxxxx","seq":"7",``. The checksum is the CRC-32 of the data section followed
by the header text, its own eight digits set to ``00000000``. Data first, so that a cloud which sends
the same blocks to many devices checksums them once.
"""

import functools
import zlib
from typing import Annotated

import msgspec

from wire.blocks import Blocks
from wire.errors import Reason, RemoteProtocolError
from wire.messages import Count, ModelVersion

DEFAULT_MAX_PAYLOAD = 128 * 1024
MAX_PART_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 4096
MAX_REMEMBERED_BYTES = 1024

_START = b'{"__metadata__":{"crc32":"'
_ZEROS = b"00000000"
_SEQ = b'","seq":"'
_FIXED = len(_START) + len(_ZEROS)
_ZEROED = _START + _ZEROS
_PADDING = tuple(b" " * (-over % 8) for over in range(8))

# Where the checksum, what it covers of the header, and the report's number start in a part.
_CLAIMED = 8 + len(_START)
_CHECKED = 8 + _FIXED
_NUMBER = _CHECKED + len(_SEQ)
_TYPE_BYTES = {"U8": 1, "U16": 2, "U32": 4, "F32": 4}
TENSOR_TYPES = {
    "user_vector": "F32",
    "layer_blocks": "U32",
    "layer_bytes": "U32",
    "scales": "F32",
    "ids": "U16",
    "sizes": "U16",
    "data": "U8",
}  # in the order of the data section: widest first, so that every tensor is aligned


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What a part's header says, its checksum and its report's number aside."""

    model: str
    group: int
    """The user group whose ranking the blocks are of."""
    first: int
    """The place in the ranking of this part's first block."""
    target: int
    """How many blocks the PEE for the reported budget has."""
    part: int
    parts: int
    blocks: int
    """How many blocks the part brings."""
    introduces: bool
    """Whether it brings the layer table or the user's vector."""
    spans: dict[str, tuple[int, int]]
    """Where each tensor lies in the data section."""


class Part(msgspec.Struct, frozen=True):
    """A verified update part."""

    seq: int
    """The report that it answers."""
    layout: Layout
    data_crc32: int
    """CRC-32 of the data section: equal content has an equal value."""
    payload: bytes
    start: int
    """Where the data section starts in the payload."""

    def tensor(self, name: str) -> bytes:
        """Return the raw little-endian bytes of a tensor, empty where it is absent."""
        begin, end = self.layout.spans.get(name, (0, 0))
        return self.payload[self.start + begin : self.start + end]

    def content(self) -> Blocks:
        """Return the blocks."""
        return Blocks(*map(self.tensor, Blocks._fields))


class Body(msgspec.Struct, frozen=True):
    """A part without its report's number: the same for every device that needs these blocks."""

    fields: bytes
    data: bytes
    checksum: int
    """CRC-32 of the data section and the start of the header."""


class _Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: ModelVersion
    group: Count
    first: Count
    target: Count
    part: Annotated[int, msgspec.Meta(ge=1)]
    parts: Annotated[int, msgspec.Meta(ge=1)]


class _Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _PartHeader(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"metadata": "__metadata__"}
):
    metadata: _Metadata
    user_vector: _Tensor | None = None
    layer_blocks: _Tensor | None = None
    layer_bytes: _Tensor | None = None
    scales: _Tensor | None = None
    ids: _Tensor | None = None
    sizes: _Tensor | None = None
    data: _Tensor | None = None


_decode_header = msgspec.json.Decoder(_PartHeader, strict=False).decode  # not strict: numbers are strings


def build_body(
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
    present = [(name, tensors[name]) for name in TENSOR_TYPES if tensors.get(name)]
    for name, raw in present:
        kind = _TYPE_BYTES[TENSOR_TYPES[name]]
        described.append(
            f'"{name}":{{"dtype":"{TENSOR_TYPES[name]}","shape":[{len(raw) // kind}],'
            f'"data_offsets":[{offset},{offset + len(raw)}]}}'.encode()
        )
        offset += len(raw)
    fields = (
        f'","model":"{model}","group":"{group}","first":"{first}","target":"{target}",'
        f'"part":"{part}","parts":"{parts}"}}'
    ).encode() + b",".join(described)
    data = b"".join(raw for _, raw in present)
    return Body(fields, data, zlib.crc32(_ZEROED, zlib.crc32(data)))


def encode_part(build_body: Body, seq: int) -> bytes:
    """Return the safetensors file that answers report *seq* with *body*."""
    rest = b'","seq":"%d%b}' % (seq, build_body.fields)
    rest += _PADDING[(_FIXED + len(rest)) % 8]
    checksum = zlib.crc32(rest, build_body.checksum)
    return b"%b%b%08x%b%b" % (
        (_FIXED + len(rest)).to_bytes(8, "little"),
        _START,
        checksum,
        rest,
        build_body.data,
    )


def encoded_bytes(fields_bytes: int, data_bytes: int, seq: int) -> int:
    """Return ``len(seal(body, seq))`` for a body with that many bytes of fields and data."""
    header = _FIXED + len(_SEQ) + len(str(seq)) + fields_bytes + 1
    return 8 + header + (-header % 8) + data_bytes


def decode_part(payload: bytes) -> Part:
    """Return the update part in *payload*, its checksum verified.

    Raises:
        RemoteProtocolError: it is too large, damaged, or no update part.
    """
    seq, fields, start = _split(payload)
    data_crc32 = zlib.crc32(memoryview(payload)[start:])
    checksum = zlib.crc32(payload[_CHECKED:start], zlib.crc32(_ZEROED, data_crc32))
    if payload[_CLAIMED:_CHECKED] != b"%08x" % checksum:
        raise RemoteProtocolError(Reason.CHECKSUM, f"counted {checksum:08x}")
    return Part(seq, _layout_of(fields, len(payload) - start), data_crc32, payload, start)


def peek(payload: bytes) -> tuple[int, Layout]:
    """Return the number and the layout of a part without verifying its checksum, to route it.

    Raises:
        RemoteProtocolError: it is no update part.
    """
    seq, fields, start = _split(payload)
    return seq, _layout_of(fields, len(payload) - start)


def _split(payload: bytes) -> tuple[int, bytes, int]:
    """Return the report's number, the fields behind it, and where the data section starts."""
    length = int.from_bytes(payload[:8], "little")
    start = 8 + length
    if len(payload) > MAX_PART_BYTES:
        raise RemoteProtocolError(Reason.TOO_LARGE, f"{len(payload)} bytes, at most {MAX_PART_BYTES}")
    if length > MAX_HEADER_BYTES or length % 8 or start > len(payload):
        raise RemoteProtocolError(Reason.MALFORMED, f"a header of {length} bytes in {len(payload)}")
    end = payload.find(b'"', _NUMBER, start)
    digits = payload[_NUMBER:end]
    fixed = payload[8:_CLAIMED] == _START and payload[_CHECKED:_NUMBER] == _SEQ
    if not (fixed and digits.isdigit() and len(digits) <= 16):
        raise RemoteProtocolError(Reason.MALFORMED, "no header of an update part")
    return int(digits), payload[end:start], start


def _layout_of(fields: bytes, data_bytes: int) -> Layout:
    """Return what *fields* say; those of ordinary length are remembered, so that a peer fills no memory."""
    return (_layout if len(fields) <= MAX_REMEMBERED_BYTES else _layout.__wrapped__)(fields, data_bytes)


@functools.lru_cache(maxsize=8192)  # the same blocks go to many devices, under different numbers
def _layout(fields: bytes, data_bytes: int) -> Layout:
    try:
        header = _decode_header(b'{"__metadata__":{' + fields[2:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError(Reason.MALFORMED, f"header: {error}") from None
    spans: dict[str, tuple[int, int]] = {}
    covered = 0
    for name, kind in TENSOR_TYPES.items():
        tensor: _Tensor | None = getattr(header, name)
        if tensor is None:
            continue
        begin, end = tensor.data_offsets
        size, rest = divmod(end - begin, _TYPE_BYTES[kind])
        if tensor.dtype != kind or begin != covered or rest or size < 0 or tensor.shape != (size,):
            raise RemoteProtocolError(Reason.MALFORMED, f"tensor {name} is {tensor}")
        spans[name], covered = (begin, end), end
    fields_of = header.metadata
    if covered != data_bytes or fields_of.part > fields_of.parts:
        raise RemoteProtocolError(Reason.MALFORMED, f"{covered} of {data_bytes} data bytes are described")
    first, last = spans.get("ids", (0, 0))
    return Layout(
        **msgspec.structs.asdict(fields_of),
        blocks=(last - first) // 2,
        introduces="user_vector" in spans or "layer_blocks" in spans,
        spans=spans,
    )
