"""MQTT over WebSocket for browsers: a bridge from the web server to the broker.

A browser opens no TCP connection, and not every broker listens for WebSockets. The bridge passes the bytes on
as they are, in both directions; who may log in and read what is the broker's to decide.
"""

import asyncio
import contextlib
import socket

from starlette.websockets import WebSocket, WebSocketDisconnect

SUBPROTOCOL = "mqtt"
_CHUNK_BYTES = 64 * 1024


async def bridge(websocket: WebSocket, host: str, port: int) -> None:
    """Pass bytes between a WebSocket and the broker until one of them closes.

    Args:
        websocket: not accepted yet.
        host: of the broker.
        port: of the broker.
    """
    if SUBPROTOCOL not in websocket.scope.get("subprotocols", ()):
        await websocket.close(code=1002, reason="the subprotocol must be mqtt")
        return
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        await websocket.close(code=1013, reason="the broker does not answer")
        return
    # Nagle's algorithm would hold back the small packets of MQTT for forty milliseconds.
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await websocket.accept(subprotocol=SUBPROTOCOL)
    directions = {
        asyncio.create_task(_to_broker(websocket, writer)),
        asyncio.create_task(_to_browser(reader, websocket)),
    }
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
        writer.close()
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # the browser has closed it already
            await websocket.close()


async def _to_broker(websocket: WebSocket, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(WebSocketDisconnect, ConnectionError):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            writer.write(message.get("bytes") or b"")
            await writer.drain()


async def _to_browser(reader: asyncio.StreamReader, websocket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, ConnectionError, RuntimeError):
        while chunk := await reader.read(_CHUNK_BYTES):
            await websocket.send_bytes(chunk)
