"""Serve a web application: on the loopback interface, or to other machines with a token."""

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette

from wire.errors import InputError

LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def listening_socket(port: int | None, host: str = LOOPBACK) -> Iterator[socket.socket]:
    """Yield a socket that is bound to *port* of *host*, or to a free port.

    Raises:
        InputError: the port is in use, or the host is no address of this machine.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port or 0))
        except OSError as error:
            raise InputError(f"--port(={port}) cannot be used on {host}: {error.strerror}") from None
        yield listener


def token_for(host: str) -> str | None:
    """Return a new token for a server that other machines reach; None for one on loopback.

    Raises:
        InputError: the host is no IPv4 address.
    """
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        raise InputError(
            f"--host(={host!r}) must be an IPv4 address, such as {LOOPBACK} or 0.0.0.0"
        ) from None
    return None if address.is_loopback else secrets.token_urlsafe(16)


def serve(
    app: Starlette,
    listener: socket.socket,
    on_ready: Callable[[str], None],
    *,
    opens_browser: bool,
    path: str = "",
) -> None:
    """Serve *app* until a signal ends the program.

    Args:
        app: the application.
        listener: bound.
        on_ready: receives the address when the server answers.
        opens_browser: True to open the address in the user's browser.
        path: the end of the address.
    """
    server = _server(app)

    async def run() -> None:
        serving = asyncio.create_task(server.serve([listener]))
        while not (server.started or serving.done()):
            await asyncio.sleep(0.02)
        if server.started:
            on_ready(address_of(listener) + path)
            if opens_browser:
                await asyncio.to_thread(webbrowser.open, address_of(listener) + path)
        await serving

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


@contextlib.contextmanager
def serving(
    app: Starlette,
    listener: socket.socket,
    on_ready: Callable[[str], None],
    *,
    opens_browser: bool,
    path: str,
) -> Iterator[None]:
    """Serve *app* in a thread while the block runs; the arguments are those of `serve`."""
    server = _server(app)
    thread = threading.Thread(target=server.run, args=([listener],), name="web", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    on_ready(address_of(listener) + path)
    if opens_browser:
        webbrowser.open(address_of(listener) + path)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(5)


def address_of(listener: socket.socket) -> str:
    """Return the address of a server."""
    host, port = listener.getsockname()
    return f"http://{host}:{port}/"


def _server(app: Starlette) -> uvicorn.Server:
    config = uvicorn.Config(app, log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=3)
    return _EndingServer(config)


class _EndingServer(uvicorn.Server):
    """A server that tells the application of its end: answers without an end of their own end then."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for answers under way, then end."""
        self.config.app.state.is_ending = True  # type: ignore[union-attr]  # an application of Starlette
        await super().shutdown(sockets)
