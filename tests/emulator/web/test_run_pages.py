"""``peelfleet ui`` in a real browser: from the list of runs to one device, and side by side."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from emulator.sweep.run_sweep import SweepObserver, SweepOptions, run_sweep
from emulator.web.run_library import RunLibrary
from scenarios.language.load import parse
from scenarios.language.sweep_expansion import load_plan
from tests.emulator.scenarios import TINY
from tests.emulator.web.browser import open_browser, open_page
from wire.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of one fleet under two policies, a sweep, and a run that is damaged."""
    root = tmp_path_factory.mktemp("ui")
    store = root / "stores"
    for hysteresis in ("0 %", "50 %"):
        text = f"{TINY}\nupdates: {{hysteresis: {hysteresis}}}\n" if "updates:" not in TINY else TINY
        scenario = parse(text.replace("clock: lockstep", "clock: virtual"), "tiny.yaml")
        run(scenario, RunOptions(out=root / "runs", store=store), RunObserver())
    (root / "tiny.yaml").write_text(TINY)
    plan = load_plan(root / "tiny.yaml", ["clock=virtual"], ["updates.headroom=0 %,20 %"], (1, 2))
    run_sweep(plan, SweepOptions(out=root / "runs" / "headroom", store=store), SweepObserver())
    (root / "runs" / "damaged").mkdir()
    (root / "runs" / "damaged" / "summary.json").write_text("{")
    return root / "runs"


def test_the_library_lists_runs_and_sweeps_and_nothing_outside(folder: Path) -> None:
    library = RunLibrary(folder)
    names = [listed.name for listed in library.runs()]
    assert sum("/" not in name for name in names) == 2
    assert sum(name.startswith("headroom/") for name in names) == 4
    assert library.sweeps() == ["headroom"]
    for name in ("../stores", "/etc", "damaged/..", "none"):
        with pytest.raises(InputError, match=r"run\(=.*\) is not below"):
            library.run_folder(name)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module")
def address(folder: Path, browser: Browser) -> Iterator[str]:
    command = [sys.executable, "-m", "emulator.cli", "ui", str(folder), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    (found,) = re.findall(r"ui: (http://\S+)", process.stdout.readline())
    yield found
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in printed) == (0, False), printed


def check(page: Page) -> None:
    """Check that everybody can use the page, and that it fits its width."""
    violations = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]][:2]) for each in violations] == []
    width = page.viewport_size
    assert width is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= width["width"]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)])
def test_from_the_fleet_to_one_device(browser: Browser, address: str, width: int, dark: bool) -> None:
    with open_page(browser, address, width=width, dark=dark) as page:
        assert page.locator("tbody tr").count() == 6
        check(page)
        page.locator("tbody th a").first.click()
        page.get_by_role("heading", name="Groups of the fleet").wait_for()
        check(page)
        with page.expect_download() as download:
            page.get_by_role("link", name="the groups as CSV").click()
        groups = download.value.path().read_text().splitlines()
        assert groups[0].startswith("group,quality_ratio_to_full,")
        page.get_by_role("region", name="Groups of the fleet").get_by_role("link").first.click()
        page.get_by_role("region", name="Devices").wait_for()
        check(page)
        page.locator("tbody th a").first.click()
        page.locator("#quality-plot .main-svg").first.wait_for()
        assert page.get_by_text("It was never above it.").count() == 1
        check(page)


@pytest.mark.slow
def test_runs_and_sweeps_side_by_side(browser: Browser, address: str) -> None:
    with open_page(browser, address) as page:
        alone = page.locator("tbody tr").filter(has_not_text="headroom")
        for number in range(2):
            alone.nth(number).get_by_role("checkbox").check()
        page.get_by_role("button", name="Compare the chosen runs").click()
        assert " against " in page.locator("h2").first.inner_text()
        assert "pairs of devices" in page.locator("main").inner_text()
        assert page.locator("tbody th").first.inner_text() == "ndcg_at_10"
        check(page)
        page.goto(address)
        page.get_by_role("link", name="headroom", exact=True).click()
        page.locator("#metric-0-plot .main-svg").first.wait_for()
        assert page.locator(".plot").count() == 5
        check(page)


@pytest.mark.slow
def test_a_report_is_shown_as_it_is_and_a_wrong_name_is_one_line(browser: Browser, address: str) -> None:
    with open_page(browser, address) as page:
        page.locator("tbody th a").first.click()
        page.get_by_role("link", name="The report").click()
        page.locator(".main-svg").first.wait_for()
        page.goto(address + "run/none")
        assert "run(='none') is not below" in page.locator("main").inner_text()
