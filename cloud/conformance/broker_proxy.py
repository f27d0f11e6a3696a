"""A port between a device and its broker, over which the connection can be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from wire.errors import InputError
from wire.output_files import os_error_text

CHUNK_BYTES = 2**16
HOST = "127.0.0.1"


class BrokerProxy:
    """Passes bytes on between devices and a broker, until it is cut.

    Args:
        host: of the broker.
        port: of the broker.
        on_attempt: called when somebody connects, whether the connection stays or not.
    """

    def __init__(self, host: str, port: int, on_attempt: Callable[[], None]) -> None:
        self._address = host, port
        self._on_attempt = on_attempt
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        """Take connections on *port* of this machine.

        Raises:
            InputError: the port cannot be used.
        """
        try:
            server = await asyncio.start_server(self._serve, HOST, port)
        except OSError as error:
            raise InputError(f"--proxy-port(={port}): {os_error_text(error)}") from None
        try:
            yield
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """End all connections, and end each new one at once."""
        self._is_cut = True
        for writer in self._writers:
            writer.close()

    def heal(self) -> None:
        """Let connections stay again."""
        self._is_cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._on_attempt()
        if self._is_cut:
            writer.close()
            return
        try:
            from_broker, to_broker = await asyncio.open_connection(*self._address)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass_on(reader, to_broker), self._pass_on(from_broker, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on until one side ends; the end is passed on, too."""
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                writer.write(chunk)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()
