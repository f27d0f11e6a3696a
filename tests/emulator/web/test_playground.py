"""The playground in a real browser: a device that lives in the page, squeezed, cut off and back."""

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from devices.recommender.pee_file import recommend
from emulator.cli.pee import cut_pee
from emulator.cli.play import playground_file
from emulator.simulation.model_cache import PreparedModel, prepare_model
from scenarios.language.load import load
from tests.emulator.web.browser import open_browser, open_page
from wire.units import Bytes

pytestmark = pytest.mark.slow

SETTLED = """() => {
  const page = window.playground;
  return page && page.isConnected && !page.connection.scheduler.awaitsAnswer && page.device.layer > 0
    && page.connection.scheduler.dueMs === Infinity;
}"""
WATCH = """() => {
  const page = window.playground, show = page.show.bind(page);
  window.above = 0;
  page.show = () => { if (page.device.residentBytes > page.budget) window.above += 1; show(); };
}"""


@dataclass(frozen=True)
class Server:
    """A running `peelfleet play`."""

    process: "subprocess.Popen[str]"
    address: str


def start(port: int | None = None) -> Server:
    command = [sys.executable, "-m", "emulator.cli", "play", "--no-browser"]
    command += ["--port", str(port)] if port else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"playground: (http://\S+)", line):
            return Server(process, found[1])
    raise AssertionError(f"play ended with {process.wait()}")


def stop(server: Server) -> int:
    server.process.send_signal(signal.SIGINT)
    printed, _ = server.process.communicate(timeout=30)
    assert "Traceback" not in printed, printed
    return server.process.returncode


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module")
def server(browser: Browser) -> Iterator[Server]:
    running = start()
    yield running
    assert stop(running) == 0


@pytest.fixture(scope="module")
def model() -> PreparedModel:
    scenario = load(playground_file(), ())
    return prepare_model(scenario.data, scenario.model, None, lambda *_: None)


def device(page: Page) -> dict[str, Any]:  # Any: JSON
    """Return the state of the page's device, and its list."""
    found: dict[str, Any] = page.evaluate(
        "() => { const {device, person, budget, shown} = window.playground; return {user: person.user,"
        " budget, layer: device.layer, held: device.residentBytes, shown, above: window.above}; }"
    )
    return found


def drag(page: Page, position: int) -> None:
    page.locator("#memory").fill(str(position))


def best(model: PreparedModel, user: int, budget_bytes: int) -> list[int]:
    """Return the numbers of the items that `peelfleet recommend` prints for a PEE of that budget."""
    names = {name: number for number, name in enumerate(model.interactions.item_ids)}
    return [names[each.item] for each in recommend(cut_pee(model, user, Bytes(budget_bytes)), 10)]


def test_memory_is_squeezed_and_comes_back(browser: Browser, server: Server, model: PreparedModel) -> None:
    with open_page(browser, server.address) as page:
        page.wait_for_function(SETTLED)
        page.evaluate(WATCH)
        before = device(page)
        assert before["shown"] == best(model, before["user"], before["budget"])

        page.get_by_role("button", name="Squeeze memory").click()
        squeezed = device(page)
        assert squeezed["budget"] == pytest.approx(before["budget"] / 4, rel=0.01)
        assert squeezed["held"] <= squeezed["budget"]  # at once, before the cloud has said a word
        page.wait_for_function(SETTLED)
        squeezed = device(page)
        assert squeezed["shown"] == best(model, squeezed["user"], squeezed["budget"])

        for position in (100, 950, 300, 700):
            drag(page, position)
            page.wait_for_function(SETTLED)
        after = device(page)
        assert (after["layer"], after["shown"]) == (before["layer"], before["shown"])
        assert after["above"] == 0
        assert page.locator("#top li").count() == 10
        page.wait_for_function("() => document.querySelectorAll('#fleet i').length > 30")


def test_trouble_comes_and_goes(browser: Browser, server: Server, model: PreparedModel) -> None:
    with open_page(browser, server.address) as page, open_page(browser, server.address, width=390) as other:
        for tab in (page, other):
            tab.wait_for_function(SETTLED)
        assert page.evaluate("playground.account.name") != other.evaluate("playground.account.name")

        page.get_by_role("button", name="Cut the link").click()
        page.wait_for_function("() => !window.playground.isConnected")
        drag(page, 200)
        assert device(page)["held"] <= device(page)["budget"]
        drag(page, 900)
        page.get_by_role("button", name="Mend the link").click()
        page.wait_for_function(SETTLED)

        page.get_by_role("button", name="Kill the cloud").click()
        page.wait_for_timeout(300)
        drag(page, 960)
        other.locator("#memory").fill("960")
        page.wait_for_timeout(500)
        assert device(page)["layer"] > 0  # it recommends with what it holds
        page.get_by_role("button", name="Start the cloud").click()
        page.get_by_role("button", name="New user").click()
        for tab in (page, other):
            tab.wait_for_function(SETTLED)
            found = device(tab)
            assert found["shown"] == best(model, found["user"], found["budget"])

        page.get_by_role("button", name="Lose messages").click()
        for position in (100, 800, 200, 900, 500, 700):
            drag(page, position)
            page.wait_for_timeout(100)
        page.get_by_role("button", name="Lose no messages").click()
        page.wait_for_function(SETTLED)
        assert device(page)["shown"] == best(model, device(page)["user"], device(page)["budget"])


def test_a_page_outlives_its_server(browser: Browser) -> None:
    first = start()
    with open_page(browser, first.address) as page:
        page.wait_for_function(SETTLED)
        first.process.kill()
        first.process.communicate()
        page.wait_for_function("() => !window.playground.isConnected")
        assert device(page)["layer"] > 0
        page.get_by_text("The server does not answer").wait_for()
        second = start(int(first.address.rstrip("/").rpartition(":")[2]))
        page.reload()
        page.wait_for_function(SETTLED)
    assert stop(second) == 0


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)])
def test_the_page_is_for_everybody(browser: Browser, server: Server, width: int, dark: bool) -> None:
    with open_page(browser, server.address, width=width, dark=dark) as page:
        page.wait_for_function(SETTLED)
        results = Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]][:2]) for each in results] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.keyboard.press("Tab")  # the link over the page's head
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") != "memory":
            page.locator("#memory").focus()
        budget = device(page)["budget"]
        for _ in range(40):
            page.keyboard.press("ArrowLeft")
        assert device(page)["budget"] < budget
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert device(page)["budget"] == pytest.approx(200, abs=budget / 2)


def test_pages_of_other_sites_are_refused(server: Server) -> None:
    for headers in ({"Origin": "http://example.org"}, {"Host": "example.org"}):
        asked = urllib.request.Request(server.address + "devices", method="POST", headers=headers)
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(asked)
        assert refusal.value.code == 403
        refusal.value.close()
