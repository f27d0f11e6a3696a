"""The kernel's sizes of messages are those of the encoders."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.service.responder import Responder
from devices.kernel.compiler import entry_point
from devices.kernel.engine import Kernel
from devices.kernel.exchanges import find_part
from devices.kernel.inputs import KernelInputs
from devices.kernel.layout import DEVICE, Run, share_arrays
from devices.kernel.message_sizes import (
    full_bytes,
    part_count,
    publish_wire,
    quality_bytes,
    report_bytes,
)
from emulator.simulation.cloud_setup import make_responder
from scenarios.language.load import parse
from tests.devices.kernel.engines import BothEngines, job_of
from tests.emulator.scenarios import TINY
from wire.messages import BudgetReport, QualityReport, encode
from wire.mqtt_bytes import publish_wire_bytes

CASES = ("model.codec=coded", "model.codec=int8", "model.codec=fp32", "updates.max_payload=4 KiB")
NUMBERS = st.integers(0, 2**53)


@entry_point
def update_bytes(run: Run, seq: int, group: int, first: int, target: int, introduces: int) -> int:
    exchange = run.exchanges[0]
    exchange.seq, exchange.user_group, exchange.first, exchange.target = seq, group, first, target
    exchange.introduces, exchange.cursor, exchange.cursor_first = introduces, 0, first
    count = part_count(run, group, first, target)
    exchange.parts = count if introduces == 0 else 1 + (count if target > 0 else 0)
    total = 0
    for index in range(exchange.parts):
        _, _, size = find_part(run, exchange, index)
        total += size
    return total


@entry_point
def whole_bytes(run: Run, seq: int, group: int, layer: int) -> int:
    return full_bytes(run, seq, group, layer)


@entry_point
def message_bytes(run: Run) -> tuple[int, int]:
    return report_bytes(run, run.device[0]), quality_bytes(run, run.device[0])


@entry_point
def framed_bytes(topic: int, payload: int, qos: int) -> int:
    return publish_wire(topic, payload, qos)


class Sizes:
    """The kernel's arrays of a fleet, and the responder and the users of the same fleet."""

    def __init__(self, kernel: Kernel, both: BothEngines) -> None:
        inputs: list[KernelInputs] = [batch for _, batch in kernel._inputs.batches(both.job.devices)]
        self.arrays = kernel._arrays(inputs[0])
        self.run = share_arrays(self.arrays)
        self.job = both.job
        self.qualities = both.qualities
        self.responder: Responder = make_responder(both.job.scenario, both.job.store)


@pytest.fixture(scope="module", params=CASES)
def sizes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sizes:
    folder: Path = tmp_path_factory.mktemp("sizes")
    both = BothEngines(job_of(parse(TINY, "tiny", [request.param]), folder / "stores", folder))
    return Sizes(both.kernel(), both)


@given(data=st.data(), seq=st.integers(1, 2**53))
@settings(deadline=None)
def test_an_update_has_the_bytes_that_the_responder_sends(
    sizes: Sizes, data: st.DataObject, seq: int
) -> None:
    store = sizes.job.store
    user = data.draw(st.sampled_from(list(sizes.job.users)))
    group = int(store.user_groups[user])
    layers = store.groups[group].layers
    layer = data.draw(st.integers(0, layers.top))
    held = data.draw(st.integers(0, store.groups[group].count))
    target, budget = layers.blocks[layer], layers.bytes[layer]
    asks = BudgetReport(seq=seq, budget_bytes=budget, user=user, model=store.version, held=held)
    begins = BudgetReport(seq=seq, budget_bytes=budget, user=user)

    difference = sum(map(len, sizes.responder.respond(asks)))
    introduction = sum(map(len, sizes.responder.respond(begins)))

    assert update_bytes(sizes.run, seq, group, min(held, target), target, 0) == difference
    assert update_bytes(sizes.run, seq, group, 0, target, 1) == introduction
    assert whole_bytes(sizes.run, seq, group, layer) == sizes.responder.full_bytes(user, budget, seq)


@given(data=st.data(), seq=st.integers(1, 2**53), requested=NUMBERS, held=NUMBERS, knows=st.booleans())
@settings(deadline=None)
def test_a_report_and_a_quality_have_the_bytes_that_are_encoded(
    sizes: Sizes, data: st.DataObject, seq: int, requested: int, held: int, knows: bool
) -> None:
    store, users = sizes.job.store, sorted(sizes.qualities)
    place = data.draw(st.integers(0, len(users) - 1))
    quality = sizes.qualities[users[place]]
    layer = data.draw(st.integers(0, quality.top))
    device = np.zeros(1, DEVICE)
    device["user"], device["seq"], device["requested"] = place, seq, requested
    device["held"], device["layer"], device["is_known"] = held, layer, knows
    sizes.arrays.device[:] = device
    model = store.version if knows else ""
    ndcg, recall, hit_rate = quality.at(layer)

    report = BudgetReport(seq=seq, budget_bytes=requested, user=users[place], model=model, held=held)
    message = QualityReport(
        model=model, layer=layer, held=held, ndcg_at_10=ndcg, recall_at_20=recall, hit_rate_at_10=hit_rate
    )
    assert message_bytes(sizes.run) == (len(encode(report)), len(encode(message)))


@given(topic=st.integers(1, 200), payload=st.integers(0, 3_000_000), qos=st.sampled_from((0, 1)))
def test_a_publish_has_the_bytes_of_the_formula(topic: int, payload: int, qos: int) -> None:
    assert framed_bytes(topic, payload, qos) == publish_wire_bytes(topic, payload, qos)
