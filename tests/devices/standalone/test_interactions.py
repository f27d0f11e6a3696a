"""A real device that learns: it follows a file of what its user meets, through restarts and low budgets."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud.service.responder import Responder, notice_of
from devices.protocol.agent import Agent
from devices.protocol.block_prefix import BlockCache
from devices.recommender.learning import LearningSettings, history_bytes, learn_pee
from devices.recommender.pee_file import Pee, read_pee
from devices.standalone.device import RealDevice
from devices.standalone.interaction_log import InteractionLog
from devices.standalone.saved_state import SavedState, read_state, write_pee, write_state
from devices.standalone.settings import DeviceSettings
from emulator.cli.agent import check_interactions
from tests.devices.lives import STORE
from tests.devices.standalone.test_device import PATIENCE_S, holding
from wire.errors import InputError
from wire.mqtt.connection import Connection


def test_a_file_is_followed_line_by_line_and_anew_when_it_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "met"
    log = InteractionLog(path)
    told = [log.poll()]
    for text in ("5\n7", "\n7\n9", "\n5\n"):
        with path.open("a") as file:
            file.write(text)
        told.append(log.poll())
    assert (told, log.met, log.read_bytes) == ([False, True, True, True], (7, 9, 5), path.stat().st_size)
    again = InteractionLog(path, log.met, log.read_bytes)
    assert (again.poll(), again.met) == (False, (7, 9, 5))
    path.write_text("item,time\n3,9\n1,8\n")
    assert (again.poll(), again.met) == (True, (7, 9, 5, 1, 3))
    with path.open("a") as file:
        file.write("4,soon\n")
    assert (again.poll(), again.poll(), again.met) == (False, False, (7, 9, 5, 1, 3))
    with path.open("a") as file:
        file.write("x,10\n2,11\n")
    assert (again.poll(), again.met) == (True, (7, 9, 5, 1, 3, 2))
    assert [record.getMessage() for record in caplog.records] == [
        f"what the user has met could not be read: {path}, line 1: time(='soon') must be a number or an ISO "
        "8601 date",
        f"{path}: 1 items are no numbers of items: left out",
    ]


class Machine:
    """A device that nobody answers: it has the PEE for 2000 bytes from an earlier life."""

    def __init__(self, folder: Path) -> None:
        self.budget = 2000
        self.folder = folder
        write_state(folder / "state", SavedState.from_agent(holding(2000), notice_of(STORE)))

    def live(self, until: Callable[[Pee], bool]) -> Pee:
        """Run until the PEE file is as wanted, and once more from its state; return the PEE."""
        return asyncio.run(self._live(until))

    async def _live(self, until: Callable[[Pee], bool]) -> Pee:
        pee, met = self.folder / "pee", self.folder / "met"
        settings = DeviceSettings(
            "f", "d", 0, None, interval_s=0.01, pee=pee, state=self.folder / "state", interactions=met
        )
        device = RealDevice(settings, Connection("127.0.0.1", 9, "d"), lambda: self.budget, lambda: 1.0)
        living = asyncio.create_task(device.run())
        async with asyncio.timeout(PATIENCE_S):
            while not (pee.exists() and until(read_pee(pee))):
                assert not living.done()
                await asyncio.sleep(0.01)
        device.stop()
        await living
        return read_pee(pee)


def test_a_device_learns_what_is_met_and_keeps_it_inside_its_budget(tmp_path: Path) -> None:
    machine, met = Machine(tmp_path), tmp_path / "met"
    write_pee(tmp_path / "delivered", holding(2000), "fleet f")
    delivered = read_pee(tmp_path / "delivered")
    met.write_text("3\n8\n")
    first = machine.live(lambda pee: pee.known_items.tolist() == [3, 8])
    expected = learn_pee(delivered, [3, 8], LearningSettings())
    assert np.array_equal(first.user_vector, expected.user_vector)
    assert not np.array_equal(first.user_vector, delivered.user_vector)
    with met.open("a") as file:
        file.write("1\n99999\n")  # the catalogue lacks one
    machine.budget = 500
    second = machine.live(lambda pee: pee.known_items.tolist() == [1, 3, 8] and pee.resident_bytes < 500)
    aside = history_bytes(LearningSettings(), STORE.geometry.items, machine.budget)
    assert 0 < second.resident_bytes <= machine.budget - aside
    write_pee(tmp_path / "delivered", holding(machine.budget - aside), "fleet f")
    expected = learn_pee(read_pee(tmp_path / "delivered"), [3, 8, 1], LearningSettings())
    assert np.array_equal(second.user_vector, expected.user_vector)
    met.unlink()  # what was met is in the state, too
    third = machine.live(lambda pee: pee.known_items.tolist() == [1, 3, 8])
    assert np.array_equal(third.user_vector, second.user_vector)
    state = read_state(tmp_path / "state")
    assert state is not None
    assert (state.met, state.read_bytes) == ((3, 8, 1, 99999), 12)


def test_a_device_that_keeps_its_user_to_itself_learns_from_nothing_but_what_was_met(tmp_path: Path) -> None:
    """It reports its group, so it gets no vector; what it ranks with is learned from a zero vector."""
    cache = BlockCache()
    cache.announce(notice_of(STORE))
    agent, pee = Agent(0, cache, group=0), tmp_path / "pee"
    agent.set_budget(2000)
    for part in Responder(STORE).answer(agent.report()):
        agent.receive(part)
    assert (agent.layer > 0, agent.user_vector) == (True, b"")
    write_pee(pee, agent, "fleet f")
    assert not pee.exists()  # it can rank nothing yet
    write_pee(pee, agent, "fleet f", [7, 4])
    found, dim = read_pee(pee), STORE.geometry.dim
    begin = replace(found, user_vector=np.zeros(dim, dtype=np.float32), known_items=np.empty(0, dtype=int))
    assert np.array_equal(found.user_vector, learn_pee(begin, [7, 4], LearningSettings()).user_vector)
    assert found.user_vector.any()


def test_what_cannot_be_learned_from_is_said_before_the_device_starts(tmp_path: Path) -> None:
    met = tmp_path / "met"
    check_interactions(met, tmp_path / "pee")  # it may come later
    with pytest.raises(InputError, match=r"^--interactions needs --pee: the learned vector is in that file$"):
        check_interactions(met, None)
    met.write_text("1\n2,soon\n")
    with pytest.raises(InputError, match=r"met, line 2: '2,soon' must be an item, or an item and a time"):
        check_interactions(met, tmp_path / "pee")
