"""The payloads in docs/examples: fresh, readable for others, and a story as docs/protocol.md tells it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.recommender.scoring import ItemTable
from tests.protocol_examples import (
    FIRST,
    FIRST_SEQ,
    FOLDER,
    GROWTH,
    SHRINK,
    STORE,
    SUFFIXES,
    examples,
    other_version,
)
from tests.test_worked_example import USERS
from tests.worlds import a_lineage
from wire.codecs import Codec
from wire.errors import Reason, RemoteProtocolError
from wire.messages import (
    BudgetReport,
    CloudStatus,
    ErrorAnswer,
    ModelNotice,
    QualityReport,
    RolloutNotice,
    Status,
    decode,
)
from wire.signatures import check_json, check_part
from wire.signing_keys import read_public_keys
from wire.update_part import decode_part

OTHER = other_version()
CLOUD = ModelVersions([Responder(STORE), Responder(OTHER)])
STEMS = {
    "report": BudgetReport,
    "status": Status,
    "quality": QualityReport,
    "model": ModelNotice,
    "cloud": CloudStatus,
    "error": ErrorAnswer,
    "rollout": RolloutNotice,
}


def read(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def answer(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(FOLDER.glob(f"answer-{name}-*.safetensors"))]


def a_device(seq: int = FIRST_SEQ, *, group: int | None = None, shared: bool = False) -> Agent:
    """Return user 0's device, which has read both model notices."""
    shelves = BlockCache()
    shelves.announce(decode(read("model.json"), ModelNotice))
    shelves.announce(Responder(OTHER).notice())
    return Agent(0, shelves, seq=seq, group=group, shared=shared)


def takes(agent: Agent, parts: list[bytes]) -> tuple[list[Receipt], list[int], int]:
    """Let *agent* take in *parts*; return what came of them, the ids of the blocks held, and their bytes."""
    receipts = [agent.receive(part) for part in parts]
    assert agent.prefix is not None
    return receipts, agent.prefix.ids[: agent.held], agent.resident_bytes


def test_the_files_are_what_the_code_writes_today() -> None:
    found = {
        str(path.relative_to(FOLDER)): path.read_bytes()
        for path in FOLDER.rglob("*")
        if path.suffix in SUFFIXES
    }
    wanted = examples()
    assert sorted(found) == sorted(wanted), "run `make docs`"
    assert [name for name in wanted if found[name] != wanted[name]] == [], "run `make docs`"


def test_each_message_decodes_and_each_part_opens_as_a_safetensors_file() -> None:
    for path in FOLDER.glob("*.json"):
        kind: type[BudgetReport] = STEMS[path.stem.split("-")[0]]  # type: ignore[assignment]  # one of seven
        decode(path.read_bytes(), kind)
    for path in [*FOLDER.glob("*.safetensors"), *FOLDER.glob("codecs/*.safetensors")]:
        part = decode_part(path.read_bytes())
        with safetensors.safe_open(path, "numpy") as file:
            fields = file.metadata()
            assert (int(fields["seq"]), fields["model"]) == (part.seq, part.layout.model)
            assert {name: file.get_tensor(name).tobytes() for name in file.keys()} == {  # noqa: SIM118
                name: part.tensor(name) for name in part.layout.spans
            }


@pytest.mark.parametrize(("name", "kind"), [("model", ModelNotice), ("report-first", BudgetReport)])
def test_a_field_that_is_not_known_here_is_ignored(name: str, kind: type[BudgetReport]) -> None:
    assert decode(read(f"newer/{name}.json"), kind) == decode(read(f"{name}.json"), kind)


