"""The JavaScript client against the example files, our decoder, our agent and our scheduler."""

import json
from base64 import b64encode
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder, notice_of
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.protocol.report_policy import ReportPolicy
from devices.protocol.report_scheduler import NEVER, ReportScheduler
from devices.recommender.item_catalogue import encode_catalogue
from devices.recommender.scoring import ItemTable
from devices.standalone.pee_holder import PeeHolder
from devices.standalone.settings import DeviceSettings
from tests.clients.node_client import NodeClient, node_client
from tests.protocol_examples import FIRST, FIRST_SEQ, FOLDER, GROWTH, SHRINK, STORE, other_version
from tests.rollouts import a_rollout
from tests.worlds import a_store
from wire.blocks import block_offsets
from wire.codecs import Codec
from wire.errors import RemoteProtocolError
from wire.geometry import Geometry
from wire.messages import ErrorAnswer, RolloutState, encode
from wire.rollout import group_of
from wire.signatures import check_json, check_part
from wire.signing_keys import read_public_keys
from wire.update_part import decode_part

OTHER = other_version()
MS = 1_000_000
NEVER_MS = NEVER // MS
NAMES = st.text("aZ09._-", min_size=1, max_size=64)


@pytest.fixture(scope="module")
def js() -> Iterator[NodeClient]:
    with node_client() as client:
        yield client


def example(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def a_js_device(js: NodeClient, seq: int = FIRST_SEQ, **options: object) -> None:
    """Make user 0's device, which has read both model notices."""
    js.call("device", seq=seq, **({"user": 0} | options))
    js.call("notice", payload=encode(Responder(OTHER).notice()))
    js.call("notice", payload=example("model.json"))


def takes(js: NodeClient, name: str) -> tuple[list[str], list[int], int]:
    """Let the device take in the answer *name*; return receipts, ids of the blocks held, and their bytes."""
    found = [
        js.call("receive", payload=path.read_bytes())
        for path in sorted(FOLDER.glob(f"answer-{name}-*.safetensors"))
    ]
    return [each["receipt"] for each in found], found[-1]["ids"], found[-1]["residentBytes"]


def test_a_device_in_javascript_that_is_fed_the_examples_lives_as_the_page_says(js: NodeClient) -> None:
    a_js_device(js)
    js.call("budget", bytes=FIRST)
    assert js.call("report") == json.loads(example("report-first.json"))
    assert takes(js, "first") == (["progress", "progress", "applied"], [0, 3, 1], 42)
    assert js.call("recommend", count=6) == [0, 1, 4, 2, 5, 3]

    js.call("budget", bytes=GROWTH)
    assert js.call("report") == json.loads(example("report-growth.json"))
    assert takes(js, "growth") == (["applied"], [0, 3, 1, 2], 56)

    assert js.call("budget", bytes=SHRINK)["residentBytes"] == 14  # at once
    assert js.call("report") == json.loads(example("report-shrink.json"))
    assert takes(js, "shrink") == (["confirmed"], [0], 14)

    js.call("budget", bytes=28)
    js.call("wants", model=OTHER.version)
    assert js.call("report") == json.loads(example("report-wants.json"))
    assert takes(js, "wants") == (["progress", "applied"], [2, 1], 28)


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("refused/part-*.safetensors")), ids=lambda path: path.stem
)
def test_a_part_is_refused_for_the_reason_in_its_name(js: NodeClient, path: Path) -> None:
    a_js_device(js, FIRST_SEQ)
    js.call("budget", bytes=SHRINK)
    report = js.call("report")
    for part in ModelVersions([Responder(STORE)]).answer(json.dumps(report).encode()):
        js.call("receive", payload=bytes(part))
    js.call("device_seq", seq=FIRST_SEQ + 6)
    js.call("budget", bytes=GROWTH)
    assert js.call("report")["seq"] == FIRST_SEQ + 7
    found = js.call("receive", payload=path.read_bytes())
    assert (found["receipt"], found["reason"]) == ("rejected", path.stem.split("-")[1])
    assert (found["model"], found["held"], found["residentBytes"]) == (STORE.version, 1, 14)


