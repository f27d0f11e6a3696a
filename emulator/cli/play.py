"""``peelfleet play``: a device in the browser, on a broker and a cloud of its own."""

from pathlib import Path
from typing import Annotated

import typer

from emulator.cli.options import WEB_MODULES, Store
from emulator.cli.terminal import RunDisplay
from emulator.simulation.model_cache import prepare_model, resolve_data
from scenarios.language.load import load, located
from wire.extras import needs_extra

SCENARIO = "playground"


def play(
    scenario: Annotated[
        Path | None,
        typer.Argument(help="The fleet beside your device; else a small one.", show_default=False),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="The port of the page; else a free one.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    store: Store = None,
) -> None:
    """Play with a device in the browser: drag its memory, and watch what it holds and recommends.

    A broker, a cloud and a small fleet run on this machine until you press Ctrl-C. Nothing is downloaded.
    """
    with needs_extra("web", WEB_MODULES, "play"):
        from emulator.web.playground_app import playground_app
        from emulator.web.serve import LOOPBACK, listening_socket, serve
    from emulator.web.playground import open_playground
    from emulator.web.playground_world import PlaygroundWorld

    file = scenario or playground_file()
    resolved = load(file, ["clock=realtime"])
    with listening_socket(port) as listener:
        with RunDisplay() as display:
            data = resolve_data(resolved.data, None)
            model = prepare_model(data, resolved.model, store, display.on_training)
        with open_playground(resolved, file, model) as playground:
            app = playground_app(playground, PlaygroundWorld(data, model), (LOOPBACK, "localhost"))
            serve(
                app,
                listener,
                lambda address: typer.echo(f"playground: {address}  (Ctrl-C ends it)"),
                opens_browser=browser,
            )


def playground_file() -> Path:
    """Return the scenario file of the small fleet."""
    return located(Path(SCENARIO))
