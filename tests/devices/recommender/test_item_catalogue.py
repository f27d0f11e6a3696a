"""The catalogue of a model version: a file of names that a device looks up by item number."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.responder import Responder
from devices.protocol.agent import Agent
from devices.protocol.block_prefix import BlockCache
from devices.recommender.item_catalogue import CatalogueFile, encode_catalogue, read_catalogue
from devices.recommender.pee_file import read_pee, recommend
from devices.standalone.saved_state import write_pee
from tests.worlds import a_store
from wire.errors import InputError

STORE = a_store()
IDS = [f"item-{item}" for item in range(STORE.geometry.items)]
TITLES = ["A film", *[""] * (len(IDS) - 1)]
text = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.lists(st.tuples(text, text), min_size=1, max_size=20))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, str]]
) -> None:
    ids, titles = [item_id for item_id, _ in items], [title for _, title in items]
    path = tmp_path_factory.mktemp("names") / "catalogue"
    path.write_bytes(encode_catalogue("v1", ids, titles))
    found = read_catalogue(path)
    assert found.model == "v1"
    assert [found.names[item] for item in range(len(ids))] == ids
    found_titles = found.titles
    assert (found_titles is None) is not any(titles)
    if found_titles is not None:
        assert [found_titles[item] for item in range(len(ids))] == titles


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no catalogue of items"),
        (b"{}\n", "is no catalogue of items"),
        (b'{"format":"peelfleet-catalogue-2","model":"v1","items":1}\n', "is no catalogue of items"),
        (b'{"format":"peelfleet-catalogue-1","model":"v1","items":2}\n{"id":"a"}\n', "has 1 items, and says"),
    ],
)
def test_what_is_no_catalogue_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "names").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_catalogue(tmp_path / "names")


def test_a_device_names_the_items_of_the_version_that_it_holds_and_of_no_other(tmp_path: Path) -> None:
    cache = BlockCache()
    cache.announce(Responder(STORE).notice())
    agent = Agent(0, cache)
    agent.set_budget(10**6)
    for part in Responder(STORE).answer(agent.report()):
        agent.receive(part)
    names, pee = CatalogueFile(tmp_path / "names"), tmp_path / "pee"

    def recommended() -> list[str]:
        write_pee(pee, agent, "fleet f", (), names.of_model(STORE.version, len(IDS)))
        return sorted(each.item for each in recommend(read_pee(pee), len(IDS)))

    assert recommended() == sorted(map(str, range(len(IDS))))  # no file yet
    (tmp_path / "names").write_bytes(encode_catalogue(STORE.version, IDS, TITLES))
    assert recommended() == sorted(IDS)
    (tmp_path / "names").write_bytes(encode_catalogue("another", IDS, TITLES))
    os.utime(tmp_path / "names", ns=(1, 1))
    assert recommended() == sorted(map(str, range(len(IDS))))
