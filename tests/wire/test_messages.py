"""Encoded messages decode to themselves; garbage is refused with a reason and never crashes."""

import contextlib
import struct
import zlib
from pathlib import Path

import msgspec
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from wire.codecs import Codec
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry
from wire.messages import BudgetReport, ModelNotice, QualityReport, Status, decode, encode
from wire.update_part import (
    Body,
    _layout,
    build_body,
    decode_part,
    encode_part,
    encoded_bytes,
    peek,
    seal_part,
)

GEOMETRY = Geometry(items=6, dim=4, item_groups=2, slice_width=2, codec=Codec.INT8)

MESSAGES = [
    (
        BudgetReport(seq=3, budget_bytes=4096, user=7, model="ab12", held=5),
        b'{"seq":3,"budget_bytes":4096,"user":7,"group":null,"model":"ab12","held":5}',
    ),
    (
        QualityReport(model="ab12", layer=2, held=5, ndcg_at_10=0.5, recall_at_20=0.25, hit_rate_at_10=1.0),
        b'{"model":"ab12","layer":2,"held":5,"ndcg_at_10":0.5,"recall_at_20":0.25,"hit_rate_at_10":1.0}',
    ),
    (Status(online=False, reason="lost"), b'{"online":false,"reason":"lost"}'),
    (
        ModelNotice(version="ab12", geometry=GEOMETRY, user_groups=1, users=2, layers=4),
        b'{"version":"ab12","geometry":{"items":6,"dim":4,"item_groups":2,"slice_width":2,"codec":"int8","planes":1,"score":"aligned"},'
        b'"user_groups":1,"users":2,"layers":4}',
    ),
]


@pytest.mark.parametrize(("message", "payload"), MESSAGES)
def test_the_wire_form_is_this_json(message: BudgetReport, payload: bytes) -> None:
    assert encode(message) == payload
    assert decode(payload, type(message)) == message


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b'{"seq":0,"budget_bytes":1}', Reason.MALFORMED),
        (b'{"seq":1,"budget_bytes":-1}', Reason.MALFORMED),
        (b'{"seq":1,"budget_bytes":"1"}', Reason.MALFORMED),
        (b'{"seq":1,"budget_bytes":1,"model":"../../x"}', Reason.MALFORMED),
        (b"[" * 4000, Reason.MALFORMED),
        (b" " * 5000, Reason.TOO_LARGE),
    ],
)
def test_a_forbidden_report_is_refused_with_its_reason(payload: bytes, reason: Reason) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        decode(payload, BudgetReport)
    assert refused.value.reason is reason


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    blocks = draw(st.integers(0, 5))
    user = draw(st.booleans())
    raw = {
        "ids": draw(st.binary(min_size=2 * blocks, max_size=2 * blocks)),
        "scales": draw(st.binary(min_size=4 * blocks, max_size=4 * blocks)),
        "data": draw(st.binary(min_size=9 * blocks, max_size=9 * blocks)),
        "user_vector": b"\0\0\x80\x3f" * 3 if user else b"",
        "layer_blocks": struct.pack("<2I", 1, 4) if user else b"",
        "layer_bytes": struct.pack("<2I", 10, 40) if user else b"",
    }
    return build_body(
        model="ab12", group=3, first=draw(st.integers(0, 9)), target=9, part=1, parts=2, tensors=raw
    )


@given(bodies(), st.integers(1, 10**9))
def test_a_part_decodes_to_what_was_sealed_and_safetensors_opens_it(sent: Body, seq: int) -> None:
    payload = encode_part(sent, seq)
    part = decode_part(payload)
    assert (part.seq, part.layout.model, part.layout.group) == (seq, "ab12", 3)
    assert b"".join(part.tensor(name) for name in part.layout.spans) == sent.data
    assert peek(payload) == (seq, part.layout)
    assert encoded_bytes(len(sent.fields), len(sent.data), seq) == len(payload)
    opened = dict(safetensors.deserialize(payload))  # type: ignore[no-untyped-call]  # the library's own
    assert {name: bytes(tensor["data"]) for name, tensor in opened.items()} == {
        name: part.tensor(name) for name in opened
    }


@given(bodies(), st.integers(1, 10**9), st.data())
def test_a_sealed_part_says_what_its_bytes_say_and_a_damaged_one_is_checked(
    sent: Body, seq: int, data: st.DataObject
) -> None:
    sealed = seal_part(sent, seq)
    assert sealed == encode_part(sent, seq)
    assert decode_part(sealed) == decode_part(bytes(sealed))
    assert peek(sealed) == peek(bytes(sealed))
    at = data.draw(st.integers(0, len(sealed) - 1))
    with pytest.raises(RemoteProtocolError):
        decode_part(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])


def test_the_fields_are_metadata_that_any_client_can_read(tmp_path: Path) -> None:
    sent = build_body(
        model="ab12", group=3, first=0, target=1, part=1, parts=1, tensors={"ids": b"\1\0", "data": b"xy"}
    )
    file = tmp_path / "pee.safetensors"
    file.write_bytes(encode_part(sent, 7))
    with safetensors.safe_open(file, framework="numpy") as opened:
        fields = opened.metadata()
        assert opened.get_tensor("ids").tolist() == [1]
    del fields["crc32"]
    assert fields == {
        "seq": "7", "model": "ab12", "group": "3", "first": "0", "target": "1", "part": "1", "parts": "1",
    }  # fmt: skip


