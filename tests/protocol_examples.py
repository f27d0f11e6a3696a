"""The example payloads of docs/examples: ``python -m tests.protocol_examples`` writes them.

They are what the code writes for two small models: that of `tests.test_worked_example`, which was computed on
paper, for the story of one device; and for each codec a table of random numbers, with what it decodes to.
"""

import json
import math
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.blocks.encoding import encode_cells, encode_group
from cloud.blocks.group_table import GroupTable
from cloud.blocks.store import BlockStore, build_store
from cloud.service.error_answers import ErrorAnswers
from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import ItemTable
from tests.test_worked_example import ITEMS, USERS, a_store
from tests.worlds import a_lineage
from wire.codecs import Codec
from wire.errors import Reason
from wire.geometry import Geometry, ItemOrder, Score, Unheld
from wire.messages import (
    MAX_JSON_BYTES,
    PROTOCOL,
    BudgetReport,
    CloudStatus,
    QualityReport,
    RolloutNotice,
    RolloutState,
    Status,
    encode,
)
from wire.signatures import sign_json, sign_part
from wire.topics import LayerName, MessageKind, device_topic, fleet_topic, layer_topic
from wire.update_part import build_body, decode_part, encode_part

FOLDER = Path(__file__).parents[1] / "docs" / "examples"
SUFFIXES = (".json", ".safetensors", ".pem")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
"""The private key of the signed examples."""
STORE = a_store()
MAX_PAYLOAD = 1064
"""Bytes of a part: two blocks fit into one, so that answers come in parts."""
FIRST_SEQ = 1_767_225_600_000
"""Milliseconds from 1970 to 2026: what a device counts from that keeps nothing over restarts."""
FIRST, GROWTH, SHRINK = 42, 56, 20
"""The budgets of the story: bytes of three blocks, of all four, and a little more than of one."""

Files = dict[str, bytes]


def other_version() -> BlockStore:
    """Return another version of the model: the same numbers, ranked otherwise."""
    weights = np.array([[1.0, 2.0], [4.0, 3.0]])
    return build_store(
        STORE.geometry,
        groups=[encode_cells(STORE.geometry, np.array(ITEMS, dtype=np.float32), weights, layers=4)],
        user_vectors=np.array(USERS, dtype=np.float32),
        user_groups=np.array([0, 0]),
        report={},
    )


def examples() -> Files:
    """Return all example files by their names."""
    return {**story(), **signed(), **refused(), **delta(), **codecs()}


