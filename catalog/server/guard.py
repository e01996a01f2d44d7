"""Stand before the routes: who may write, how large a body may be, and how failures are told."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog.server.reading import answer
from catalog.server.writing import ConflictError
from infra.errors import AppError, InputError, NotFoundError, TransientError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 32 * 1024 * 1024
_READ_METHODS = {"GET", "HEAD", "OPTIONS"}
_MAX_MESSAGE_CHARS = 400


class WriteGuard:
    """Refuse writes without the token, and bodies that are too large, before anything is parsed.

    Everything but reading and ``POST /search`` counts as writing, so a route added later is guarded unasked.

    Args:
        app: The application behind.
        token: Bearer token that writes need; None refuses all writes. Secret, because Starlette shows the
            arguments of its middlewares.
        max_body_bytes: Largest body, as sent.
    """

    def __init__(
        self, app: ASGIApp, *, token: SecretStr | None, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self._app = app
        self._token = None if token is None else token.get_secret_value().encode()
        self._max_body_bytes = max_body_bytes

    def __repr__(self) -> str:
        """Say whether writing is possible at all, never the token."""
        return f"WriteGuard(writable={self._token is not None})"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refuse_writer(headers) if _is_write(scope) else None
        refusal = refusal or self._refuse_size(headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, self._count_bytes(receive), send)

    def _refuse_writer(self, headers: Headers) -> Response | None:
        if self._token is None:
            return tell(403, "Forbidden", "this server is read-only: it was started without a write token")
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            description = "writing needs a token: send 'Authorization: Bearer <token>'"
            return tell(401, "Unauthorized", description, headers={"WWW-Authenticate": "Bearer"})
        if not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            description = "the token is not the one this server was started with"
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return tell(401, "Unauthorized", description, headers=challenge)
        return None

    def _refuse_size(self, headers: Headers) -> Response | None:
        stated = headers.get("content-length", "0")
        if stated.isascii() and stated.isdigit() and len(stated) < 20 and int(stated) <= self._max_body_bytes:
            return None
        return tell(413, "ContentTooLarge", self._too_large(), headers={"Connection": "close"})

    def _count_bytes(self, receive: Receive) -> Receive:
        """Watch bodies that do not state their length."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return counted

    def _too_large(self) -> str:
        return f"the body is larger than {self._max_body_bytes} bytes: send fewer items at once"


def tell(status: int, code: str, description: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with the error object of the STAC API: a code, and one line for people."""
    line = " ".join(description.split())
    if len(line) > _MAX_MESSAGE_CHARS:
        line = line[: _MAX_MESSAGE_CHARS - 1] + "…"
    response = answer(
        {"code": code, "description": line.encode(errors="backslashreplace").decode()}, status=status
    )
    response.headers.update(headers or {})
    return response


def tell_failures(app: FastAPI) -> None:
    """Register how each kind of failure is answered; only bugs and broken machines are 5xx."""
    app.add_exception_handler(AppError, _tell_app_error)
    app.add_exception_handler(RequestValidationError, _tell_malformed)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_exception_handler(Exception, _tell_bug)


def _tell_app_error(request: Request, exc: Exception) -> Response:
    if isinstance(exc, ConflictError):
        return tell(409, "Conflict", str(exc))
    if isinstance(exc, InputError):
        return tell(400, "InvalidParameterValue", str(exc))
    if isinstance(exc, NotFoundError):
        return tell(404, "NotFound", str(exc))
    # the rest is about this machine: the paths in the message are for its log only
    logger.error("%s %s failed: %s", request.method, request.url.path, exc)
    if isinstance(exc, TransientError):
        description = "the catalogue is busy with another writer: try again"
        return tell(503, "ServiceUnavailable", description, headers={"Retry-After": "1"})
    return tell(500, "ServerError", "the catalogue cannot be used now: the server's log says why")


def _tell_malformed(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    first = exc.errors()[0]
    where = ".".join(str(part) for part in first.get("loc", ()))
    return tell(400, "InvalidParameterValue", f"{where}: {first.get('msg', 'malformed')}")


def _tell_http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return tell(exc.status_code, _name(exc.status_code), str(exc.detail), headers=exc.headers)


def _tell_bug(request: Request, exc: Exception) -> Response:
    logger.error("%s %s failed: %s", request.method, request.url.path, type(exc).__name__)
    return tell(500, "ServerError", "the server failed on this request: its log says why")


def _name(status: int) -> str:
    names = {400: "BadRequest", 404: "NotFound", 405: "MethodNotAllowed", 413: "ContentTooLarge"}
    return names.get(status, f"Http{status}")


def _is_write(scope: Scope) -> bool:
    if scope["method"] in _READ_METHODS:
        return False
    path: str = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    return not (scope["method"] == "POST" and path == "/search")
