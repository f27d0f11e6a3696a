"""The web application of the playground: its page, what the page asks for, and the bridge to the broker."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from emulator.web.fleet_watch import FleetWatch
from emulator.web.guard import OwnPagesOnly
from emulator.web.mqtt_bridge import bridge
from emulator.web.playground import FLEET, Playground
from emulator.web.playground_world import PlaygroundWorld
from wire.errors import RunError
from wire.topics import Role

LOG = logging.getLogger("peelfleet.play")
PAGES: Final = Path(__file__).parent / "pages"
CLIENT: Final = Path(__file__).parents[2] / "clients" / "js" / "src"
CHECK_EVERY_S: Final = 0.5


def playground_app(playground: Playground, world: PlaygroundWorld, hosts: tuple[str, ...]) -> Starlette:
    """Return the application.

    Args:
        playground: broker, cloud and fleet.
        world: the model and its users.
        hosts: host names of the server.
    """
    endpoint = playground.broker.endpoint
    watch = FleetWatch(endpoint.connection(Role.OBSERVER, "playground-watch"), FLEET)

    async def page(_: Request) -> Response:
        return FileResponse(PAGES / "playground.html")

    async def describe(_: Request) -> Response:
        return JSONResponse(world.describe())

    async def user(request: Request) -> Response:
        number = int(request.path_params["number"])
        if number not in world.users:
            raise HTTPException(404, f"user {number} is not one of the page's")
        return JSONResponse(await run_in_threadpool(world.user, number))

    async def new_device(_: Request) -> Response:
        return JSONResponse(playground.new_device())

    async def cloud(request: Request) -> Response:
        wanted = bool((await request.json())["running"])
        await run_in_threadpool(playground.start_cloud if wanted else playground.kill_cloud)
        return JSONResponse({"running": playground.cloud_is_wanted})

    async def fleet(_: Request) -> Response:
        return StreamingResponse(watch.events(), media_type="text/event-stream")

    async def mqtt(websocket: WebSocket) -> None:
        await bridge(websocket, endpoint.host, endpoint.port)

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(watch.run()), tasks.create_task(_keep_running(playground.check))]
            yield
            for task in background:
                task.cancel()

    return Starlette(
        routes=[
            Route("/", page),
            Route("/world.json", describe),
            Route("/users/{number:int}.json", user),
            Route("/devices", new_device, methods=["POST"]),
            Route("/cloud", cloud, methods=["POST"]),
            Route("/fleet", fleet),
            WebSocketRoute("/mqtt", mqtt),
            Mount("/client", StaticFiles(directory=CLIENT)),
            Mount("/pages", StaticFiles(directory=PAGES)),
        ],
        middleware=[Middleware(OwnPagesOnly, hosts=hosts)],
        lifespan=running,
    )


async def _keep_running(check: Callable[[], None]) -> None:
    """Start again what has ended, until cancelled."""
    while True:
        try:
            await run_in_threadpool(check)
        except RunError as error:
            LOG.error("%s", error)
        await asyncio.sleep(CHECK_EVERY_S)