def story() -> Files:
    """Return what user 0's device and the cloud say to each other."""
    other = other_version()
    cloud = ModelVersions([Responder(STORE, MAX_PAYLOAD), Responder(other, MAX_PAYLOAD)])
    model, seq = STORE.version, count(FIRST_SEQ + 1)
    offer = RolloutNotice(
        rollout=FIRST_SEQ, order=1, state=RolloutState.RUNNING, version=other.version, previous=model,
        groups=4, started=1, began_ms=FIRST_SEQ + 2000, notice=cloud.notice(other.version),
    )  # fmt: skip
    found = {
        "model.json": encode(cloud.first.notice()),
        "status-online.json": encode(Status(online=True, reason="start")),
        "status-will.json": encode(Status(online=False, reason="connection lost")),
        "status-holds.json": encode(Status(online=True, reason="model", protocol=PROTOCOL, model=model)),
        "rollout-running.json": encode(offer),
        "rollout-complete.json": encode(
            msgspec.structs.replace(offer, state=RolloutState.COMPLETE, started=4)
        ),
        "cloud-online.json": encode(
            CloudStatus(
                online=True, reason="start", protocol=PROTOCOL, models=cloud.names, max_part=MAX_PAYLOAD
            )
        ),
        "cloud-will.json": encode(
            CloudStatus(online=False, reason="connection lost", protocol=PROTOCOL, models=cloud.names)
        ),
    }
    for name, reason, text, wait_s in (
        ("unknown_user", Reason.UNKNOWN_USER.value, f"user(={len(USERS)}) of {len(USERS)}", None),
        ("rate", "rate", "reports come too fast", 0.05),
    ):
        errors = ErrorAnswers()
        errors.add("phone-1", FIRST_SEQ + 8 if wait_s is None else 0, reason, text, 0.0, wait_s=wait_s)
        found[f"error-{name}.json"] = errors.pop()[2]
    reports = {
        "first": BudgetReport(seq=next(seq), budget_bytes=FIRST, user=0),
        "growth": BudgetReport(seq=next(seq), budget_bytes=GROWTH, user=0, model=model, held=3),
        "shrink": BudgetReport(seq=next(seq), budget_bytes=SHRINK, user=0, model=model, held=1),
        "wants": BudgetReport(
            seq=next(seq), budget_bytes=28, user=0, model=model, held=1, wants=other.version
        ),
        "group": BudgetReport(seq=next(seq), budget_bytes=28, group=0),
        "shared": BudgetReport(seq=next(seq), budget_bytes=28, user=0, shared=True),
        "capabilities": BudgetReport(
            seq=next(seq), budget_bytes=42, user=0, max_part=MAX_PAYLOAD, codecs=("fp32", "int8")
        ),
    }
    large_parts = Responder(STORE)
    for name, report in reports.items():
        found[f"report-{name}.json"] = encode(report)
        parts = (large_parts if name == "capabilities" else cloud).answer(encode(report))
        for number, part in enumerate(parts, 1):
            found[f"answer-{name}-{number}.safetensors"] = part
    for name in ("model", "report-first"):
        found[f"newer/{name}.json"] = found[f"{name}.json"][:-1] + b',"colour":{"of_the_sky":"blue"}}'
    for layer in (1, 2):
        found[f"layer-{layer}.safetensors"] = cloud.first.layer_part(0, layer)
    # Item 3, which user 0 is to find, comes fifth of those not met: `tests.test_worked_example`.
    found["quality.json"] = encode(
        QualityReport(
            model=model, layer=3, held=3, ndcg_at_10=1 / math.log2(6), recall_at_20=1.0, hit_rate_at_10=1.0
        )
    )
    return found


def signed() -> Files:
    """Return messages that are signed for device ``phone-1`` of fleet ``lab``, and wrong ones."""
    plain, parts = story(), Responder(STORE, MAX_PAYLOAD)
    pee, error = (device_topic(kind, "lab", "phone-1") for kind in (MessageKind.PEE, MessageKind.ERROR))
    model, layer = fleet_topic(MessageKind.MODEL, "lab"), LayerName(STORE.version, 0, 1)
    sign, other = KEY.sign, Ed25519PrivateKey.from_private_bytes(bytes(32)).sign
    answers = [plain[f"answer-first-{number}.safetensors"] for number in (1, 2, 3)]
    found = {
        "public-key.pem": KEY.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "model.json": sign_json(plain["model.json"], model, sign),
        "error.json": sign_json(plain["error-unknown_user.json"], error, sign),
        "layer-1.safetensors": sign_part(parts.layer_part(0, 1), layer_topic("lab", layer), sign),
        "refused/model-unsigned.json": plain["model.json"],
        "refused/model-other-key.json": sign_json(plain["model.json"], model, other),
        "refused/error-other-device.json": sign_json(
            plain["error-unknown_user.json"], device_topic(MessageKind.ERROR, "lab", "phone-2"), sign
        ),
        "refused/part-unsigned.safetensors": answers[0],
        "refused/part-other-key.safetensors": sign_part(answers[0], pee, other),
        "refused/part-other-device.safetensors": sign_part(
            answers[0], device_topic(MessageKind.PEE, "lab", "phone-2"), sign
        ),
    }
    for number, part in enumerate(answers, 1):
        found[f"answer-{number}.safetensors"] = sign_part(part, pee, sign)
    # Of an older report, with the number of this one; and with another target: their checksums are right.
    (old,) = Responder(STORE).answer(
        encode(BudgetReport(seq=FIRST_SEQ, budget_bytes=0, user=0, model=STORE.version))
    )
    old = sign_part(old, pee, sign).replace(b"%d" % FIRST_SEQ, b"%d" % (FIRST_SEQ + 1))
    found["refused/part-old-number.safetensors"] = with_checksum(old)
    changed = found["answer-2.safetensors"].replace(b'"target":"3"', b'"target":"2"')
    found["refused/part-changed.safetensors"] = with_checksum(changed)
    return {f"signed/{name}": content for name, content in found.items()}


