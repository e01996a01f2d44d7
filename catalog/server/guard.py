"""Stand before the routes: who may write, how large a body may be, and how failures are told."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog.database.writing import ConflictError
from catalog.server.rates import RateLimits, TokenBuckets, is_loopback, name_address, name_token
from catalog.server.reading import answer
from infra.errors import AppError, InputError, NotFoundError, TransientError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 32 * 1024 * 1024
_READ_METHODS = {"GET", "HEAD", "OPTIONS"}
READS_BY_POST = ("/search", "/aggregate", "/collections/{collection_id}/aggregate")
"""Routes whose POST only reads; ``{…}`` stands for one segment."""
_MAX_MESSAGE_CHARS = 400


class WriteGuard:
    """Refuse writes without the token, too many requests, and bodies that are too large, before parsing.

    Everything but reading and ``READS_BY_POST`` counts as writing, so a route added later is guarded unasked.

    Args:
        app: The application behind.
        token: Bearer token that writes need; None refuses all writes. Secret, because Starlette shows the
            arguments of its middlewares.
        max_body_bytes: Largest body, as sent.
        limits: How many requests a client may send in a minute.
        now: Clock of the limits, seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: SecretStr | None,
        max_body_bytes: int = MAX_BODY_BYTES,
        limits: RateLimits | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._token = None if token is None else token.get_secret_value().encode()
        self._writer = "" if self._token is None else name_token(self._token)
        self._max_body_bytes = max_body_bytes
        limits = limits or RateLimits()
        self._writes = TokenBuckets(limits.writes_per_minute, now=now)
        self._reads = TokenBuckets(limits.reads_per_minute, now=now)
        self._failures = TokenBuckets(limits.failures_per_minute, now=now)

    def __repr__(self) -> str:
        """Say whether writing is possible at all, never the token."""
        return f"WriteGuard(writable={self._token is not None})"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        _adopt_scheme(scope, headers)
        address = name_address(scope.get("client"))
        refusal = self._refuse_writer(headers, address) if _is_write(scope) else self._refuse_reader(address)
        refusal = refusal or self._refuse_size(headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, self._count_bytes(receive), send)

    def _refuse_writer(self, headers: Headers, address: str) -> Response | None:
        if self._token is None:
            return tell(403, "Forbidden", "this server is read-only: it was started without a write token")
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            description = "writing needs a token: send 'Authorization: Bearer <token>'"
            return tell(401, "Unauthorized", description, headers={"WWW-Authenticate": "Bearer"})
        wait_s = self._failures.wait_s(address)
        if wait_s:  # the token is not looked at, so guessing on tells nothing
            return _tell_wait(wait_s, "wrong tokens came from this address")
        if not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            self._failures.take(address)
            description = "the token is not the one this server was started with"
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return tell(401, "Unauthorized", description, headers=challenge)
        wait_s = self._writes.take(self._writer)
        return _tell_wait(wait_s, "writes came with this token") if wait_s else None

    def _refuse_reader(self, address: str) -> Response | None:
        wait_s = self._reads.take(address)
        return _tell_wait(wait_s, "requests came from this address") if wait_s else None

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


def tell(
    status: int,
    code: str,
    description: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[tuple[str, str]] = (),
) -> Response:
    """Answer with the error object of the STAC API: a code, and one line for people.

    Args:
        status: HTTP status.
        code: Name of the kind of failure, for programs.
        description: Made one line, and cut where it is long.
        headers: Further headers.
        errors: Id and reason of each item that failed, where the request held many.
    """
    content: dict[str, object] = {"code": code, "description": _one_line(description)}
    if errors:
        content["errors"] = [{"id": _one_line(name), "message": _one_line(why)} for name, why in errors]
    response = answer(content, status=status)
    response.headers.update(headers or {})
    return response


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if len(line) > _MAX_MESSAGE_CHARS:
        line = line[: _MAX_MESSAGE_CHARS - 1] + "…"
    return line.encode(errors="backslashreplace").decode()


def _tell_wait(wait_s: int, what: str) -> Response:
    description = f"too many {what}: try again in {wait_s} s"
    return tell(429, "TooManyRequests", description, headers={"Retry-After": str(wait_s)})


def tell_failures(app: FastAPI) -> None:
    """Register how each kind of failure is answered; only bugs and broken machines are 5xx."""
    app.add_exception_handler(AppError, _tell_app_error)
    app.add_exception_handler(RequestValidationError, _tell_malformed)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_exception_handler(Exception, _tell_bug)


def _tell_app_error(request: Request, exc: Exception) -> Response:
    if isinstance(exc, InputError):
        status, code = (409, "Conflict") if isinstance(exc, ConflictError) else (400, "InvalidParameterValue")
        faults = exc.context.get("errors")
        return tell(status, code, str(exc), errors=faults if isinstance(faults, list) else ())
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


def _adopt_scheme(scope: Scope, headers: Headers) -> None:
    """Let a TLS proxy on this machine say that its clients came by https, so that links say so too."""
    told = headers.get("x-forwarded-proto", "").strip()
    if told in {"http", "https"} and is_loopback(scope.get("client")):
        scope["scheme"] = told


def _is_write(scope: Scope) -> bool:
    if scope["method"] in _READ_METHODS:
        return False
    path: str = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    return scope["method"] != "POST" or not any(_fits(path, route) for route in READS_BY_POST)


def _fits(path: str, route: str) -> bool:
    """Say whether a path is one of a route's, segment by segment."""
    segments, wanted = path.split("/"), route.split("/")
    return len(segments) == len(wanted) and all(
        want == segment or (want.startswith("{") and bool(segment))
        for segment, want in zip(segments, wanted, strict=True)
    )
