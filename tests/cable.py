"""A cable between clients and their broker: it can be long, be cut, and be pulled out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Cable:
    """Passes bytes on to a port of this machine, and back.

    Args:
        port: where the broker listens.
        delay_s: how long bytes are under way, either way.
    """

    def __init__(self, port: int, delay_s: float = 0.0) -> None:
        self.in_port = 0
        """Where the devices' end is."""
        self.plugged = True
        """Whether who connects gets through; else the connection is closed at once."""
        self._port, self._delay_s = port, delay_s
        self._ends: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Cable"]:
        """Carry connections while the body runs."""
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.in_port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Break every connection without a word."""
        for end in self._ends:
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.plugged:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        both = {writer, far_writer}
        self._ends |= both
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._ends -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(self._delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()
