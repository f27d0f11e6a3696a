"""A headless Chromium for tests of pages; they skip where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run Chromium while the block runs; skip the test where it is not installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("chromium is not installed: pages cannot be tested")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, address: str, *, width: int = 1400, dark: bool = False) -> Iterator[Page]:
    """Open a page while the block runs; an error of its scripts, or on its console, fails the test."""
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.goto(address)
    yield page
    page.close()
    # A server that is killed, and a page that is not there, are part of some stories.
    told = ("net::ERR", "WebSocket", "status of 404")
    assert [line for line in complaints if not any(word in line for word in told)] == []
