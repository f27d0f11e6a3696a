"""A new run in a real browser: written and checked as one types, started, steered by keyboard, stopped."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from broker_config import mosquitto
from emulator.live.deeds import DEEDS, read_deeds
from emulator.run_directory.layout import read_summary
from emulator.web.run_queue import read_typed
from emulator.web.scenario_form import form_fields
from tests.emulator.scenarios import TINY
from tests.emulator.web.browser import open_browser, open_page
from tests.emulator.web.test_live_pages import look_at_one_device, started, wait_for_status
from tests.emulator.web.test_run_pages import check
from wire.errors import InputError

REAL = TINY.replace("clock: virtual", "clock: realtime\nrealtime: {speed: 20, max_lag: 30 s}")

LOST = TINY.replace("name: tiny", "name: lost\nbroker: mqtt://127.0.0.1:1").replace("virtual", "lockstep")
"""Its broker does not answer."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


def test_the_fields_are_those_of_the_schema() -> None:
    fields = {field.key: field for field in form_fields()}
    assert fields["clock"].choices == ("lockstep", "realtime", "virtual")
    assert (fields["seed"].kind, fields["seed"].minimum, fields["seed"].step) == ("number", 0, "1")
    assert (fields["fleet[0].count"].maximum, fields["stop_time"].example) == (10_000_000, "250 ms")
    assert all(field.help for field in fields.values())


def test_what_is_typed_is_read_by_the_loader_of_scenarios() -> None:
    scenario = read_typed(TINY, "", {"seed": "9", "fleet[0].count": "7", "clock": ""})
    assert (scenario.seed, scenario.fleet[0].count, scenario.clock) == (9, 7, "virtual")
    with pytest.raises(InputError, match=r"^scenario:\d+: stop_time: cannot read '20 mins' as a duration"):
        read_typed(TINY.replace("20 min", "20 mins"), "", {})
    with pytest.raises(InputError, match="seed"):
        read_typed(TINY, "", {"seed": "-1"})


def press(page: Page, name: str) -> None:
    """Go to a button with the tab key alone, from where the page is, and press it."""
    for _ in range(60):
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            page.keyboard.press("Enter")
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the tab key does not come to {name}")


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
@pytest.mark.parametrize(("width", "dark"), [(1400, True), (390, False)])
def test_a_run_is_written_started_steered_and_stopped(
    browser: Browser, tmp_path: Path, store_root: Path, width: int, dark: bool
) -> None:
    words = ("ui", tmp_path / "runs", "--store", store_root)
    with (
        started(tmp_path, "ui", *words) as (_, address),
        open_page(browser, address, width=width, dark=dark) as page,
    ):
        page.get_by_role("link", name="A new run").click()
        page.get_by_text("quickstart: 200 devices").wait_for()
        check(page)
        page.get_by_label("The scenario").fill(REAL.replace("count: 10", "count: ten"))
        page.locator("#verdict.bad").filter(
            has_text=re.compile(r"scenario:\d+: fleet\[1\]\.count")
        ).wait_for()
        page.get_by_label("The scenario").fill(REAL)
        page.get_by_label("seed").fill("8")
        page.get_by_text("tiny: 30 devices, 20 min of simulated time, in real time, at speed 20.").wait_for()
        page.get_by_role("button", name="Start the run").press("Enter")
        page.wait_for_url(re.compile("/live/tiny-8-"), timeout=120_000)
        page.get_by_role("button", name="Cut off").wait_for(timeout=200_000)
        page.get_by_label("Devices", exact=True).select_option("phone")
        page.get_by_label("Squeeze to").fill("40")
        press(page, "Squeeze")
        page.get_by_text("squeeze group phone to 40 % of the budget").wait_for(timeout=30_000)
        page.get_by_label("or one").fill("tvbox-99")
        press(page, "Cut off")
        page.get_by_text("device(='tvbox-99') is not one of the fleet").wait_for(timeout=30_000)
        page.get_by_label("or one").fill("tvbox-00002")
        press(page, "Cut off")
        page.get_by_text("cut off tvbox-00002 for 60 s").wait_for(timeout=30_000)
        press(page, "Pause")
        wait_for_status(page, "Paused")
        check(page)
        look_at_one_device(page, is_done=True)
        press(page, "Go on")
        wait_for_status(page, "It runs")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Stop the run").press("Enter")
        page.wait_for_url(re.compile("/run/tiny-8-"), timeout=120_000)
        assert "Stopped by hand at" in page.locator("main").inner_text()
        assert "Steered by hand, 5 deeds." in page.locator("main").inner_text()
        (folder,) = (tmp_path / "runs").glob("tiny-8-*")
    assert [deed.command.kind for deed in read_deeds(folder / DEEDS)] == [
        "squeeze", "cut_off", "pause", "resume", "stop",
    ]  # fmt: skip
    assert read_summary(folder)["steered_by_hand"] == 5


@pytest.mark.slow
def test_runs_wait_for_each_other_and_a_failed_one_says_why(
    browser: Browser, tmp_path: Path, store_root: Path
) -> None:
    words = ("ui", tmp_path / "runs", "--store", store_root)
    with started(tmp_path, "ui", *words) as (_, address), open_page(browser, address) as page:
        for text in (TINY, LOST, TINY):
            page.goto(f"{address}new")
            page.get_by_label("The scenario").fill(text)
            page.locator("#verdict.good").wait_for()
            page.get_by_role("button", name="Start the run").click()
            page.wait_for_url(re.compile("/(started|live|run)/"))
        page.goto(f"{address}started/2")
        page.get_by_text("It ended without results").wait_for(timeout=120_000)
        assert "mqtt://127.0.0.1:1" in page.locator("main").inner_text()
        check(page)
        page.goto(f"{address}started/3")
        page.wait_for_url(re.compile("/run/tiny-5-"), timeout=120_000)
        page.goto(address)
        assert page.locator("tbody tr").count() == 2
        assert "lost, run 2 of this server" in page.locator("main").inner_text()