def test_a_device_that_is_fed_the_examples_lives_as_the_page_says() -> None:
    agent, progress = a_device(), Receipt.PROGRESS
    agent.set_budget(FIRST)
    assert agent.report() == read("report-first.json")
    assert takes(agent, answer("first")) == ([progress, progress, Receipt.APPLIED], [0, 3, 1], 42)
    assert np.frombuffer(agent.user_vector, "<f4").tolist() == USERS[0]

    agent.set_budget(GROWTH)
    assert agent.report() == read("report-growth.json")
    assert takes(agent, answer("growth")) == ([Receipt.APPLIED], [0, 3, 1, 2], 56)

    agent.set_budget(SHRINK)
    assert (agent.held, agent.resident_bytes) == (1, 14)  # at once
    assert agent.report() == read("report-shrink.json")
    assert takes(agent, answer("shrink")) == ([Receipt.CONFIRMED], [0], 14)

    agent.set_budget(28)
    agent.offered = OTHER.version
    assert agent.report() == read("report-wants.json")
    assert takes(agent, answer("wants")) == ([progress, Receipt.APPLIED], [2, 1], 28)
    assert agent.model == OTHER.version


def test_the_example_of_a_delta_leads_to_the_blocks_of_the_whole_answer() -> None:
    old, new = a_lineage(items=12, layers=4, drift=0.02)
    held = []
    for deltas, name in ((True, "answer"), (False, "whole")):
        shelves = BlockCache()
        for store in (old, new):
            shelves.announce(Responder(store).notice())
        agent = Agent(0, shelves, seq=FIRST_SEQ, deltas=deltas)
        agent.set_budget(2**20)
        agent.report()
        takes(agent, [path.read_bytes() for path in sorted(FOLDER.glob("delta/held-*"))])
        agent.offered = new.version
        report = agent.report()
        assert (report == read("delta/report.json")) is deltas
        takes(agent, [path.read_bytes() for path in sorted(FOLDER.glob(f"delta/{name}-*"))])
        assert agent.prefix is not None
        held.append((agent.model, agent.prefix.part(0, agent.held), agent.prefix.layers, agent.user_vector))
    assert held[0] == held[1]
    assert held[0][0] == new.version


def test_a_device_that_names_its_group_only_gets_no_vector() -> None:
    agent = a_device(FIRST_SEQ + 4, group=0)
    agent.set_budget(28)
    assert decode(agent.report(), BudgetReport) == decode(read("report-group.json"), BudgetReport)
    assert takes(agent, answer("group")) == ([Receipt.PROGRESS, Receipt.APPLIED], [0, 3], 28)
    assert agent.user_vector == b""


def test_a_device_takes_its_blocks_from_the_retained_layers() -> None:
    agent = a_device(FIRST_SEQ + 5, shared=True)
    agent.set_budget(28)
    assert agent.report() == read("report-shared.json")
    assert takes(agent, answer("shared")) == ([Receipt.CONFIRMED], [], 0)
    assert [layer.layer for layer in agent.missing()] == [1, 2]
    layers = [read("layer-1.safetensors"), read("layer-2.safetensors")]
    assert takes(agent, layers) == ([Receipt.PROGRESS, Receipt.APPLIED], [0, 3], 28)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("refused/report-*.json")), ids=lambda path: path.stem)
def test_the_cloud_refuses_a_report_for_the_reason_in_its_name(path: Path) -> None:
    with pytest.raises(RemoteProtocolError) as refusal:
        CLOUD.answer(path.read_bytes())
    assert refusal.value.reason == path.stem.split("-")[1]


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("refused/part-*.safetensors")), ids=lambda path: path.stem
)
def test_a_device_refuses_a_part_for_the_reason_in_its_name_and_holds_what_it_held(path: Path) -> None:
    agent = a_device(FIRST_SEQ)
    agent.set_budget(SHRINK)
    agent.report()
    for part in CLOUD.answer(read("report-first.json").replace(b":42", b":20")):
        agent.receive(part)
    agent.seq = FIRST_SEQ + 6
    agent.set_budget(GROWTH)
    assert decode(agent.report(), BudgetReport).seq == FIRST_SEQ + 7
    assert (agent.receive(path.read_bytes()), agent.rejected) == (
        Receipt.REJECTED,
        Reason(path.stem.split("-")[1]),
    )
    assert (agent.model, agent.held, agent.resident_bytes) == (STORE.version, 1, 14)


