"""A device that is offered a version, and offered it no more: beside a cloud, without a network."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.deltas import first_blocks
from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder, notice_of
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.standalone.pee_holder import PeeHolder
from devices.standalone.saved_state import SavedState
from devices.standalone.settings import DeviceSettings
from tests.rollouts import NEWER, OLDER, a_rollout
from wire.messages import BudgetReport, ModelNotice, RolloutNotice, RolloutState, decode
from wire.rollout import group_of
from wire.units import NS_PER_S

SETTINGS = DeviceSettings("f", "d1", 0, None)
OLD_NOTICE, NEW_NOTICE = notice_of(OLDER), notice_of(NEWER)
STARTED = group_of(NEWER.version, "d1", 3) + 1
OFFERED, WITHDRAWN = a_rollout(started=STARTED), a_rollout(started=STARTED, state=RolloutState.ROLLED_BACK)


def a_cloud() -> ModelVersions:
    return ModelVersions([Responder(OLDER, 1500), Responder(NEWER, 1500)])


@dataclass
class Life:
    """A device beside a cloud."""

    cloud: ModelVersions = field(default_factory=a_cloud)
    cache: BlockCache = field(default_factory=BlockCache)
    now_ns: int = 0
    asked: list[str] = field(default_factory=list)
    """What each report wants; empty: what is announced."""

    def __post_init__(self) -> None:
        self.holder = PeeHolder(SETTINGS, self.cache, Agent(0, self.cache), None, lambda: 0.5)
        self.begin(600)

    def begin(self, budget: int) -> None:
        self.holder.set_budget(budget, self.now_ns)
        self.holder.on_connected(self.now_ns)

    def hears(self, *notices: ModelNotice | RolloutNotice) -> None:
        for notice in notices:
            if isinstance(notice, ModelNotice):
                self.holder.on_notice(notice, self.now_ns)
            else:
                self.holder.on_rollout(notice, self.now_ns)

    def answers(self, parts: int = 99) -> Iterator[Receipt]:
        """Let a second pass; take in the first parts of each answer."""
        self.now_ns += NS_PER_S
        while (due := self.holder.next_report(self.now_ns)) is not None:
            report = decode(due[1], BudgetReport)
            self.asked.append("" if report.wants is msgspec.UNSET else str(report.wants))
            for part in self.cloud.respond(report)[:parts]:
                yield self.holder.on_part(part, self.now_ns)

    def restart(self) -> None:
        agent, notice = self.holder.agent, self.holder.held_notice
        assert notice is not None
        saved = SavedState.from_agent(agent, notice)
        self.cache = BlockCache()
        self.cache.announce(saved.notice)
        again = Agent(0, self.cache, seq=saved.seq + 1)
        assert saved.restore(again)
        self.holder = PeeHolder(SETTINGS, self.cache, again, saved.notice, lambda: 0.5)
        self.begin(agent.budget_bytes)

    def held(self) -> str:
        """Return the version held, which is whole: exactly the first blocks of its ranking."""
        agent = self.holder.agent
        store = {store.version: store for store in (OLDER, NEWER)}[agent.model]
        assert agent.prefix is not None
        assert agent.prefix.part(0, agent.held) == first_blocks(store, agent.group, agent.held).blocks
        assert agent.resident_bytes <= agent.budget_bytes
        return agent.model


def test_it_takes_the_version_that_its_group_is_offered_and_gives_it_back() -> None:
    life = Life()
    life.hears(a_rollout(started=STARTED - 1), OLD_NOTICE)
    assert list(life.answers())[-1] is Receipt.APPLIED
    assert life.held() == OLDER.version
    life.hears(OFFERED)
    assert list(life.answers())[-1] is Receipt.APPLIED
    assert life.held() == NEWER.version
    life.hears(WITHDRAWN, OFFERED)  # a broker that was killed remembers less: the later word counts
    assert list(life.answers())[-1] is Receipt.APPLIED
    assert life.held() == OLDER.version
    life.hears(a_rollout(rollout=1001, state=RolloutState.COMPLETE, started=3))
    assert list(life.answers())[-1] is Receipt.APPLIED
    assert (life.held(), life.asked[-1]) == (NEWER.version, NEWER.version)


def test_it_starts_again_with_what_it_holds_until_it_hears_what_it_is_to_have() -> None:
    life = Life()
    life.hears(OLD_NOTICE, OFFERED)
    list(life.answers())
    life.restart()
    assert list(life.answers()) == [Receipt.CONFIRMED]
    life.hears(OFFERED, OLD_NOTICE)
    assert set(life.answers()) <= {Receipt.CONFIRMED}
    life.restart()
    life.hears(WITHDRAWN, OLD_NOTICE)
    assert list(life.answers())[-1] is Receipt.APPLIED
    assert life.held() == OLDER.version


def test_without_a_rollout_it_names_no_version_but_after_a_restart() -> None:
    life = Life()
    life.hears(OLD_NOTICE)
    list(life.answers())
    life.restart()
    list(life.answers())
    life.hears(OLD_NOTICE)
    life.holder.set_budget(300, life.now_ns)
    list(life.answers())
    assert life.asked == ["", OLDER.version, ""]


EVENTS = st.sampled_from(
    ["old", "new", "offer", "withdraw", "complete", "restart", "reconnect", "answer", "part"]
)


@given(st.lists(st.tuples(EVENTS, st.integers(0, 900)), max_size=14), st.sampled_from(["offer", "withdraw"]))
def test_whatever_it_hears_and_loses_it_ends_with_the_last_word_and_no_answer_is_refused(
    events: list[tuple[str, int]], last: str
) -> None:
    life = Life()
    life.hears(OLD_NOTICE)
    for at, (event, budget) in enumerate([*events, (last, 600), ("old", 600), ("answer", 600)], 1):
        told = {"old": OLD_NOTICE, "new": NEW_NOTICE}.get(event)
        states = {"offer": OFFERED, "withdraw": WITHDRAWN, "complete": a_rollout(state=RolloutState.COMPLETE)}
        if told is not None:
            life.hears(told)
        elif event in states:
            life.hears(msgspec.structs.replace(states[event], order=at))
        elif event == "restart":
            life.restart()
        elif event == "reconnect":
            life.holder.on_disconnected()
            life.begin(budget)
        else:
            life.holder.set_budget(budget, life.now_ns)
            assert Receipt.REJECTED not in list(life.answers(1 if event == "part" else 99))
        if life.holder.agent.model:
            life.held()
    assert life.held() == (NEWER if last == "offer" else OLDER).version
