"""Put the embedded STAC API together, and serve it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import uvicorn
from brotli_asgi import BrotliMiddleware
from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from stac_fastapi.api.app import StacApi
from stac_fastapi.extensions.bulk_transactions import BulkTransactionExtension
from stac_fastapi.extensions.transaction.transaction import TransactionConformanceClasses
from stac_fastapi.types.config import ApiSettings
from stac_fastapi.types.conformance import BASE_CONFORMANCE_CLASSES, OAFConformanceClasses
from stac_fastapi.types.extension import ApiExtension
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from catalog.database.backend import SqliteCatalogue
from catalog.server.addresses import NO_STORE, StoreAddresses
from catalog.server.conformance import COUNTED_UPSERT
from catalog.server.description import describe_itself
from catalog.server.extension_routes import ExtensionRoutes, ReadExtension
from catalog.server.files import EXPOSED_HEADERS, RANGE_HEADERS, add_files_route
from catalog.server.guard import WriteGuard, tell_failures
from catalog.server.methods import PlainMethods
from catalog.server.rates import RateLimits
from catalog.server.reading import ReadClient
from catalog.server.requests import CollectionsParameters, ItemsParameters, SearchBody, SearchParameters
from catalog.server.transactions import BulkClient, WriteExtension, WriteRoutes
from catalog.server.writable import WritableCatalogue
from infra.errors import ConfigError, TransientError
from infra.storage import Storage

DESCRIPTION = "Scenes, map data, registrations, embeddings and descriptions that Terraloom's flows published."
API_VERSION = "1.0.0"
STAC_VERSION = "1.1.0"
_START_WAIT_S = 30.0
_COMPRESS_FROM_BYTES = 2_000


def create_app(
    catalogue_path: Path,
    *,
    token: str | None,
    title: str = "Terraloom",
    allowed_origins: Sequence[str] = (),
    store: Storage | None = None,
    limits: RateLimits | None = None,
) -> FastAPI:
    """Make the STAC API over one catalogue file.

    Args:
        catalogue_path: SQLite file; made when absent.
        token: Bearer token that writes need; None serves read-only (every write is answered 403).
        title: Name on the landing page.
        allowed_origins: Web origins whose pages may read, e.g. ``https://browser.example.org``.
        store: Store whose products' files are answered below ``/files/``, and named so in assets; None
            answers hrefs as they are stored.
        limits: How many requests a client may send in a minute; None takes the defaults.

    Raises:
        ConfigError: not a catalogue, or an empty token.
    """
    if token is not None and not token.strip():
        raise ConfigError("the write token is empty: set one, or none at all to serve read-only")
    catalogue = SqliteCatalogue(catalogue_path)
    addresses = NO_STORE if store is None else StoreAddresses.of_store(store.uri)
    settings = _settings(title)
    api = StacApi(
        settings=settings,
        app=_bare_app(settings, catalogue),
        client=ReadClient(
            catalogue=catalogue,
            addresses=addresses,
            landing_page_id="terraloom",
            base_conformance_classes=base_conformance(),
        ),
        extensions=[
            ReadExtension(routes=ExtensionRoutes(catalogue)),
            *make_write_extensions(catalogue, addresses=addresses, writable=token is not None),
        ],
        exceptions={},
        title=title,
        api_version=API_VERSION,
        stac_version=STAC_VERSION,
        description=DESCRIPTION,
        search_get_request_model=SearchParameters,
        search_post_request_model=SearchBody,
        collections_get_request_model=CollectionsParameters,
        items_get_request_model=ItemsParameters,
        middlewares=make_middlewares(token, allowed_origins, limits),
        health_check=lambda: _check_health(catalogue),
    )
    app: FastAPI = api.app
    describe_itself(app)
    app.add_api_route(
        "/healthz", lambda: _check_health(catalogue), methods=["GET"], tags=["Liveliness/Readiness"]
    )
    if store is not None:
        add_files_route(app, store)
    tell_failures(app)
    return app


def run_server(
    app: FastAPI,
    *,
    host: str = "127.0.0.1",
    port: int = 8081,
    root_path: str = "",
    announce: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve until interrupted (SIGINT or SIGTERM); open requests are answered first.

    Args:
        app: What ``create_app`` made.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        root_path: Path that a proxy in front takes off, e.g. ``/stac``; it appears in all links.
        announce: Told the base URL once the address is ours.

    Raises:
        ConfigError: the address is taken or not this machine's.
    """
    with contextlib.closing(_listen(host, port)) as listener:
        announce(_url_of(listener, host))
        uvicorn.Server(_config(app, root_path)).run(sockets=[listener])


