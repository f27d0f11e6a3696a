"""Update parts: one part of an update is one safetensors file.

An update is a series of self-contained parts of whole blocks in ranking order. The ``__metadata__`` of the
header has the fields, the tensors have the blocks:

    ids          U16 [B]    block ids, in ranking order
    data         U8 [bytes] the blocks' numbers, packed, in the same order
    sizes        U16 [B]    bytes of each block, unless they follow from the geometry
    scales       F32 [B]    if the codec has scales
    layer_blocks U32 [L]    in an introduction: the number of blocks of the first l layers, l = 1 .. L
    layer_bytes  U32 [L]    with it: the bytes that a device stores for them
    user_vector  F32 [d]    with them, if the cloud knows the user
    delta        U8 [bytes] turns blocks of another version into those of this one (`wire.version_delta`)

An introduction is the first part for a device that does not hold this model version. It has no blocks, so
that all other parts are the same for every device.

The header starts with the checksum and the number of the report, at fixed positions:
``{"__metadata__":{"crc32":"xxxxxxxx","seq":"7",``. The checksum is the CRC-32 of the data section followed
by the header text, with ``00000000`` for its own eight digits. The data come first, so that a cloud that
sends the same blocks to many devices computes their checksum once. A signature (`wire.signatures`), if there
is one, is the next field.
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

SIGNATURE_FIELD = b'","signature":"'
"""The text between the number of the report and a signature."""

# Offsets in a part: the checksum, the header text that it covers, the report number.
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
    "delta": "U8",
}  # in the order of the data section: widest first, so that every tensor is aligned


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a part's header, without its checksum and the number of its report."""

    model: str
    group: int
    """The user group of the ranking."""
    first: int
    """The index in the ranking of this part's first block."""
    target: int
    """The number of blocks of the PEE for the reported budget."""
    part: int
    parts: int
    blocks: int
    """The number of blocks in the part."""
    introduces: bool
    """True if the part has the layer table or the user's vector."""
    spans: dict[str, tuple[int, int]]
    """The start and end of each tensor in the data section."""

    @property
    def is_delta(self) -> bool:
        """True if the part turns the blocks of another model version into those of this one."""
        return "delta" in self.spans


class Part(msgspec.Struct, frozen=True):
    """A verified update part."""

    seq: int
    """The number of the report that it answers."""
    layout: Layout
    data_crc32: int
    """CRC-32 of the data section: equal data have equal values."""
    payload: bytes
    start: int
    """The start of the data section in the payload."""

    def tensor(self, name: str) -> bytes:
        """Return the raw little-endian bytes of a tensor, empty if it is absent."""
        begin, end = self.layout.spans.get(name, (0, 0))
        return self.payload[self.start + begin : self.start + end]

    def content(self) -> Blocks:
        """Return the blocks."""
        return Blocks(*map(self.tensor, Blocks._fields))


class Body(msgspec.Struct, frozen=True):
    """A part without the number of its report: the same for every device that needs these blocks."""

    fields: bytes
    data: bytes
    data_crc32: int
    """CRC-32 of the data section."""
    checksum: int
    """CRC-32 of the data section and the start of the header."""
    layout: Layout
    """The content of *fields*."""


class SealedPart(bytes):
    """An update part, made in this process: what it says is known without taking it apart again.

    A copy of it, a piece of it, and what comes from a network are plain bytes, which are checked.
    """

    seq: int
    """The number of the report that it answers."""
    body: Body


class _Metadata(msgspec.Struct, frozen=True):
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
    delta: _Tensor | None = None


_decode_header = msgspec.json.Decoder(_PartHeader, strict=False).decode  # not strict: numbers are strings


def build_body(
    *, model: str, group: int, first: int, target: int, part: int, parts: int, tensors: dict[str, bytes]
) -> Body:
    """Return the body of a part.

    Args:
        model: model version.
        group: user group.
        first: index in the ranking of the first block.
        target: number of blocks of the whole PEE.
        part: number of this part, from 1.
        parts: number of parts.
        tensors: raw bytes by tensor name; names and types are listed at the head of this module.
    """
    described = [b""]
    spans: dict[str, tuple[int, int]] = {}
    end = 0
    present = [(name, tensors[name]) for name in TENSOR_TYPES if tensors.get(name)]
    for name, raw in present:
        begin, end = end, end + len(raw)
        spans[name] = begin, end
        kind = _TYPE_BYTES[TENSOR_TYPES[name]]
        described.append(
            f'"{name}":{{"dtype":"{TENSOR_TYPES[name]}","shape":[{len(raw) // kind}],'
            f'"data_offsets":[{begin},{end}]}}'.encode()
        )
    fields = (
        f'","model":"{model}","group":"{group}","first":"{first}","target":"{target}",'
        f'"part":"{part}","parts":"{parts}"}}'
    ).encode() + b",".join(described)
    data = b"".join([raw for _, raw in present])
    data_crc32 = zlib.crc32(data)
    layout = Layout(
        model=model,
        group=group,
        first=first,
        target=target,
        part=part,
        parts=parts,
        blocks=len(tensors.get("ids", b"")) // 2,
        introduces="user_vector" in spans or "layer_blocks" in spans,
        spans=spans,
    )
    return Body(fields, data, data_crc32, zlib.crc32(_ZEROED, data_crc32), layout)


