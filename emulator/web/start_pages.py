"""The pages on which a run is written, checked as one types, and started."""

from typing import Final

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from emulator.web.live_library import LiveLibrary
from emulator.web.live_pages import posted
from emulator.web.run_queue import RunQueue, StartedRun, read_typed
from emulator.web.scenario_form import form_fields
from emulator.web.templates_of_ui import TEMPLATES
from scenarios.language.load import headline, read, shipped
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.units import format_duration

FIRST: Final = "quickstart"
"""The scenario that the page has at first."""


class TypedScenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the page."""

    text: str
    based_on: str = ""
    changes: dict[str, str] = {}


def start_routes(queue: RunQueue, live: LiveLibrary) -> list[Route]:
    """Return the routes.

    Args:
        queue: starts the runs.
        live: knows the runs under way.
    """
    pages = _StartPages(queue, live)
    return [
        Route("/new", pages.new),
        Route("/new/check", posted(pages.check), methods=["POST"]),
        Route("/new/start", posted(pages.start), methods=["POST"]),
        Route("/started/{number:int}", pages.started),
    ]


class _StartPages:
    def __init__(self, queue: RunQueue, live: LiveLibrary) -> None:
        self._queue = queue
        self._live = live

    async def new(self, request: Request) -> Response:
        """Show the form, with the text of a shipped scenario."""
        files = {path.stem: path for path in shipped()}
        name = request.query_params.get("scenario", FIRST)
        name = name if name in files else FIRST
        page = TEMPLATES.get_template("new.html").render(
            title="A new run", fields=form_fields(), name=name, names=list(files), text=read(files[name]),
            headline=headline(files[name]),
        )  # fmt: skip
        return HTMLResponse(page)

    def check(self, _: Request, body: bytes) -> Response:
        """Say what kind of run the content is, or what is wrong with it: both are answers, not errors."""
        try:
            return JSONResponse({"told": _told(_read(body))})
        except InputError as error:
            return JSONResponse({"error": "\n".join(error.lines)})

    def start(self, _: Request, body: bytes) -> Response:
        """Start the run."""
        begun = self._queue.start(_read(body))
        return JSONResponse({"started": f"/started/{begun.number}"})

    async def started(self, request: Request) -> Response:
        """Lead to the page of a run that was started, or say why it has none yet."""
        try:
            begun = self._queue.find(request.path_params["number"])
        except InputError as error:
            page = TEMPLATES.get_template("mistake.html").render(title="Not here", lines=error.lines)
            return HTMLResponse(page, status_code=404)
        return await run_in_threadpool(self._lead, begun)

    def _lead(self, begun: StartedRun) -> Response:
        if name := begun.run_name():
            return RedirectResponse(f"/run/{name}", status_code=303)
        process = begun.process
        for run in self._live.running():
            if process is not None and run.state.pid == process.pid:
                return RedirectResponse(f"/live/{run.name}", status_code=303)
        failure, ahead = begun.failure(), self._queue.ahead_of(begun)
        page = TEMPLATES.get_template("started.html").render(
            title=f"{begun.title}: run {begun.number} of this server", failure=failure, ahead=ahead
        )
        return HTMLResponse(page)


def _read(body: bytes) -> Scenario:
    try:
        typed = msgspec.json.decode(body, type=TypedScenario)
    except msgspec.DecodeError as error:
        raise InputError(str(error)) from None
    return read_typed(typed.text, typed.based_on, typed.changes)


def _told(scenario: Scenario) -> str:
    """Return a scenario in one sentence."""
    devices = sum(group.count for group in scenario.fleet)
    share = "" if scenario.sample is None else f", of which {100 * scenario.sample:g} % are simulated"
    pace = {
        "virtual": "as fast as possible",
        "lockstep": "as fast as possible, through a broker",
        "realtime": f"in real time, at speed {scenario.realtime.speed:g}",
    }[scenario.clock]
    stop = format_duration(scenario.stop_time)
    return f"{scenario.name}: {devices:,} devices{share}, {stop} of simulated time, {pace}."
