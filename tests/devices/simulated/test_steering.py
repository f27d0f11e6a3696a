"""Deeds by hand on one device: budgets are squeezed and given back, cuts end where the scenario lets them."""

from dataclasses import dataclass, field

from devices.protocol.agent import Agent
from devices.protocol.block_prefix import BlockCache
from devices.simulated.clock import Clock
from devices.simulated.steering import DeviceSteering
from devices.timeline.connectivity import ConnectivityCause

STOP_NS = 1_000


@dataclass
class SteeredLife:
    """A device that notes what its steering does."""

    clock: Clock
    agent: Agent = field(default_factory=lambda: Agent(1, BlockCache()))
    story: list[tuple[int, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.steering = DeviceSteering(self, self.clock, STOP_NS)

    def budget_left(self, free_bytes: int, budget_bytes: int) -> int:
        return self.steering.scale(free_bytes, budget_bytes)

    def change_budget(self, free_bytes: int, budget_bytes: int) -> None:
        self.agent.set_budget(budget_bytes)
        self.story.append((self.clock.now_ns, "budget", budget_bytes))

    def begin_connect(self, why: ConnectivityCause) -> None:
        if not self.steering.holds_back(online=True):
            self.story.append((self.clock.now_ns, "up", why))

    def disconnect(self, why: ConnectivityCause) -> None:
        if not self.steering.holds_back(online=False):
            self.story.append((self.clock.now_ns, "down", why))


def life() -> SteeredLife:
    return SteeredLife(Clock())


def run(device: SteeredLife) -> list[tuple[int, str, int]]:
    while device.clock.advance(100):
        pass
    return device.story


def test_a_squeeze_holds_for_later_budgets_until_it_is_given_back() -> None:
    device = life()

    def memory(budget_bytes: int) -> None:
        device.change_budget(9, device.budget_left(9, budget_bytes))

    for t_ns, budget in ((0, 1_000), (200, 2_000), (400, 500)):
        device.clock.after(t_ns, budget, memory)
    for t_ns, factor in ((100, 0.3), (300, 1.0), (350, 1.0)):
        device.clock.after(t_ns, factor, device.steering.squeeze)
    assert run(device) == [
        (0, "budget", 1_000), (100, "budget", 300), (200, "budget", 600), (300, "budget", 2_000),
        (400, "budget", 500),
    ]  # fmt: skip


def test_a_device_that_has_not_started_is_squeezed_from_its_first_budget_on() -> None:
    device = life()
    device.steering.squeeze(0.5)
    assert device.story == []
    assert device.budget_left(9, 1_000) == 500


def test_a_cut_ends_at_its_time_and_a_longer_one_wins() -> None:
    device, action, start = life(), ConnectivityCause.ACTION, ConnectivityCause.START
    device.clock.after(0, start, device.begin_connect)
    for t_ns, until_ns in ((100, 300), (200, 250), (250, 400)):
        device.clock.after(t_ns, until_ns, device.steering.cut_off)
    assert run(device) == [(0, "up", start), (100, "down", action), (400, "up", action)]


def test_the_scenario_decides_after_a_cut_and_no_cut_outlasts_it() -> None:
    device, action, churn = life(), ConnectivityCause.ACTION, ConnectivityCause.CHURN
    device.clock.after(0, churn, device.begin_connect)
    device.clock.after(100, 300, device.steering.cut_off)
    device.clock.after(200, churn, device.disconnect)  # held back: it is cut off already
    device.clock.after(500, churn, device.begin_connect)
    device.clock.after(600, 5_000, device.steering.cut_off)
    assert run(device) == [
        (0, "up", churn), (100, "down", action), (500, "up", churn), (600, "down", action),
    ]  # fmt: skip
    assert device.clock.now_ns == STOP_NS