SIGNED_TOPICS = {
    "model": "peel/1/lab/model",
    "error": "peel/1/lab/phone-1/error",
    "answer": "peel/1/lab/phone-1/pee",
    "part": "peel/1/lab/phone-1/pee",
    "layer": f"peel/1/lab/blocks/{STORE.version}/0/1",
}


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(FOLDER.glob("signed/**/*")) if path.suffix in (".json", ".safetensors")],
    ids=lambda path: path.stem,
)
def test_a_signed_message_is_known_by_the_public_key_and_a_wrong_one_is_not(path: Path) -> None:
    verify, topic = (
        read_public_keys(FOLDER / "signed" / "public-key.pem"),
        SIGNED_TOPICS[path.stem.split("-")[0]],
    )
    check = check_json if path.suffix == ".json" else check_part
    if path.parent.name == "signed":
        check(path.read_bytes(), topic, verify)
    else:
        with pytest.raises(RemoteProtocolError) as refusal:
            check(path.read_bytes(), topic, verify)
        assert refusal.value.reason is Reason.SIGNATURE


def test_a_device_with_the_key_lives_on_the_signed_answer_alone() -> None:
    agent, topic = a_device(), SIGNED_TOPICS["answer"]
    agent.verify = read_public_keys(FOLDER / "signed" / "public-key.pem")
    agent.set_budget(FIRST)
    agent.report()
    wrong = sorted(FOLDER.glob("signed/refused/part-*"))
    found = [(agent.receive(path.read_bytes(), topic), agent.rejected) for path in wrong]
    assert found == [(Receipt.REJECTED, Reason.SIGNATURE)] * 5
    right = sorted(FOLDER.glob("signed/answer-*"))
    assert [agent.receive(path.read_bytes(), topic) for path in right][-1] is Receipt.APPLIED
    assert agent.resident_bytes == FIRST


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """docs/examples/rank.py, as a module."""
    spec = importlib.util.spec_from_file_location("rank", FOLDER / "rank.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(
    rows=st.integers(1, 60), columns=st.integers(1, 4), cuts=st.sets(st.integers(1, 8), min_size=1),
    coded=st.booleans(), size=st.floats(0.001, 0.9), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_program_reads_planes_as_the_code_does(
    program: ModuleType, rows: int, columns: int, cuts: set[int], coded: bool, size: float, seed: int
) -> None:
    """In words: what the page says of the range coder and its chances is what `wire.codecs` writes."""
    rng = np.random.default_rng(seed)
    values = np.clip(rng.laplace(scale=size / 4, size=(rows, columns)), -0.999, 0.999).astype(np.float32)
    codec = Codec.CODED if coded else Codec.PLANES
    cell = {
        "rows": rows, "columns": columns, "planes": 0,
        "q": [0] * rows * columns, "negative": [False] * rows * columns,
    }  # fmt: skip
    known = np.zeros_like(values)
    for before, planes in zip([0, *sorted(cuts)], sorted(cuts), strict=False):
        data = codec.coder.encode(values, before, planes)[1]
        known = codec.coder.decode(data, 1.0, known, before, planes)
        found = program.decoded(cell, data, 1.0, planes - 1, codec.value)
        assert np.array(found, dtype=np.float32).reshape(values.shape).tolist() == known.tolist()


def test_the_first_pee_scores_items_as_the_page_says() -> None:
    agent = a_device()
    agent.set_budget(FIRST)
    agent.report()
    takes(agent, answer("first"))
    assert agent.prefix is not None
    table = ItemTable(agent.prefix)
    table.hold(agent.held)
    assert table.scores(np.array([USERS[0]], dtype=np.float32))[0].round(3).tolist() == [
        0.95, 0.9, 0.4, 0.2, 0.45, 0.3,
    ]  # fmt: skip
