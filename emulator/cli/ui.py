"""``peelfleet ui``: the runs of a folder in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from emulator.cli.options import WEB_MODULES
from wire.errors import InputError
from wire.extras import needs_extra


def ui(
    runs: Annotated[Path, typer.Argument(help="The folder with runs and sweeps.")] = Path("runs"),
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="The port of the page; else a free one.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Read finished runs in the browser: from fleet to group to device, and side by side."""
    with needs_extra("web", WEB_MODULES, "ui"):
        from emulator.web.run_pages import runs_app
        from emulator.web.serve import LOOPBACK, listening_socket, serve
    from emulator.web.run_library import RunLibrary

    if runs.exists() and not runs.is_dir():
        raise InputError(f"{runs}: must be a folder")
    with listening_socket(port) as listener:
        serve(
            runs_app(RunLibrary(runs), (LOOPBACK, "localhost")),
            listener,
            lambda address: typer.echo(f"ui: {address}  (Ctrl-C ends it)"),
            opens_browser=browser,
        )