@contextlib.contextmanager
def serving(app: FastAPI, host: str = "127.0.0.1", port: int = 0, *, root_path: str = "") -> Iterator[str]:
    """Serve in a thread while the block runs; yields the base URL. Port 0 takes a free one.

    Raises:
        ConfigError: the address is taken or not this machine's.
        TransientError: the server did not come up.
    """
    with contextlib.closing(_listen(host, port)) as listener:
        server = uvicorn.Server(_config(app, root_path))
        thread = threading.Thread(target=server.run, args=([listener],), name="stac-server", daemon=True)
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield _url_of(listener, host)
        finally:
            server.should_exit = True
            thread.join(timeout=_START_WAIT_S)


def _settings(title: str) -> ApiSettings:
    # stated one by one: what is left out, stac-fastapi takes from the environment and from .env
    return ApiSettings(
        _env_file=None,  # type: ignore[call-arg]
        stac_fastapi_title=title,
        stac_fastapi_description=DESCRIPTION,
        stac_fastapi_version=API_VERSION,
        stac_fastapi_landing_id="terraloom",
        enable_response_models=False,
        enable_direct_response=False,
        openapi_url="/api",
        docs_url="/api.html",
        root_path="",  # the server states it with each request
    )


def _bare_app(settings: ApiSettings, catalogue: SqliteCatalogue) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        catalogue.close()

    return FastAPI(
        title=settings.stac_fastapi_title,
        description=DESCRIPTION,
        version=API_VERSION,
        openapi_url=settings.openapi_url,
        docs_url=None,  # FastAPI's page loads its scripts from a foreign host
        redoc_url=None,
        lifespan=lifespan,
    )


def base_conformance() -> list[str]:
    """List the classes that every catalogue of ours keeps, whatever it is stored in."""
    # FastAPI describes itself in OpenAPI 3.1; the class is about 3.0
    return [str(each) for each in BASE_CONFORMANCE_CLASSES if each != OAFConformanceClasses.OPEN_API]


def make_write_extensions(
    catalogue: WritableCatalogue, *, writable: bool, addresses: StoreAddresses = NO_STORE
) -> list[ApiExtension]:
    """Make the transaction and bulk-transaction extensions over a catalogue."""
    # the guard decides; this dependency only tells the OpenAPI page that a token belongs here
    documented = [Depends(HTTPBearer(auto_error=False))]
    transactions = WriteExtension(
        routes=WriteRoutes(catalogue, addresses),
        dependencies=documented,
        conformance_classes=[*map(str, TransactionConformanceClasses), COUNTED_UPSERT] if writable else [],
    )
    client = BulkClient(catalogue=catalogue, addresses=addresses)
    bulk = BulkTransactionExtension(client=client, route_dependencies=documented)
    return [transactions, bulk]


def make_middlewares(
    token: str | None, allowed_origins: Sequence[str], limits: RateLimits | None
) -> list[Middleware]:
    """List middlewares, innermost first; CORS goes around all so that refusals can be read by pages, too."""
    middlewares = [
        Middleware(WriteGuard, token=None if token is None else SecretStr(token), limits=limits),
        # a compressed file could not be read by byte ranges
        Middleware(
            BrotliMiddleware, minimum_size=_COMPRESS_FROM_BYTES, quality=3, excluded_handlers=["/files/"]
        ),
        Middleware(PlainMethods),
    ]
    if allowed_origins:
        middlewares.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(allowed_origins),
                allow_methods=["GET", "HEAD", "POST", "OPTIONS"],
                allow_headers=["Content-Type", *RANGE_HEADERS],
                expose_headers=list(EXPOSED_HEADERS),
                max_age=600,
            )
        )
    return middlewares


def _check_health(catalogue: SqliteCatalogue) -> dict[str, str | int]:
    return {"status": "UP", "collections": len(catalogue.get_collections())}


def _config(app: FastAPI, root_path: str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,  # logging is the program's business
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a client could name any address in X-Forwarded-For, and escape its limits
        root_path=root_path.rstrip("/"),
        ws="none",
        timeout_graceful_shutdown=10,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's waiting (40 ms an answer) only on sockets that say they are TCP
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise ConfigError(
            f"cannot serve at {host}:{port} ({exc.strerror or exc}): choose another port",
            host=host,
            port=port,
        ) from exc
    return listener


def _url_of(listener: socket.socket, host: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_WAIT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise TransientError("the STAC server did not start: its log says why")
        time.sleep(0.01)
