"""Lend pgSTAC's own search its connections, and tell its failures as the embedded server tells them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any, Literal

import asyncpg
import attr
from fastapi import FastAPI, Request, Response
from pydantic import SecretStr
from stac_fastapi.pgstac.core import CoreCrudClient
from stac_fastapi.pgstac.db import con_init
from stac_fastapi.pgstac.types.search import PgstacSearch
from stac_fastapi.types import errors
from stac_fastapi.types.requests import get_base_url

from catalog.server.addresses import NO_STORE, StoreAddresses
from catalog.server.guard import tell
from infra.errors import InternalError

logger = logging.getLogger(__name__)

_POOL_SIZE = 10
_SEARCH_LIMIT_MS = 10_000
_WAIT_S = 10
_STATUS = (
    (errors.NotFoundError, 404, "NotFound"),
    (errors.ConflictError, 409, "Conflict"),
    (errors.InvalidQueryParameter, 400, "InvalidParameterValue"),
)
_GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver says of a connection that ended before it could notice
    asyncpg.OperatorInterventionError,
)
_BUSY = (TimeoutError, asyncpg.InsufficientResourcesError)
_ASKED_WRONGLY = (
    asyncpg.DataError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.RaiseError,
    asyncpg.InternalServerError,
    asyncpg.ProgramLimitExceededError,
)
"""What pgSTAC raises for searches it cannot read: it checks most of them only by running them."""


@attr.s
class ReadClient(CoreCrudClient):  # type: ignore[misc]
    """Read as pgSTAC's API does, with the files of our store as URLs."""

    addresses: StoreAddresses = attr.ib(default=NO_STORE, kw_only=True)

    async def all_collections(self, request: Request, **kwargs: Any) -> Any:  # noqa: ANN401 (as inherited)
        """Answer ``GET /collections``."""
        found = await super().all_collections(request=request, **kwargs)
        return found if isinstance(found, Response) else self._to_web(found, "collections", request)

    async def get_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Any:  # noqa: ANN401
        """Answer ``GET /collections/{id}``."""
        found = await super().get_collection(collection_id, request=request, **kwargs)
        return self.addresses.to_web(found, get_base_url(request))

    async def _search_base(self, search_request: PgstacSearch, request: Request) -> Any:  # noqa: ANN401
        page = await super()._search_base(search_request, request=request)
        return self._to_web(page, "features", request)

    def _to_web(self, page: dict[str, Any], name: str, request: Request) -> dict[str, Any]:
        base_url = get_base_url(request)
        return {**page, name: [self.addresses.to_web(each, base_url) for each in page[name]]}


async def open_readers(app: FastAPI, database: SecretStr) -> None:
    """Open the pool that searches read from, and put it where pgSTAC's API looks for it."""
    app.state.readpool = await asyncpg.create_pool(
        database.get_secret_value(),
        min_size=1,
        max_size=_POOL_SIZE,
        timeout=_WAIT_S,
        init=con_init,
        server_settings={
            "search_path": "pgstac,public",
            "application_name": "terraloom",
            "statement_timeout": str(_SEARCH_LIMIT_MS),
        },
    )
    app.state.get_connection = lend_reader


async def close_readers(app: FastAPI) -> None:
    """Close the pool."""
    await app.state.readpool.close()


@contextlib.asynccontextmanager
async def lend_reader(request: Request, readwrite: Literal["r", "w"] = "r") -> AsyncIterator[Any]:
    """Lend a connection to one of pgSTAC's own routes, which only read here.

    Raises:
        InternalError: a route wants to write past the one writer.
    """
    if readwrite != "r":
        raise InternalError(f"{request.method} {request.url.path} would write past the one writer")
    async with request.app.state.readpool.acquire(timeout=_WAIT_S) as connection:
        yield connection


async def check_health(request: Request) -> dict[str, str]:
    """Answer whether the database does; its failures are told like those of any route."""
    async with lend_reader(request) as connection:
        version = await connection.fetchval("SELECT get_version()")
    return {"status": "UP", "pgstac": version}


def tell_database_failures(app: FastAPI) -> None:
    """Register how failures of the search behind are answered."""
    for kind in (errors.StacApiError, *_GONE, *_BUSY, asyncpg.PostgresError):
        app.add_exception_handler(kind, _tell)


async def _tell(request: Request, exc: Exception) -> Response:
    for kind, status, code in _STATUS:
        if isinstance(exc, kind):
            return tell(status, code, str(exc))
    if isinstance(exc, asyncpg.QueryCanceledError):
        description = f"the search took longer than {_SEARCH_LIMIT_MS // 1000} s: narrow it by place or time"
        return tell(400, "InvalidParameterValue", description)
    if isinstance(exc, _ASKED_WRONGLY):
        return tell(400, "InvalidParameterValue", f"the search cannot be answered: {exc}")
    logger.error("%s %s failed: %s: %s", request.method, request.url.path, type(exc).__name__, exc)
    if isinstance(exc, _GONE + _BUSY):
        description = "the database is busy or away: try again"
        return tell(503, "ServiceUnavailable", description, headers={"Retry-After": "1"})
    return tell(500, "ServerError", "the database failed on this request: the server's log says why")