def with_checksum(part: bytes) -> bytes:
    """Return *part* with the checksum that its bytes have."""
    start = 8 + int.from_bytes(part[:8], "little")
    header, data = part[8:start], part[start:]
    checksum = zlib.crc32(header[:26] + b"00000000" + header[34:], zlib.crc32(data))
    return part[:34] + b"%08x" % checksum + part[42:]


def refused() -> Files:
    """Return what is refused; a name begins with the reason that is counted."""
    model, seq = STORE.version, FIRST_SEQ + 7
    report = encode(BudgetReport(seq=seq, budget_bytes=FIRST, user=0))
    (growth,) = Responder(STORE, MAX_PAYLOAD).answer(
        encode(BudgetReport(seq=seq, budget_bytes=GROWTH, user=0, model=model, held=3))
    )
    flipped = growth[:-1] + bytes([growth[-1] ^ 1])
    reports = {
        "malformed-fraction": report.replace(b":%d," % FIRST, b":%d.5," % FIRST),
        "malformed-no-json": report[:-1],
        "malformed-seq": encode(BudgetReport(seq=0, budget_bytes=FIRST, user=0)),
        "too_large-spaces": report + b" " * (MAX_JSON_BYTES + 1 - len(report)),
        "unknown_user": encode(BudgetReport(seq=seq, budget_bytes=FIRST, user=len(USERS))),
        "unknown_group": encode(BudgetReport(seq=seq, budget_bytes=FIRST)),
        "unknown_codec-int8-only": encode(
            BudgetReport(seq=seq, budget_bytes=FIRST, user=0, codecs=("int8",))
        ),
        "part_too_small-1063": encode(
            BudgetReport(seq=seq, budget_bytes=FIRST, user=0, max_part=MAX_PAYLOAD - 1)
        ),
        "out_of_range-held": encode(
            BudgetReport(seq=seq, budget_bytes=FIRST, user=0, model=model, held=STORE.groups[0].count + 1)
        ),
    }
    parts = {
        "checksum-bit": flipped,
        "checksum-cut-off": growth[:-1],
        "malformed-header": growth[:100],
        "unknown_model-unasked": _one_part(seq, "other", 0, [0]),
        "out_of_range-gap": _one_part(seq, model, 2, [1]),
        "out_of_range-block": _one_part(seq, model, 1, [STORE.geometry.blocks]),
        "content-twice": _one_part(seq, model, 1, [0]),
    }
    return {f"refused/report-{name}.json": each for name, each in reports.items()} | {
        f"refused/part-{name}.safetensors": each for name, each in parts.items()
    }


def _one_part(seq: int, model: str, first: int, ids: list[int]) -> bytes:
    """Return an undamaged part that brings blocks of three zeros."""
    tensors = {"ids": np.array(ids, dtype="<u2").tobytes(), "data": bytes(12 * len(ids))}
    end = first + len(ids)
    return encode_part(
        build_body(model=model, group=0, first=first, target=end, part=1, parts=1, tensors=tensors), seq
    )


def delta() -> Files:
    """Return a version that a device holds, and the next one as a delta and whole."""
    old, new = a_lineage(items=12, layers=4, drift=0.02)
    cloud = ModelVersions([Responder(old), Responder(new)])
    first = BudgetReport(seq=FIRST_SEQ + 1, budget_bytes=2**20, user=0)
    change = BudgetReport(
        seq=FIRST_SEQ + 2, budget_bytes=2**20, user=0, model=old.version, held=old.groups[0].count,
        wants=new.version, deltas=True,
    )  # fmt: skip
    answers = {
        "held": cloud.respond(first),
        "answer": cloud.respond(change),
        "whole": cloud.respond(msgspec.structs.replace(change, deltas=msgspec.UNSET)),
    }
    parts = {
        f"delta/{name}-{number}.safetensors": part
        for name, answer in answers.items()
        for number, part in enumerate(answer, 1)
    }
    return {"delta/report.json": encode(change), **parts}