@given(bodies(), st.integers(1, 10**9))
def test_a_field_of_a_part_that_is_not_known_is_ignored_and_a_tensor_is_not(sent: Body, seq: int) -> None:
    newer = msgspec.structs.replace(
        sent, fields=sent.fields.replace(b'"parts":"2"}', b'"parts":"2","colour":"blue"}')
    )
    assert decode_part(encode_part(newer, seq)).layout == sent.layout
    tensor = b',"colours":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    with pytest.raises(RemoteProtocolError, match="colours"):
        decode_part(encode_part(msgspec.structs.replace(sent, fields=sent.fields + tensor), seq))


@given(bodies(), st.data())
def test_every_damaged_byte_is_noticed(sent: Body, data: st.DataObject) -> None:
    payload = bytearray(encode_part(sent, 12))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteProtocolError):
        decode_part(bytes(payload))


@given(bodies(), st.data())
def test_a_cut_part_is_noticed(sent: Body, data: st.DataObject) -> None:
    payload = encode_part(sent, 12)
    with pytest.raises(RemoteProtocolError):
        decode_part(payload[: data.draw(st.integers(0, len(payload) - 1))])


@given(st.binary(max_size=200))
def test_garbage_is_decoded_or_refused_never_a_crash(payload: bytes) -> None:
    for attempt in (decode_part, peek):
        with contextlib.suppress(RemoteProtocolError):
            attempt(payload)


@pytest.mark.parametrize("byte", [b"\xff", b"\x80", b"\xc3"])
def test_text_that_is_no_utf_8_is_refused_wherever_it_stands(byte: bytes) -> None:
    report = encode(BudgetReport(seq=3, budget_bytes=4096, user=7, model="ab12", held=5, wants="cd34"))
    sealed = encode_part(build_body(model="m", group=0, first=0, target=0, part=1, parts=1, tensors={}), 3)
    for payload, read in ((report, lambda given: decode(given, BudgetReport)), (sealed, peek)):
        for at in range(len(payload)):
            damaged = payload[:at] + byte + payload[at + 1 :]
            with contextlib.suppress(RemoteProtocolError):
                read(damaged)


@pytest.mark.parametrize(
    ("said", "more"),
    [
        (b'"items":6', b'"items":2147483648'),
        (b'"dim":4', b'"dim":65537'),
        (b'"user_groups":1', b'"user_groups":16777217'),
        (b'"users":2', b'"users":9007199254740993'),
        (b'"layers":4', b'"layers":65537'),
    ],
)
def test_a_notice_that_declares_more_than_the_page_allows_is_refused(said: bytes, more: bytes) -> None:
    notice, payload = MESSAGES[3]
    assert decode(payload, ModelNotice) == notice
    with pytest.raises(RemoteProtocolError) as refusal:
        decode(payload.replace(said, more), ModelNotice)
    assert refusal.value.reason == Reason.MALFORMED


def test_a_notice_with_the_codec_of_a_plugin_says_what_may_be_missing() -> None:
    _, payload = MESSAGES[3]
    with pytest.raises(RemoteProtocolError) as refusal:
        decode(payload.replace(b'"int8"', b'"bf16"'), ModelNotice)
    assert str(refusal.value) == (
        "malformed: ModelNotice: Invalid enum value 'bf16' - at `$.geometry.codec`; is it the codec of a "
        "plug-in that is not installed here?"
    )


def test_headers_that_are_long_are_not_remembered() -> None:
    """A peer that pads its headers fills no memory with them."""
    part = encode_part(build_body(model="m", group=0, first=0, target=0, part=1, parts=1, tensors={}), 1)
    length = int.from_bytes(part[:8], "little")
    head = part[8 : 8 + length] + b" " * 2048
    checksum = zlib.crc32(head[:26] + b"00000000" + head[34:], zlib.crc32(b""))
    padded = (length + 2048).to_bytes(8, "little") + head[:26] + b"%08x" % checksum + head[34:]
    before = _layout.cache_info().currsize
    assert decode_part(padded).layout == decode_part(part).layout
    assert _layout.cache_info().currsize <= before + 1


@given(st.integers(1, 2**53), st.sampled_from(["{}", "{}.0", "{}.000", "{}e0", "{}0e-1", "{}.0E+0"]))
def test_a_whole_number_is_one_however_a_library_writes_it(seq: int, form: str) -> None:
    text = form.format(seq)
    report = decode(f'{{"seq":{text},"budget_bytes":1e3,"user":2}}'.encode(), BudgetReport)
    assert (report.seq, report.budget_bytes, report.user) == (seq, 1000, 2)
    assert all(type(each) is int for each in (report.seq, report.budget_bytes, report.user))


@pytest.mark.parametrize("number", ["1.5", "1e-3", "1e400", "9007199254740994.0", '"1000"', "true", "-1.0"])
def test_what_is_no_whole_number_in_its_range_is_refused(number: str) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode(f'{{"seq":1,"budget_bytes":{number},"user":2}}'.encode(), BudgetReport)
