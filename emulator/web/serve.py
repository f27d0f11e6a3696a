"""Serve a web application on the loopback interface."""

import asyncio
import contextlib
import socket
import webbrowser
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette

from wire.errors import InputError

LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def listening_socket(port: int | None) -> Iterator[socket.socket]:
    """Yield a socket that is bound to *port*, or to a free one.

    Raises:
        InputError: the port is in use.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port or 0))
        except OSError as error:
            raise InputError(f"--port(={port}) cannot be used on {LOOPBACK}: {error.strerror}") from None
        yield listener


def serve(
    app: Starlette, listener: socket.socket, on_ready: Callable[[str], None], *, opens_browser: bool
) -> None:
    """Serve *app* until a signal ends the program.

    Args:
        app: the application.
        listener: bound.
        on_ready: receives the address when the server answers.
        opens_browser: True to open the address in the user's browser.
    """
    address = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
    config = uvicorn.Config(app, log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)

    async def run() -> None:
        serving = asyncio.create_task(server.serve([listener]))
        while not (server.started or serving.done()):
            await asyncio.sleep(0.02)
        if server.started:
            on_ready(address)
            if opens_browser:
                await asyncio.to_thread(webbrowser.open, address)
        await serving

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
