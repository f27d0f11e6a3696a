"""The page beside a command: the options of its server, and the server while the command works."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from emulator.cli.options import WEB_MODULES
from wire.extras import needs_extra

Port = Annotated[int | None, typer.Option(min=1, max=65_535, help="The port of the page; else a free one.")]
OpenBrowser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")]

Web = Annotated[
    bool, typer.Option("--web", help="Show the run in the browser while it lasts, and steer it there.")
]
Watched = Annotated[
    bool, typer.Option("--watched", help="Let `peelfleet ui` show the run while it lasts, and steer it.")
]


@contextmanager
def page_of_runs(wanted: bool, folder: Path, port: int | None, *, opens_browser: bool) -> Iterator[None]:
    """Serve the runs below *folder* while the block runs, if *wanted*, and then until a signal comes."""
    if not wanted:
        yield
        return
    with needs_extra("web", WEB_MODULES, "run --web"):
        from emulator.web.serve import LOOPBACK, listening_socket, serving
        from emulator.web.ui_app import ui_app
    from emulator.web.run_library import RunLibrary
    from emulator.web.run_queue import RunQueue

    app = ui_app(RunLibrary(folder), RunQueue(folder), (LOOPBACK, "localhost"))
    with (
        listening_socket(port) as listener,
        serving(app, listener, _show, opens_browser=opens_browser, path="live"),
    ):
        yield
        typer.echo("the page stays until Ctrl-C", err=True)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


def run_options(store: Path | None, data: Path | None) -> list[str]:
    """Return the options for runs that a page starts."""
    options = {"--store": store, "--data": data}
    return [word for name, path in options.items() if path for word in (name, str(path.resolve()))]


def _show(address: str) -> None:
    typer.echo(f"web: {address}", err=True)
