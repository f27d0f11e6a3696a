"""``peelfleet ui``: the runs of a folder in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from emulator.cli.options import WEB_MODULES, Data, Store
from emulator.cli.web_page import OpenBrowser, Port, run_options
from wire.errors import InputError
from wire.extras import needs_extra


def ui(
    runs: Annotated[Path, typer.Argument(help="The folder with runs and sweeps.")] = Path("runs"),
    port: Port = None,
    browser: OpenBrowser = True,
    host: Annotated[
        str, typer.Option(help="The address to listen on; pages from other machines need a token.")
    ] = "127.0.0.1",
    data: Data = None,
    store: Store = None,
) -> None:
    """Read runs in the browser, from fleet to group to device and side by side; watch those under way."""
    with needs_extra("web", WEB_MODULES, "ui"):
        from emulator.web.serve import LOOPBACK, listening_socket, serve, token_for
        from emulator.web.ui_app import ui_app
    from emulator.web.run_library import RunLibrary
    from emulator.web.run_queue import RunQueue

    if runs.exists() and not runs.is_dir():
        raise InputError(f"{runs}: must be a folder")
    token, queue = token_for(host), RunQueue(runs, run_options(store, data))
    with listening_socket(port, host) as listener:
        serve(
            ui_app(RunLibrary(runs), queue, (LOOPBACK, "localhost", host), token),
            listener,
            lambda address: typer.echo(f"ui: {address}  (Ctrl-C ends it)"),
            opens_browser=browser,
            path="" if token is None else f"?token={token}",
        )
    if going := queue.under_way():
        typer.echo(f"ui: {going} {'run goes' if going == 1 else 'runs go'} on; `peelfleet ui` shows it again")