def encode_part(body: Body, seq: int) -> bytes:
    """Return the safetensors file that answers report *seq* with *body*."""
    rest = b'","seq":"%d%b}' % (seq, body.fields)
    rest += _PADDING[(_FIXED + len(rest)) % 8]
    checksum = zlib.crc32(rest, body.checksum)
    return b"%b%b%08x%b%b" % (
        (_FIXED + len(rest)).to_bytes(8, "little"),
        _START,
        checksum,
        rest,
        body.data,
    )


def seal_part(body: Body, seq: int) -> SealedPart:
    """Return the bytes of `encode_part`, as the object that `decode_part` knows."""
    part = SealedPart(encode_part(body, seq))
    part.seq, part.body = seq, body
    return part


def encoded_bytes(fields_bytes: int, data_bytes: int, seq: int) -> int:
    """Return ``len(encode_part(body, seq))`` for a body with that many bytes of fields and data."""
    header = _FIXED + len(_SEQ) + len(str(seq)) + fields_bytes + 1
    return 8 + header + (-header % 8) + data_bytes


def decode_part(payload: bytes) -> Part:
    """Return the update part in *payload*, after a check of its checksum if it is not a `SealedPart`.

    Raises:
        RemoteProtocolError: it is too large, damaged, or not an update part.
    """
    if isinstance(payload, SealedPart):
        body = payload.body
        return Part(payload.seq, body.layout, body.data_crc32, payload, len(payload) - len(body.data))
    seq, fields, start = _split(payload)
    data_crc32 = zlib.crc32(memoryview(payload)[start:])
    checksum = zlib.crc32(payload[_CHECKED:start], zlib.crc32(_ZEROED, data_crc32))
    if payload[_CLAIMED:_CHECKED] != b"%08x" % checksum:
        raise RemoteProtocolError(Reason.CHECKSUM, f"counted {checksum:08x}")
    return Part(seq, _layout_of(fields, len(payload) - start), data_crc32, payload, start)


class HeaderPieces(msgspec.Struct, frozen=True):
    """The pieces of a part between which a signature stands."""

    numbered: bytes
    """The header up to the digits of the report's number, with zeros for those of the checksum."""
    signature: bytes
    """The signature's text; empty if there is none."""
    rest: bytes
    """The rest of the header, filled up as it came."""
    data: bytes
    data_crc32: int
    """CRC-32 of the data section."""


def take_apart(payload: bytes) -> HeaderPieces:
    """Return the pieces of a part; only its shape is checked.

    Raises:
        RemoteProtocolError: it is not an update part.
    """
    _, fields, start = _split(payload)
    end = payload.index(b'"', _NUMBER)
    signature = payload[end + len(SIGNATURE_FIELD) : start - len(fields)]
    numbered = _ZEROED + payload[_CHECKED:end]
    if isinstance(payload, SealedPart):
        return HeaderPieces(numbered, signature, fields, payload.body.data, payload.body.data_crc32)
    data = payload[start:]
    return HeaderPieces(numbered, signature, fields, data, zlib.crc32(data))


def put_together(pieces: HeaderPieces, rest: bytes) -> bytes:
    """Return the part of *pieces*, with another *rest* of its header, and with its checksum."""
    header = pieces.numbered + rest
    checksum = zlib.crc32(header, pieces.data_crc32)
    return b"%b%b%08x%b%b" % (
        len(header).to_bytes(8, "little"), _START, checksum, header[_FIXED:], pieces.data
    )  # fmt: skip


def peek(payload: bytes) -> tuple[int, Layout]:
    """Return the report number and the layout of a part, to route it, without a check of its checksum.

    Raises:
        RemoteProtocolError: it is not an update part.
    """
    if isinstance(payload, SealedPart):
        return payload.seq, payload.body.layout
    seq, fields, start = _split(payload)
    return seq, _layout_of(fields, len(payload) - start)


def _split(payload: bytes) -> tuple[int, bytes, int]:
    """Return the report number, the fields after it and after a signature, and the start of the data."""
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
    if payload.startswith(SIGNATURE_FIELD, end):  # who has no key of the cloud ignores it, whatever it is
        end = payload.find(b'"', end + len(SIGNATURE_FIELD), start)
    return int(digits), payload[end:start], start


def _layout_of(fields: bytes, data_bytes: int) -> Layout:
    """Return the layout in *fields*; long ones are not cached, to limit the memory that a peer can use."""
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
