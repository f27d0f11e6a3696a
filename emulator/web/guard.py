"""The guard of the web server: only pages that it has sent itself, on this machine, may talk to it.

A page of another site, open in the same browser, can send requests to loopback, too. So the `Host` must be an
address of this server, and where a browser names the origin of a request, it must be this server.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "worker-src blob:"  # MQTT.js keeps its timers in a worker, since browsers slow those of hidden pages
)


class OwnPagesOnly:
    """Refuses requests from elsewhere, and forbids pages to load anything from elsewhere.

    Args:
        app: the application behind it.
        hosts: host names of this server.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if _name(f"//{host}") not in self._hosts or (origin is not None and urlsplit(origin).netloc != host):
            refusal = (
                PlainTextResponse("This server answers its own pages only.\n", status_code=403)
                if scope["type"] == "http"
                else WebSocketClose(code=1008, reason="own pages only")
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, _with_policy(send))


def _with_policy(send: Send) -> Send:
    async def send_with_policy(message: object) -> None:
        assert isinstance(message, dict)
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("content-security-policy", POLICY)
            headers.setdefault("x-content-type-options", "nosniff")
            headers.setdefault("cache-control", "no-cache")
        await send(message)

    return send_with_policy


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
