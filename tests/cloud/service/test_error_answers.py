"""A report that is refused or above the rate is answered by an error; a service says whether it is there."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_config import mosquitto
from cloud.service.error_answers import LEAST_INTERVAL_S, MOST_DEVICES, MOST_WAITING, ErrorAnswers
from cloud.service.outcomes import INTERNAL
from cloud.service.report_queue import Admission
from tests.cloud.services import FLEET, PATIENCE_S, STORE, Fleet, World, a_report, a_world, wait_for
from tests.served import Listener
from wire.errors import Reason
from wire.messages import PROTOCOL, CloudStatus, ErrorAnswer, decode
from wire.topics import Role, cloud_topic

needs_mosquitto = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]
STATUS = cloud_topic(FLEET, "main")


def test_each_reason_has_a_remedy_and_a_device_is_told_once_a_second() -> None:
    errors = ErrorAnswers()
    reasons = [Reason.UNKNOWN_USER, Reason.OUT_OF_RANGE, Admission.FULL, INTERNAL]
    added = [errors.add(f"d{at}", 7, reason, "a text", 0.0) for at, reason in enumerate(reasons)]
    assert errors.add("d9", 0, Admission.RATE, "too fast", 0.0, wait_s=0.25)
    assert not errors.add("d0", 8, Reason.MALFORMED, "again", LEAST_INTERVAL_S / 2)
    assert errors.add("d0", 9, Reason.MALFORMED, "t" * 1000, LEAST_INTERVAL_S)
    assert added == [True] * 4
    told = [(device, decode(payload, ErrorAnswer)) for device, _, payload in map_pops(errors)]
    assert [(device, each.seq, each.reason, each.remedy, each.retry_after_s) for device, each in told] == [
        ("d0", 7, "unknown_user", "change", 60),
        ("d1", 7, "out_of_range", "restart", 1),
        ("d2", 7, "queue_full", "retry", 10),
        ("d3", 7, "internal_error", "retry", 60),
        ("d9", 0, "rate", "wait", 0.25),
        ("d0", 9, "malformed", "change", 60),
    ]
    assert len(told[-1][1].text) == 300
    assert errors.left_out == {"malformed": 1}


def map_pops(errors: ErrorAnswers) -> Iterator[tuple[str, str, bytes]]:
    while len(errors):
        yield errors.pop()


def test_a_flood_of_errors_takes_a_bounded_room() -> None:
    errors = ErrorAnswers()
    added = sum(errors.add(f"d{at}", 0, "malformed", "", 0.0) for at in range(MOST_WAITING + 5))
    assert (added, len(errors), errors.left_out["malformed"]) == (MOST_WAITING, MOST_WAITING, 5)
    for at in range(MOST_DEVICES + 5):
        errors.pop()
        assert errors.add(f"later-{at}", 0, "malformed", "", 0.0)
    assert len(errors._told_s) == MOST_DEVICES


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_world(tmp_path) as world:
        yield world


class TestBesideABroker:
    pytestmark = needs_mosquitto

    def test_a_device_learns_why_its_report_is_refused(self, world: World) -> None:
        reports = {
            "wrong-user": a_report(7, user=99),
            "wrong-group": a_report(7, user=None, group=9),
            "too-much": a_report(7, user=0, model=STORE.version, held=1000),
            "other-codec": a_report(7, user=0, codecs=("planes",)),
            "short-of-memory": a_report(7, user=0, max_part=10),
            "no-json": b"{",
        }

        async def story() -> dict[str, tuple[int, str, str]]:
            topics = f"peel/1/{FLEET}/+/error"
            async with (
                Fleet(world) as fleet,
                Listener(world.connection(Role.FLEET, "errors"), topics) as heard,
            ):
                cloud = world.cloud().ready()
                for device, report in reports.items():
                    await fleet.ask(device, report)
                async with asyncio.timeout(PATIENCE_S):
                    while len(heard.heard) < len(reports):
                        await asyncio.sleep(0.02)
                wait_for(lambda: cloud.metric("peelfleet_cloud_errors_total") == len(reports), "all counted")
                return {
                    topic.split("/")[3]: said(decode(payload, ErrorAnswer))
                    for topic, (payload,) in heard.heard.items()
                }

        assert asyncio.run(story()) == {
            "wrong-user": (7, "unknown_user", "change"),
            "wrong-group": (7, "unknown_group", "change"),
            "too-much": (7, "out_of_range", "restart"),
            "other-codec": (7, "unknown_codec", "change"),
            "short-of-memory": (7, "part_too_small", "change"),
            "no-json": (0, "malformed", "change"),
        }

    def test_of_a_slider_that_is_moved_too_fast_the_last_value_is_answered_at_once(
        self, world: World
    ) -> None:
        """Before, the reports above the rate were dropped, the newest first: it was right after 30 s."""

        async def story() -> None:
            errors = f"peel/1/{FLEET}/slider/error"
            async with (
                Fleet(world) as fleet,
                Listener(world.connection(Role.FLEET, "errors"), errors) as heard,
            ):
                cloud = world.cloud("--max-rate", "5").ready()  # 25 at once
                await asyncio.gather(*(fleet.ask("slider", a_report(seq)) for seq in range(1, 401)))
                async with asyncio.timeout(5):
                    await fleet.hears_all(["slider"], seq=400)
                wait_for(lambda: sum(cloud.became().values()) == 400, "all accounted for")
                assert cloud.became()["rate", "dropped"] > 300
                (error, *_) = [decode(payload, ErrorAnswer) for payload in heard.heard[errors]]
                assert said(error) == (0, "rate", "wait")
                assert 0 < error.retry_after_s <= 0.2

        asyncio.run(story())

    def test_a_service_says_that_it_is_there_and_the_broker_that_it_is_lost(self, world: World) -> None:
        async def story() -> list[CloudStatus]:
            async with Listener(world.connection(Role.FLEET, "statuses"), STATUS) as heard:
                world.cloud().ready().send(signal.SIGTERM)
                world.cloud().ready().send(signal.SIGKILL)
                async with asyncio.timeout(PATIENCE_S):
                    while len(heard.heard.get(STATUS, ())) < 4:
                        await asyncio.sleep(0.02)
            async with Listener(world.connection(Role.FLEET, "later"), STATUS) as later:
                await asyncio.sleep(0.2)
                assert later.heard[STATUS] == heard.heard[STATUS][-1:]
            return [decode(payload, CloudStatus) for payload in heard.heard[STATUS]]

        found = asyncio.run(story())
        assert [(each.online, each.reason) for each in found] == [
            (True, "start"), (False, "stop"), (True, "start"), (False, "connection lost")
        ]  # fmt: skip
        assert found[0] == CloudStatus(
            online=True, reason="start", protocol=PROTOCOL, models=(STORE.version,), max_part=128 * 1024
        )


def said(error: ErrorAnswer) -> tuple[int, str, str]:
    return error.seq, error.reason, error.remedy