def codecs() -> Files:
    """Return for each codec all blocks of a small table, and what they decode to and how items score."""
    plain: list[tuple[Codec, str, dict[str, Any]]] = [(codec, codec.value, {}) for codec in Codec]
    return {
        f"codecs/{file}": content
        for codec, name, changes in plain + VARIANTS
        for file, content in _of_codec(codec, name, **changes)
    }


VARIANTS: list[tuple[Codec, str, dict[str, Any]]] = [  # Any: fields of a geometry
    (Codec.FP32, "fp32-tiled", {"score": Score.TILED}),
    (Codec.FP32, "fp32-zero", {"unheld": Unheld.ZERO}),
    (Codec.CODED, "coded-own", {"unheld": Unheld.ZERO, "order": ItemOrder.OWN, "item_group_ends": (5, 12)}),
]


def _of_codec(codec: Codec, name: str, **changes: Any) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(7)
    planes = 4 if codec.embedded else 1
    geometry = msgspec.structs.replace(
        Geometry(items=12, dim=3, item_groups=2, slice_width=2, codec=codec, planes=planes), **changes
    )
    table = (rng.laplace(size=(12, 3)) / 8).astype(np.float32)
    weights = rng.random((2, 2)).astype(np.float32)
    user = np.array([1.0, -0.5, 0.25], dtype=np.float32)
    wanted = rng.permutation(12) if geometry.order is ItemOrder.OWN else np.ones(12)
    group, stretch = encode_group(
        geometry, GroupTable(table, np.ones(3), wanted.astype(np.float32), weights), layers=4
    )
    tensors = {
        "layer_blocks": np.array(group.layers.blocks[1:], dtype="<u4").tobytes(),
        "layer_bytes": np.array(group.layers.bytes[1:], dtype="<u4").tobytes(),
        "user_vector": (user * stretch).astype("<f4").tobytes(),
    }
    store = build_store(
        geometry,
        groups=[group],
        user_vectors=np.frombuffer(tensors["user_vector"], dtype="<f4")[None, :],
        user_groups=np.array([0]),
        report={},
    )
    report = BudgetReport(seq=1, budget_bytes=2**20, user=0)
    introduction, blocks = Responder(store).answer(encode(report))
    yield f"{name}-1.safetensors", introduction
    yield f"{name}-2.safetensors", blocks
    yield f"{name}.json", _text(numbers(store, blocks))


def numbers(store: BlockStore, part: bytes) -> dict[str, Any]:  # Any: JSON
    """Return what each number of blocks of *part* decodes to, and the scores of all items then."""
    content = decode_part(part).content()
    shelf = BlockPrefix(store.geometry, store.groups[0].layers)
    shelf.append(content)
    found = ItemTable(shelf)
    steps = []
    for held in range(1, len(shelf.ids) + 1):
        found.hold(held)
        scores = found.scores(store.user_vectors)[0]
        steps.append(
            {
                "held": held,
                "items": [[_short(x) for x in row] for row in found.values.tolist()],
                "scores": [None if x == -math.inf else _short(x) for x in scores.tolist()],
            }
        )
    return {
        "geometry": msgspec.to_builtins(store.geometry),
        "user_vector": [_short(x) for x in store.user_vectors[0].tolist()],
        "steps": steps,
    }


def _short(value: float) -> float:
    """Return *value* in seven digits: what a float32 has."""
    return float(f"{value:.7g}")


def _text(value: dict[str, Any]) -> bytes:
    """Return JSON with a line for each step."""
    steps = ",\n".join(f"  {json.dumps(step)}" for step in value["steps"])
    head = json.dumps({key: each for key, each in value.items() if key != "steps"})
    return f'{head[:-1]},\n "steps": [\n{steps}\n ]}}\n'.encode()


def main() -> None:
    """Write all files, and take away those that are no longer among them."""
    wanted = {FOLDER / name: content for name, content in examples().items()}
    for path in FOLDER.rglob("*"):
        if path.suffix in SUFFIXES and path not in wanted:
            path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
