"""The application of ``peelfleet ui``: runs that have ended, runs under way, and new runs."""

from starlette.applications import Starlette
from starlette.middleware import Middleware

from emulator.web.guard import OwnPagesOnly
from emulator.web.live_library import LiveLibrary
from emulator.web.live_pages import live_routes
from emulator.web.run_library import RunLibrary
from emulator.web.run_pages import run_routes
from emulator.web.run_queue import RunQueue
from emulator.web.start_pages import start_routes


def ui_app(
    library: RunLibrary, queue: RunQueue, hosts: tuple[str, ...], token: str | None = None
) -> Starlette:
    """Return the application.

    Args:
        library: the runs.
        queue: starts new ones.
        hosts: host names of the server.
        token: pages need it; None: they come from this machine.
    """
    live = LiveLibrary(library.folder)
    return Starlette(
        routes=[*live_routes(live), *start_routes(queue, live), *run_routes(library, live, queue)],
        middleware=[Middleware(OwnPagesOnly, hosts=hosts, token=token)],
    )
