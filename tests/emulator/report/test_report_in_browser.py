"""The report of a run in a real browser: read by everybody, at any width, on paper, by keyboard alone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from emulator.report.page import write_report
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from scenarios.language.load import load
from tests.emulator.web.browser import open_browser, open_page

ROOT = Path(__file__).parents[3]
PAPER_PX = 703
"""Width of an A4 page without its margins."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with a rollout, actions, costs and broken thresholds."""
    folder = tmp_path_factory.mktemp("report")
    changes = [
        "clock=virtual", "fleet[0].count=40", "fleet[1].count=20", "thresholds.wasted_share=[value<0]",
        "prices={currency: EUR, per_gb_down: 9, per_million_messages: 1}",
    ]  # fmt: skip
    scenario = load(ROOT / "scenarios" / "rollout-under-pressure.yaml", changes)
    finished = run(scenario, RunOptions(out=folder / "runs", store=folder / "store"), RunObserver())
    return write_report(finished.folder).as_uri()


def check(page: Page) -> None:
    """Check that everybody can read the page, and that nothing is wider than it."""
    violations = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]][:2]) for each in violations] == []
    width = page.viewport_size
    assert width is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= width["width"]


def open_all(page: Page) -> None:
    page.get_by_role("button", name="Open all").click()
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (390, False), (390, True)])
def test_everybody_can_read_it(browser: Browser, address: str, width: int, dark: bool) -> None:
    with open_page(browser, address, width=width, dark=dark) as page:
        page.locator("#quality-plot .main-svg").first.wait_for()
        check(page)
        open_all(page)
        check(page)
        assert page.locator(".verdict").inner_text().startswith("Broken: 1 of 3 thresholds did not hold.")
        texts = [plot.get_attribute("aria-label") for plot in page.locator(".plot").all()]
        assert all(text and len(text) > 60 for text in texts)
        assert page.locator(".plot").count() == 7


@pytest.mark.slow
def test_on_paper_everything_is_there_and_no_column_is_cut(browser: Browser, address: str) -> None:
    with open_page(browser, address, width=PAPER_PX) as page:
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        for name in ("rollout", "faults", "costs", "devices", "elasticity", "pressure", "splits"):
            assert page.locator(f"#{name}").is_visible(), name
        assert not page.locator("#keys").is_visible()
        drawn = page.locator(".plot:visible .main-svg:first-child")
        assert page.locator(".plot:visible").count() == drawn.count() == 7
        check(page)
        cut = (
            "(all) => all.filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.ariaLabel)"
        )
        assert page.locator(".scroll:visible").evaluate_all(cut) == []
        assert drawn.evaluate_all("(all) => Math.max(...all.map((each) => each.clientWidth))") < PAPER_PX
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.emulate_media(media="screen")
        assert not page.locator("#devices").evaluate("(section) => section.open")
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


@pytest.mark.slow
def test_the_keyboard_alone_suffices(browser: Browser, address: str) -> None:
    """Contents, folds, words, views of a chart, its file, dimensions and the search of keys."""
    with open_page(browser, address) as page:
        page.locator("#quality-plot .main-svg").first.wait_for()

        def press_on(selector: str, key: str) -> None:
            """Go on with Tab until the element has the focus, and press *key*."""
            for _ in range(200):
                page.keyboard.press("Tab")
                if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                    page.keyboard.press(key)
                    return
            raise AssertionError(f"Tab never came to {selector}")

        press_on("button.term", "Enter")
        assert page.locator(".word:popover-open").inner_text().startswith("NDCG@10: measures of the ten")
        page.keyboard.press("Escape")
        press_on("#quality-view", "ArrowDown")
        assert page.locator("#quality-view").input_value() == "1"
        press_on('.contents a[href="#splits"]', "Enter")
        assert page.locator("#splits").evaluate("(section) => section.open")
        press_on("#split-by", "ArrowDown")
        assert page.locator(".split:visible h3").inner_text() == "node"
        press_on("#keys > summary", "Enter")
        press_on("#keys input", "o")
        page.keyboard.type("ver_budget max")
        assert page.locator("#keys tbody tr:visible th").all_inner_texts() == ["over_budget_bytes_max"]
        assert re.fullmatch(r"1 of \d+", page.locator("#keys .found").inner_text())
        press_on("#scenario > summary", "Enter")
        assert page.locator("#scenario pre").is_visible()
    with open_page(browser, address) as page:
        page.locator("#quality-plot .main-svg").first.wait_for()
        page.locator('button[data-save="svg"]').first.focus()
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        assert download.value.suggested_filename == "quality.svg"
