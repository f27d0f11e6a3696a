"""Causes and contents of the updates that one device gets."""

import pytest

from cloud.service.outcomes import UpdateCause, UpdateContent, classify
from cloud.service.responder import Responder
from tests.worlds import a_store
from wire.messages import BudgetReport

STORE = a_store()
BLOCKS = STORE.groups[0].layers.blocks[-1]
BYTES = STORE.groups[0].layers.bytes[-1]
SAME = STORE.version


@pytest.mark.parametrize(
    ("model", "held", "budget", "expected"),
    [
        ("", 0, BYTES, (UpdateCause.MODEL_NEW, UpdateContent.FULL)),
        ("", 0, 0, (UpdateCause.MODEL_NEW, UpdateContent.CONTROL)),
        ("old", 3, BYTES, (UpdateCause.MODEL_NEW, UpdateContent.FULL)),
        (SAME, 0, BYTES, (UpdateCause.BUDGET_UP, UpdateContent.FULL)),
        (SAME, 5, BYTES, (UpdateCause.BUDGET_UP, UpdateContent.DELTA)),
        (SAME, BLOCKS, BYTES, (UpdateCause.UNCHANGED, UpdateContent.CONTROL)),
        (SAME, BLOCKS, BYTES // 2, (UpdateCause.BUDGET_DOWN, UpdateContent.CONTROL)),
    ],
)
@pytest.mark.parametrize("max_payload", [1200, 128 * 1024])
def test_the_cause_and_the_content(
    max_payload: int, model: str, held: int, budget: int, expected: tuple[UpdateCause, UpdateContent]
) -> None:
    report = BudgetReport(seq=1, budget_bytes=budget, user=0, model=model, held=held)
    parts = Responder(STORE, max_payload).respond(report)
    assert classify(report, parts) == expected


def test_the_whole_pee_sent_again_is_full() -> None:
    report = BudgetReport(seq=1, budget_bytes=BYTES, user=0, model=SAME, held=BLOCKS)
    parts = Responder(STORE, always_full=True).respond(report)
    assert classify(report, parts) == (UpdateCause.UNCHANGED, UpdateContent.FULL)


def test_who_takes_blocks_from_elsewhere_is_brought_none() -> None:
    report = BudgetReport(seq=1, budget_bytes=BYTES, user=0, shared=True)
    assert classify(report, Responder(STORE).respond(report)) == (
        UpdateCause.MODEL_NEW,
        UpdateContent.CONTROL,
    )
