"""A cloud that serves two model versions: a device gets the version that it requests."""

import pytest

from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from tests.worlds import a_store
from wire.errors import Reason, RemoteProtocolError
from wire.messages import BudgetReport, encode
from wire.topics import LayerName
from wire.update_part import decode_part

OLD, NEW = a_store(seed=1), a_store(seed=2)
VERSIONS = ModelVersions([Responder(OLD), Responder(NEW)])


def answer(**fields: object) -> list[tuple[str, int, bool]]:
    """Return (model, blocks, introduction) of each part that answers a report of user 0."""
    report = BudgetReport(**({"seq": 1, "budget_bytes": 10**6, "user": 0} | fields))  # type: ignore[arg-type]
    layouts = [decode_part(part).layout for part in VERSIONS.answer(encode(report))]
    return [(layout.model, layout.blocks, layout.introduces) for layout in layouts]


def test_who_asks_for_nothing_gets_the_first() -> None:
    assert answer() == [(OLD.version, 0, True), (OLD.version, 16, False)]


def test_who_asks_for_the_new_one_gets_it_whole_and_then_what_is_missing() -> None:
    complete = [(NEW.version, 0, True), (NEW.version, 16, False)]
    assert answer(wants=NEW.version, model=OLD.version, held=9) == complete
    assert answer(wants=NEW.version, model=NEW.version, held=9) == [(NEW.version, 7, False)]


def test_who_holds_the_new_one_and_asks_for_nothing_goes_back() -> None:
    assert answer(model=NEW.version, held=9) == [(OLD.version, 0, True), (OLD.version, 16, False)]


def test_a_version_that_was_withdrawn_is_answered_with_the_first() -> None:
    assert answer(wants="gone")[0] == (OLD.version, 0, True)


def test_each_version_has_layers_to_share() -> None:
    for store in (OLD, NEW):
        blocks = store.groups[1].layers.blocks
        part = decode_part(VERSIONS.layer_part(LayerName(store.version, 1, 2)))
        fields = part.seq, part.layout.model, part.layout.group, part.layout.first, part.layout.blocks
        assert fields == (0, store.version, 1, blocks[1], blocks[2] - blocks[1])
    with pytest.raises(RemoteProtocolError) as refused:
        VERSIONS.layer_part(LayerName("gone", 0, 1))
    assert refused.value.reason is Reason.UNKNOWN_MODEL
