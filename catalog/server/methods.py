"""Answer HEAD and OPTIONS wherever something can be read."""

from __future__ import annotations

from fastapi import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class PlainMethods:
    """Answer HEAD as GET without its body, and OPTIONS with what an address allows.

    Args:
        app: The application behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        method = scope.get("method")
        if scope["type"] == "http" and method == "OPTIONS":
            await _tell_allowed(scope)(scope, receive, send)
        elif scope["type"] == "http" and method == "HEAD":
            await self._answer_head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask as HEAD, which routes for files know; ask again as GET where a route does not."""
        refused = False

        async def listen(message: Message) -> None:
            nonlocal refused
            refused = refused or message.get("status") == 405
            if not refused:
                await send(message)

        async def drop_body(message: Message) -> None:
            await send(message if message["type"] != "http.response.body" else {**message, "body": b""})

        await self._app(dict(scope), receive, listen)
        if refused:
            await self._app({**scope, "method": "GET"}, receive, drop_body)


def _tell_allowed(scope: Scope) -> Response:
    allowed = [method for method in _METHODS if _is_routed(scope, method)]
    if not allowed:
        return Response(status_code=404)
    heads = ["HEAD"] if "GET" in allowed else []
    return Response(status_code=204, headers={"Allow": ", ".join([*allowed, *heads, "OPTIONS"])})


def _is_routed(scope: Scope, method: str) -> bool:
    asked = {**scope, "method": method}
    return any(route.matches(asked)[0] is Match.FULL for route in scope["app"].router.routes)
