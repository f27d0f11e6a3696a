"""Runs under way in a real browser: live figures under each clock, a second tab, a server killed and back."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.emulator.scenarios import TINY
from tests.emulator.web.browser import open_browser, open_page
from tests.emulator.web.test_run_pages import check

pytestmark = pytest.mark.slow

FLEET = TINY.replace("count: 20", "count: 600").replace("stop_time: 20 min", "stop_time: 3 h\nengine: simpy")
"""Simulated for some seconds: long enough to be watched."""

LOCKSTEP = TINY.replace("clock: virtual", "clock: lockstep\nbroker: amqtt").replace("20 min", "2 h")
"""The same through a broker: a small fleet takes as long."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@contextmanager
def started(folder: Path, word: str, *words: str | Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Yield a command that shows a page, and the page's address; interrupt it at the end of the block."""
    command = [sys.executable, "-m", "emulator.cli", *map(str, words), "--no-browser"]
    with (folder / f"{word}.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            log.write(line)
            if found := re.findall(rf"{word}: (http://\S+)", line):
                (address,) = found
                break
        assert address, (folder / f"{word}.log").read_text()
        try:
            yield process, address
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=60)
            assert "Traceback" not in printed


def wait_for_status(page: Page, text: str) -> None:
    page.locator("#status").filter(has_text=text).wait_for(timeout=90_000)


def look_at_one_device(page: Page, *, is_done: bool) -> None:
    """Go from the live page to a device and back; the devices of a small virtual run are done at its end."""
    page.get_by_label("Its id").fill("tvbox-00003")
    page.get_by_label("Its id").press("Enter")
    if is_done:
        page.locator("#quality-plot .main-svg").first.wait_for()
        assert "It was never above it." in page.locator("main").inner_text()
        assert page.get_by_role("region", name="Exchanges").locator("tbody tr").count() > 1
    else:
        assert "are simulated together, and are not done yet" in page.locator("main").inner_text()
    check(page)
    page.go_back()
    wait_for_status(page, "Paused")


@pytest.mark.parametrize(
    ("scenario", "width", "dark"), [(FLEET, 1400, False), (FLEET, 390, True), (LOCKSTEP, 390, False)]
)
def test_a_run_is_watched_paused_and_read_when_it_is_over(
    browser: Browser, tmp_path: Path, store_root: Path, scenario: str, width: int, dark: bool
) -> None:
    (tmp_path / "tiny.yaml").write_text(scenario)
    words = ("run", tmp_path / "tiny.yaml", "--web", "--out", tmp_path / "runs", "--store", store_root)
    with (
        started(tmp_path, "web", *words) as (_, address),
        open_page(browser, address, width=width, dark=dark) as page,
    ):
        page.locator("#tiles div").first.wait_for(timeout=90_000)
        assert "/live/tiny-5-" in page.url
        page.get_by_role("button", name="Pause").press("Enter")
        wait_for_status(page, "Paused")
        check(page)
        page.wait_for_timeout(3_000)  # what was under way when it was paused is shown now
        reached = page.locator("#bar").get_attribute("aria-valuenow")
        assert page.locator("#groups th").all_inner_texts() == ["phone", "tvbox"]
        assert page.get_by_role("img", name=re.compile("Devices online")).count() == 1
        look_at_one_device(page, is_done=scenario == LOCKSTEP)
        with open_page(browser, page.url) as second:  # it sees the same
            wait_for_status(second, "Paused")
            assert second.locator("#bar").get_attribute("aria-valuenow") == reached
            second.get_by_role("button", name="Go on").press("Enter")
        wait_for_status(page, "It runs")
        page.wait_for_url(re.compile("/run/tiny-5-"), timeout=120_000)
        page.get_by_role("heading", name="Groups of the fleet").wait_for()
        check(page)


def test_a_run_is_stopped_and_its_page_says_so(browser: Browser, tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(FLEET)
    run = [sys.executable, "-m", "emulator.cli", "run", str(tmp_path / "tiny.yaml"), "--watched", "--store"]
    process = subprocess.Popen(
        [*run, str(store_root), "--out", str(tmp_path / "runs")], stderr=subprocess.DEVNULL
    )
    with started(tmp_path, "ui", "ui", tmp_path / "runs") as (server, address):
        port = address.rpartition(":")[2].strip("/")
        with open_page(browser, f"{address}live") as page:
            page.locator("#tiles div").first.wait_for(timeout=90_000)
            server.kill()
            wait_for_status(page, "The server does not answer")
            with started(tmp_path, "ui", "ui", tmp_path / "runs", "--port", port):
                wait_for_status(page, "It runs")
                page.once("dialog", lambda dialog: dialog.accept())
                page.get_by_role("button", name="Stop the run").press("Enter")
                wait_for_status(page, "It ended without results: stopped")
                assert page.locator("#steering").is_hidden()
                check(page)
                page.goto(address)
                assert "ended without results" in page.locator("main").inner_text()
    assert process.wait(60) == 130
