"""``make docs-terminal``: the picture of a terminal in the README, docs/terminal.svg.

It shows what `peelfleet run quickstart` prints on a terminal of 80 columns. Only the run's folder is changed.
"""

import os
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ("run", "quickstart", "--clock", "virtual")
PICTURE = Path(__file__).parents[1] / "docs" / "terminal.svg"
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Fonts that rich loads from elsewhere; without them the reader's own is used."""


def printed_text(folder: Path) -> str:
    """Return the output of the command, with its colours."""
    environment = os.environ | {"COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run(
        [sys.executable, "-m", "emulator.cli", *COMMAND, "--out", str(folder)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    return re.sub(rf"{re.escape(str(folder))}/quickstart-1-\w+", "runs/quickstart-1", done.stdout)


def main() -> int:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        text = printed_text(Path(folder))
    console = Console(record=True, width=80, file=StringIO())
    console.print(Text(f"$ peelfleet {' '.join(COMMAND)}", style="bold"))
    console.print(Text.from_ansi(text))
    PICTURE.write_text(FONT.sub("", console.export_svg(title="peelfleet", unique_id="peelfleet")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