@given(
    rows=st.integers(1, 60), columns=st.integers(1, 4), cuts=st.sets(st.integers(1, 12), min_size=1),
    coded=st.booleans(), size=st.floats(0.001, 0.9), seed=st.integers(0, 99),
)  # fmt: skip
def test_planes_decode_to_the_numbers_of_our_decoder(
    js: NodeClient, rows: int, columns: int, cuts: set[int], coded: bool, size: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = np.clip(rng.laplace(scale=size / 4, size=(rows, columns)), -0.999, 0.999).astype(np.float32)
    codec = Codec.CODED if coded else Codec.PLANES
    js.call("cell", rows=rows, columns=columns)
    known = np.zeros_like(values)
    for before, planes in zip([0, *sorted(cuts)], sorted(cuts), strict=False):
        data = codec.coder.encode(values, before, planes)[1]
        known = codec.coder.decode(data, 1.0, known, before, planes)
        found = js.call("planes", data=data, planes=planes, coded=coded)
        assert np.array(found, dtype=np.float32).reshape(values.shape).tolist() == known.tolist()


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("codecs/*.json")))
def test_each_codec_decodes_and_scores_as_the_example_says(js: NodeClient, name: str) -> None:
    wanted = json.loads(example(f"codecs/{name}.json"))
    blocks = decode_part(example(f"codecs/{name}-2.safetensors")).content()
    geometry = msgspec.convert(wanted["geometry"], type=Geometry)
    starts = block_offsets(blocks.checked_sizes(geometry))
    ids = blocks.block_ids()
    scales = np.frombuffer(blocks.scales, "<f4").tolist() or [1.0] * len(ids)
    sent = [
        {"id": block, "scale": scale, "data": b64encode(blocks.data[begin:end]).decode()}
        for block, scale, (begin, end) in zip(ids, scales, pairwise(starts), strict=True)
    ]
    found = js.call("table", geometry=wanted["geometry"], blocks=sent, user=wanted["user_vector"])
    for step, shown in zip(found, wanted["steps"], strict=True):
        assert np.allclose(step["values"], np.ravel(shown["items"]), atol=1e-6)
        scores = [np.nan if score is None else score for score in step["scores"]]
        assert np.allclose(scores, [np.nan if s is None else s for s in shown["scores"]], 1e-5, 1e-6, True)


STORES = [
    a_store(codec=codec, items=40, seed=seed) for seed, codec in enumerate((Codec.CODED, Codec.INT8), 1)
]
Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["budget", "budget", "answer", "answer", "repeat", "damage", "lose", "model"]),
        st.integers(0, 2000),
    ),
    max_size=40,
)


@given(steps=STEPS, user=st.integers(0, 5))
def test_any_life_of_a_device_is_the_same_in_both_languages(
    js: NodeClient, steps: list[Step], user: int
) -> None:
    """Budgets, lost, damaged, repeated and old parts, and a change of model: same reports, same blocks."""
    cloud = ModelVersions([Responder(store, 1600) for store in STORES])
    cache = BlockCache()
    agent = Agent(user, cache)
    js.call("device", user=user, seq=0)
    for store in STORES:
        cache.announce(notice_of(store))
        js.call("notice", payload=encode(notice_of(store)))
    parts: list[bytes] = []
    last = b""
    for step, number in steps:
        if step == "budget":
            agent.set_budget(number)
            js.call("budget", bytes=number)
            report = agent.report()
            parts = [bytes(part) for part in cloud.answer(report)]
            assert js.call("report") == json.loads(report)
        elif step == "model":
            agent.offered = STORES[number % 2].version
            js.call("wants", model=agent.offered)
        elif step == "lose":
            parts = parts[1:]
        elif parts or step == "repeat":
            last = last if step == "repeat" else parts.pop(0)
            if step == "damage":
                at = number % min(len(last), 80 if number % 2 else len(last))  # often in the header's start
                last = last[:at] + bytes([last[at] ^ 4]) + last[at + 1 :]
            receipt, found = agent.receive(last), js.call("receive", payload=last)
            assert found["receipt"] == receipt
            assert receipt is not Receipt.REJECTED or found["reason"] == agent.rejected
            ids = agent.prefix.ids[: agent.held] if agent.prefix else []
            assert (found["model"], found["layer"], found["residentBytes"], found["ids"]) == (
                agent.model, agent.layer, agent.resident_bytes, ids,
            )  # fmt: skip
    if agent.prefix is not None and agent.layer:
        table = ItemTable(agent.prefix)
        table.hold(agent.prefix.layers.blocks[agent.layer])
        vector = np.frombuffer(agent.user_vector, "<f4")[None]
        scores = table.scores(vector).astype(np.float32)[0]
        order = [item for item in np.argsort(-scores, kind="stable").tolist() if scores[item] > -np.inf]
        assert js.call("recommend", count=10) == order[:10]


