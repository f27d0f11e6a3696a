"""``make docs-playground``: the moving picture of the playground, docs/playground.gif.

A headless Chromium opens the page, squeezes its memory and gives it back; each step is a picture.
"""

import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURE = Path(__file__).parents[1] / "docs" / "playground.gif"
WIDTH, HEIGHT = 1180, 760
STEPS = (700, 700, 560, 420, 280, 150, 40, 40, 200, 400, 600, 800, 950, 950)
"""Places of the slider, of 1000."""
STEP_MS = 650


def record(page: Page) -> list[Image.Image]:
    """Return a picture after each step."""
    pictures = []
    for step in STEPS:
        page.locator("#memory").fill(str(step))
        page.wait_for_timeout(STEP_MS)
        picture = Image.open(BytesIO(page.screenshot()))
        pictures.append(picture.convert("RGB").resize((WIDTH * 3 // 4, HEIGHT * 3 // 4)).quantize(128))
    return pictures


def main() -> int:
    """Write the picture."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("chromium is not installed", file=sys.stderr)
        return 2
    command = [sys.executable, "-m", "emulator.cli", "play", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "playground: " in line)
        (address,) = re.findall(r"http://\S+", line)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
            page.goto(address)
            page.wait_for_timeout(12_000)  # the fleet beside it wakes up
            first, *rest = record(page)
            browser.close()
        process.terminate()
    first.save(PICTURE, save_all=True, append_images=rest, duration=STEP_MS, loop=0, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
