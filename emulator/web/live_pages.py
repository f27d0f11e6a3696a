"""The pages of runs under way: live figures as server-sent events, and commands to the runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from emulator.live.device_rows import read_device_rows
from emulator.live.live_folder import LiveCommand
from emulator.web.device_charts import history_from
from emulator.web.live_library import LiveLibrary
from emulator.web.templates_of_ui import answer_with, show_page
from wire.errors import InputError
from wire.units import NS_PER_S

LOOK_EVERY_S: Final = 0.5
SPEAK_EVERY_S: Final = 3.0
"""A page hears the server at least so often: then it knows that the server is there."""
MOST_BODY_BYTES: Final = 2**20


def live_routes(library: LiveLibrary) -> list[Route]:
    """Return the routes.

    Args:
        library: the runs under way.
    """
    pages = _LivePages(library)
    return [
        Route("/live", pages.newest),
        Route("/live/{name}", pages.page),
        Route("/live/{name}/events", pages.events),
        Route("/live/{name}/device", answer_with(pages.device)),
        Route("/live/{name}/commands", posted(pages.command), methods=["POST"]),
    ]


def posted(action: Callable[[Request, bytes], Response]) -> Callable[[Request], Any]:
    """Return an endpoint that does *action* with the JSON that a page of ours has posted.

    A form of another page cannot send JSON, even from a browser that names no origin.
    """

    async def endpoint(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return JSONResponse({"error": "the content must be application/json"}, status_code=415)
        if int(request.headers.get("content-length", MOST_BODY_BYTES + 1)) > MOST_BODY_BYTES:
            return JSONResponse({"error": f"more than {MOST_BODY_BYTES} bytes"}, status_code=413)
        try:
            return await run_in_threadpool(action, request, await request.body())
        except InputError as error:
            return JSONResponse({"error": "\n".join(error.lines)}, status_code=400)

    return endpoint


class _LivePages:
    def __init__(self, library: LiveLibrary) -> None:
        self._library = library

    async def newest(self, _: Request) -> Response:
        """Lead to the run that has begun last, as soon as there is one."""
        running = [run for run in await run_in_threadpool(self._library.running) if run.status == "running"]
        if running:
            return RedirectResponse(f"/live/{running[0].name}", status_code=303)
        return show_page("waiting.html", title="The run begins")

    async def page(self, request: Request) -> Response:
        """Show a run; its figures come as events."""
        name = request.path_params["name"]
        return show_page("live.html", title=name, name=name)

    def device(self, request: Request) -> Response:
        """Show one device up to now; once the run is over, lead to the page that stays."""
        name, device = request.path_params["name"], request.query_params.get("device", "").strip()
        run = self._library.live_folder(name).path.parent
        if not run.is_dir():
            return RedirectResponse(f"/device/{quote(name)}?device={quote(device)}", status_code=303)
        tables = read_device_rows(run, device)
        # Rows may be newer than the state, which is written once a second.
        until_s = max(self._library.time_of(name), int(tables["quality"]["t_ns"][-1]) / NS_PER_S)
        history = history_from(device, tables, until_s, newest=True)
        return show_page(
            "device.html", title=f"{device} of {name}", name=name, history=history, under_way=True
        )

    async def events(self, request: Request) -> Response:
        """Send the state of a run again and again."""
        name = request.path_params["name"]
        try:
            self._library.live_folder(name)
        except InputError as error:
            return JSONResponse({"error": str(error)}, status_code=404)
        return StreamingResponse(
            self._messages(name, request.app.state),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    async def _messages(self, name: str, server: State) -> AsyncIterator[bytes]:
        last, spoken_s = b"", 0.0
        while not getattr(server, "is_ending", False):
            message = await run_in_threadpool(self._library.message, name)
            now_s = time.monotonic()
            if message != last or now_s - spoken_s >= SPEAK_EVERY_S:
                last, spoken_s = message, now_s
                yield b"data: " + message + b"\n\n"
            await asyncio.sleep(LOOK_EVERY_S)

    def command(self, request: Request, body: bytes) -> Response:
        """Pass a command on to a run."""
        folder = self._library.live_folder(request.path_params["name"])
        try:
            command = msgspec.json.decode(body, type=LiveCommand)
        except msgspec.DecodeError as error:
            raise InputError(str(error)) from None
        folder.send(command)
        return JSONResponse({"taken": True})