class TwoSchedulers:
    """A scheduler of ours and one in JavaScript that learn the same; their reports must be the same."""

    def __init__(self, js: NodeClient) -> None:
        self.js, self.now_ms, self.js_next_ms = js, 0, NEVER_MS
        cache = BlockCache()
        for store in STORES:
            cache.announce(notice_of(store))
        self.agent = Agent(0, cache)
        self.ours = ReportScheduler(
            self.agent, ReportPolicy(), lambda: 0.5, retry_ns=30_000 * MS, model_settle_ns=100 * MS,
            model_known=False, silence_jitter=0.5,
        )  # fmt: skip
        js.call("device", user=0, seq=0)
        self.parts: list[bytes] = []
        self.cloud = ModelVersions([Responder(store, 1600) for store in STORES])

    def tell(self, event: str, argument: object = None) -> None:
        """Tell both of an event, and let both report."""
        found = self.js.call("at", event=event, nowMs=self.now_ms, argument=argument)
        self.js_next_ms = NEVER_MS if found["nextMs"] is None else found["nextMs"]
        cause = self.ours.poll(self.now_ms * MS) if self.ours.next_deadline_ns <= self.now_ms * MS else None
        report = None if cause is None else self.agent.report()
        assert found["report"] == (None if report is None else json.loads(report)), (self.now_ms, event)
        if report is not None:
            self.parts = [bytes(part) for part in self.cloud.answer(report)]

    def sleep(self, wait_ms: int) -> None:
        """Let time pass, with all that falls due in it."""
        end_ms = self.now_ms + wait_ms
        while (next_ms := min(self.js_next_ms, -(-self.ours.next_deadline_ns // MS))) <= end_ms:
            self.now_ms = max(next_ms, self.now_ms)
            self.tell("time")
        self.now_ms = end_ms

    def do(self, event: str, number: int) -> None:
        now_ns = self.now_ms * MS
        if event == "budget" and number != self.agent.budget_bytes:
            self.ours.on_budget(number, now_ns)
            self.tell("budget", number)
        elif event == "notice":
            notice = notice_of(STORES[number % 2])
            self.agent.offered = ""
            self.cloud = ModelVersions([Responder(STORES[number % 2], 1600)])
            self.ours.model = notice.version
            self.ours.on_model(now_ns)
            self.tell("notice", b64encode(encode(notice)).decode())
        elif event == "connect":
            self.ours.on_disconnected()
            self.tell("disconnected")
            self.ours.on_connected(now_ns)
            self.tell("connected")
        elif event == "error":
            error = ErrorAnswer(
                seq=self.agent.seq if number % 3 else number % 2,
                reason="unknown_user",
                text="a text",
                remedy=("wait", "retry", "restart", "change", "a later word")[number % 5],
                retry_after_s=number % 7,
            )
            self.ours.on_error(error, now_ns)
            self.tell("error", b64encode(encode(error)).decode())
        elif event in ("part", "damage") and self.parts:
            part = self.parts.pop(0)
            if event == "damage":
                part = part[:-1] + bytes([part[-1] ^ 1])
            self.ours.on_receipt(self.agent.receive(part), now_ns)
            self.tell("part", b64encode(part).decode())


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["budget", "part", "part", "damage", "connect", "notice", "error"]),
            st.integers(0, 2000), st.sampled_from([1, 150, 1_000, 31_000, 400_000]),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_a_device_reports_when_ours_does(js: NodeClient, steps: list[tuple[str, int, int]]) -> None:
    both = TwoSchedulers(js)
    for event, number in (("budget", 700), ("notice", 0), ("connect", 0)):
        both.do(event, number)
    both.sleep(200)
    for event, number, wait_ms in steps:
        both.do(event, number)
        both.sleep(wait_ms)


def test_a_device_whose_answers_are_all_damaged_waits_longer_and_longer(js: NodeClient) -> None:
    both = TwoSchedulers(js)
    for event, number in (("budget", 700), ("notice", 0), ("connect", 0)):
        both.do(event, number)
    both.sleep(200)
    for _ in range(12):
        both.do("damage", 0)
        both.sleep(20_000)
    assert both.agent.seq == 13


def test_a_device_names_what_it_recommends_by_the_catalogue_of_its_own_version(js: NodeClient) -> None:
    a_js_device(js, FIRST_SEQ)
    js.call("budget", bytes=FIRST)
    js.call("report")
    takes(js, "first")
    ids, titles = [f"item-{item}" for item in range(6)], ["One", "Two", "Three", "", "Five", ""]
    ours = encode_catalogue(STORE.version, ids, titles).decode()
    named = js.call("named", text=ours, count=3)
    ranked = js.call("recommend", count=3)
    assert [(each["item"], each["id"], each.get("title", "")) for each in named] == [
        (item, ids[item], titles[item]) for item in ranked
    ]
    other = encode_catalogue(OTHER.version, ids, titles).decode()
    assert [set(each) for each in js.call("named", text=other, count=3)] == [{"item", "score"}] * 3


TOPICS = {
    "model": "peel/1/lab/model",
    "error": "peel/1/lab/phone-1/error",
    "layer": f"peel/1/lab/blocks/{STORE.version}/0/1",
}
PEE = "peel/1/lab/phone-1/pee"
SIGNED = sorted(path for path in FOLDER.glob("signed/**/*") if path.suffix in (".json", ".safetensors"))


def is_signed(js: NodeClient, payload: bytes, topic: str) -> bool:
    """Return the verdict of both languages on a signature; they must agree."""
    is_json = topic.endswith(("/model", "/error"))
    verify = read_public_keys(FOLDER / "signed" / "public-key.pem")
    try:
        (check_json if is_json else check_part)(payload, topic, verify)
        ours = True
    except RemoteProtocolError:
        ours = False
    theirs = js.call("signed_json" if is_json else "signed_part", payload=payload, topic=topic)
    assert theirs is ours, payload
    return bool(ours)


@pytest.fixture(scope="module")
def keyed(js: NodeClient) -> NodeClient:
    js.call("keys", pem=(FOLDER / "signed" / "public-key.pem").read_text())
    return js


@pytest.mark.parametrize("path", SIGNED, ids=lambda path: path.stem)
def test_a_signature_is_known_in_javascript_as_it_is_here(keyed: NodeClient, path: Path) -> None:
    topic = TOPICS.get(path.stem.split("-")[0], PEE)
    assert is_signed(keyed, path.read_bytes(), topic) is (path.parent.name == "signed")
    assert not is_signed(keyed, path.read_bytes(), topic.replace("lab", "home"))


@given(st.sampled_from(SIGNED), st.integers(0, 9999), st.integers(1, 255), st.booleans())
def test_a_changed_byte_is_found_in_javascript_as_it_is_here(
    keyed: NodeClient, path: Path, at: int, mask: int, cut: bool
) -> None:
    payload = path.read_bytes()
    at %= len(payload)
    changed = payload[:at] + (b"" if cut else bytes([payload[at] ^ mask]) + payload[at + 1 :])
    is_signed(keyed, changed, TOPICS.get(path.stem.split("-")[0], PEE))


def test_a_device_with_keys_takes_in_signed_parts_only_and_reports_for_no_other(js: NodeClient) -> None:
    a_js_device(js, hasKeys=True)
    js.call("budget", bytes=FIRST)
    js.call("report")
    parts = [path.read_bytes() for path in sorted(FOLDER.glob("signed/answer-*"))]
    refused = js.call("receive", payload=parts[0], isSigned=False)
    assert (refused["receipt"], refused["reason"], refused["model"]) == ("rejected", "signature", "")
    receipts = [js.call("receive", payload=part, isSigned=True)["receipt"] for part in parts]
    assert receipts == ["progress", "progress", "applied"]

    a_js_device(js, hasKeys=True)
    js.call("at", event="budget", nowMs=0, argument=FIRST)
    assert js.call("at", event="connected", nowMs=200)["report"]["seq"] == FIRST_SEQ + 1
    forged = js.call("at", event="part", nowMs=300, argument=parts[0], isSigned=False)
    assert (forged["report"], forged["nextMs"]) == (None, 30_200)  # R13, not R16
    error = ErrorAnswer(seq=0, reason="queue_full", text="", remedy="restart", retry_after_s=1.0)
    assert js.call("at", event="error", nowMs=400, argument=encode(error))["nextMs"] == 30_200


@settings(max_examples=30)
@given(NAMES, st.lists(NAMES, max_size=5), st.integers(1, 1000))
def test_a_device_is_in_the_same_group_in_both_languages(
    js: NodeClient, version: str, names: list[str], groups: int
) -> None:
    found = js.call("groups", version=version, names=names, groups=groups)
    assert found == [group_of(version, name, groups) for name in names]


@settings(max_examples=30)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["notice", "rollout", "rollout", "part", "part", "connect"]),
            st.integers(1, 3), st.sampled_from(RolloutState), st.integers(0, 2),
            st.sampled_from([1, 150, 31_000]),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_a_device_follows_rollouts_as_ours_does(
    js: NodeClient, steps: list[tuple[str, int, RolloutState, int, int]]
) -> None:
    cache, (older, newer) = BlockCache(), map(notice_of, STORES)
    ours = PeeHolder(DeviceSettings("f", "phone-1", 0, None), cache, Agent(0, cache), None, lambda: 0.5)
    cloud, parts, now_ms = ModelVersions([Responder(store, 1600) for store in STORES]), list[bytes](), 0
    ours.set_budget(700, 0)
    js.call("device", user=0, seq=0, name="phone-1")

    def tell(event: str, payload: bytes | int | None = None) -> None:
        argument = b64encode(payload).decode() if isinstance(payload, bytes) else payload
        found = js.call("at", event=event, nowMs=now_ms, argument=argument)["report"]
        due = ours.next_report(now_ms * MS)
        assert found == (None if due is None else json.loads(due[1])), (now_ms, event)
        if due is not None:
            parts[:] = cloud.answer(due[1])

    tell("budget", 700)
    for event, order, state, started, wait_ms in [("connect", 1, RolloutState.RUNNING, 0, 1), *steps]:
        if event == "notice":
            notice = (older, newer)[order % 2]
            ours.on_notice(notice, now_ms * MS)
            tell("notice", encode(notice))
        elif event == "rollout":
            rollout = a_rollout(
                version=newer.version, notice=newer if started else None, order=order, state=state, groups=2,
                started=started,
            )  # fmt: skip
            ours.on_rollout(rollout, now_ms * MS)
            tell("rollout", encode(rollout))
        elif event == "part" and parts:
            part = parts.pop(0)
            ours.on_part(part, now_ms * MS)
            tell("part", part)
        elif event == "connect":
            ours.on_disconnected()
            tell("disconnected")
            ours.on_connected(now_ms * MS)
            tell("connected")
        now_ms += wait_ms
        tell("time")
