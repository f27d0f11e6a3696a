"""Whatever the weather: nobody is over budget, every report ends once, and the fleet is whole again."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings

from broker_config import mosquitto
from devices.event_log import MessageFault, labels_of
from emulator.run_directory.event_reader import EventReader
from scenarios.language.load import dump, parse
from scenarios.language.scenario import Scenario
from tests.emulator.lives import lives
from tests.emulator.scenarios import Runner
from tests.emulator.storms import STORM, Log, Storms, breaches, strays

REDUCED = ("fleet[phone].count=10", "fleet[tvbox].count=5")
FEWER = ("fleet[phone].count=40", "fleet[tvbox].count=20")

POLICIES = {
    "as they come": (),
    "whole updates": ("updates.encoding=full",),
    "whole where the difference is large": ("updates.full_if_delta_over=30 %",),
    "older answers are not taken back": ("updates.supersede=false",),
    "the cloud evicts": ("updates.local_eviction=false",),
    "two workers": ("cloud={workers: 2, service_time: 100 ms}",),
    "one worker, a short queue": (
        "cloud={workers: 1, service_time: 200 ms, distribution: exponential, queue_limit: 5}",
        "cloud.coalesce=false",
    ),
}
"""Policies under which a device asks for what its budget is."""

RULES = {
    "hysteresis": ("updates.hysteresis=20 %",),
    "debounce": ("updates.debounce=25 s",),
    "levels": ("updates.levels_per_doubling=2",),
    "headroom": ("updates.headroom=20 %",),
    "small changes": ("fleet[0].budget.publish={on_change: 30 %, min_interval: 40 s, max_interval: 2 min}",),
    "all of them": (
        "updates={max_payload: 4 KiB, hysteresis: 20 %, debounce: 25 s, levels_per_doubling: 4}",
        "updates.headroom=10 %",
        "fleet[1].budget.publish={on_change: 10 %, min_interval: 1 min}",
    ),
}
"""Rules under which a device may ask for less: it holds the best PEE for what it asked for last."""


@pytest.fixture(scope="module")
def storms(store_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Storms:
    return Storms(store_root, tmp_path_factory.mktemp("storms"))


NEVER = {"report_refused", "report_resent", "part_resent"}
"""What no storm here can do: the cloud has no limit, and the links do not send again."""


def harms(log: Log) -> set[str]:
    return {row["harm"] for row in log.rows("fault")}


@pytest.mark.parametrize("overrides", POLICIES.values(), ids=POLICIES)
def test_after_the_storm_every_device_holds_the_best_pee_for_its_last_budget(
    storms: Storms, overrides: tuple[str, ...]
) -> None:
    log = storms.simulate(parse(STORM, overrides=(*FEWER, *overrides) if overrides else ()))
    assert list(breaches(log)) == []
    assert strays(log) == []
    assert overrides or harms(log) == set(labels_of(MessageFault)) - NEVER  # all that may go wrong has
    assert max(row["parts"] for row in log.rows("update")) > 5  # and much of it in the midst of updates


@pytest.mark.parametrize("overrides", RULES.values(), ids=RULES)
def test_no_rule_leaves_a_device_without_what_it_asked_for(
    storms: Storms, overrides: tuple[str, ...]
) -> None:
    log = storms.simulate(parse(STORM, overrides=(*FEWER, *overrides)))
    assert list(breaches(log)) == []
    assert strays(log, exact=False) == []


@pytest.mark.slow
def test_a_thousand_devices_are_whole_again(storms: Storms) -> None:
    """Who is connected at the end: phones come and go even in calm weather, a sixth of them at a time."""
    counts = ("fleet[phone].count=700", "fleet[tvbox].count=300")
    log = storms.simulate(parse(STORM, overrides=(*counts, "fleet[phone].memory.step_every=1 min")))
    assert list(breaches(log)) == []
    assert strays(log) == []
    online = {row["device"] for rows in log.by_device("quality").values() if (row := rows[-1])["online"]}
    assert len(online) > 800


def test_twice_and_in_shards_the_storm_is_the_same(storms: Storms) -> None:
    scenario = parse(STORM, overrides=REDUCED)
    once = storms.simulate(scenario).sha256
    assert storms.simulate(scenario).sha256 == once
    assert storms.simulate(scenario, shards=3).sha256 == once


@pytest.mark.parametrize("kind", [pytest.param("mosquitto", marks=pytest.mark.broker), "amqtt"])
def test_through_a_real_broker_the_storm_is_the_same(runner: Runner, kind: str) -> None:
    if kind == "mosquitto" and mosquitto.executable() is None:
        pytest.skip("mosquitto is not installed")
    virtual = runner.run(STORM, *REDUCED)
    lockstep = runner.run(STORM, *REDUCED, "clock=lockstep", f"broker={kind}")
    assert lockstep.summary["event_log_sha256"] == virtual.summary["event_log_sha256"]
    assert lockstep.summary["reports_sent_again"] == 0
    assert EventReader(lockstep.folder).sha256() == virtual.summary["event_log_sha256"]


def test_through_a_real_broker_a_queue_of_two_workers_is_the_same(runner: Runner) -> None:
    queue = "cloud={workers: 2, service_time: 100 ms, distribution: exponential, queue_limit: 9}"
    virtual = runner.run(STORM, *REDUCED, queue)
    lockstep = runner.run(STORM, *REDUCED, queue, "clock=lockstep", "broker=auto")
    assert lockstep.summary["event_log_sha256"] == virtual.summary["event_log_sha256"]


def test_another_device_or_group_changes_no_other_device(storms: Storms) -> None:
    """Stages aside: who comes when is the order of the whole fleet."""
    staged = STORM.replace("stages:", "x-stages:")
    for name, at in (("squeeze", "4 min"), ("storm", "9 min")):
        staged = staged.replace(f"at: {name}", f"at: {at}").replace(f"{at} + ", f"{at} ")
    staged += "stop_time: 20 min\n"
    few = storms.simulate(parse(staged, overrides=REDUCED))
    more = storms.simulate(
        parse(
            staged.replace("updates:", "  - {name: extra, count: 3}\nupdates:"),
            overrides=("fleet[phone].count=11", REDUCED[1]),
        )
    )
    known = {device.name for device in few.devices}
    for name in few.tables:
        before = [row | {"wall_s": 0} for row in few.rows(name)]
        after = [row | {"wall_s": 0} for row in more.rows(name) if row["device"] in known]
        assert after == before


def tells_all(scenario: Scenario) -> bool:
    """Tell whether every device asks for its whole budget whenever that changes."""
    publishes = [group.budget.publish for group in scenario.fleet]
    return scenario.reporting.reports_every_change and not any(
        each.on_change or each.min_interval for each in publishes
    )


@pytest.mark.slow
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(scenario=lives())
def test_no_life_breaks_a_rule(storms: Storms, scenario: Scenario) -> None:
    log = storms.simulate(scenario)
    event("told as it is" if tells_all(scenario) else "told by rules")
    assert list(breaches(log)) == [], dump(scenario)
    assert strays(log, exact=tells_all(scenario)) == [], dump(scenario)
    assert scenario.shared or storms.simulate(scenario, shards=3).sha256 == log.sha256, dump(scenario)
