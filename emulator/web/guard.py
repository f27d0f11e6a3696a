"""The guard of the web server: only pages that it has sent itself may talk to it.

A page of another site, open in the same browser, can send requests to loopback, too. So the `Host` must be an
address of this server, and where a browser names the origin of a request, it must be this server.
"""

import secrets
from collections.abc import Collection
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

TOKEN = "token"
"""The name of the token in an address and in a cookie."""
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "worker-src blob:"  # MQTT.js keeps its timers in a worker, since browsers slow those of hidden pages
)


class OwnPagesOnly:
    """Refuses requests from elsewhere, and forbids pages to load anything from elsewhere.

    Args:
        app: the application behind it.
        hosts: host names of this server; a server for other machines answers under any name.
        token: where other machines reach this server, a browser must know it: from the address that the
            terminal shows, then from a cookie. None: only this machine does.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str | None = None) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        is_own = self._token is not None or _name(f"//{host}") in self._hosts
        if not is_own or (origin is not None and urlsplit(origin).netloc != host):
            await _refuse("This server answers its own pages only.", scope, receive, send)
            return
        if self._token is not None and not self._knows_token(scope):
            if self._is(parse_qs(scope["query_string"].decode("latin-1")).get(TOKEN, [""])[0]):
                answer = RedirectResponse(scope["path"], status_code=303)
                answer.set_cookie(TOKEN, self._token, httponly=True, samesite="strict")
                await answer(scope, receive, send)
            else:
                await _refuse(
                    "Open the address that the terminal shows: it has a token.", scope, receive, send
                )
            return
        await self._app(scope, receive, _with_policy(send))

    def _knows_token(self, scope: Scope) -> bool:
        return self._is(HTTPConnection(scope).cookies.get(TOKEN, ""))

    def _is(self, text: str) -> bool:
        return self._token is not None and secrets.compare_digest(text.encode(), self._token.encode())


async def _refuse(text: str, scope: Scope, receive: Receive, send: Send) -> None:
    refusal = (
        PlainTextResponse(f"{text}\n", status_code=403)
        if scope["type"] == "http"
        else WebSocketClose(code=1008, reason="own pages only")
    )
    await refusal(scope, receive, send)


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
