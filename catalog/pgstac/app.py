"""Serve a pgSTAC database as a STAC API: pgSTAC's own search, our writing rules, our guard."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI
from pydantic import SecretStr
from stac_fastapi.api.app import StacApi
from stac_fastapi.api.models import (
    ItemCollectionUri,
    create_get_request_model,
    create_post_request_model,
    create_request_model,
)
from stac_fastapi.extensions.free_text import FreeTextConformanceClasses
from stac_fastapi.pgstac.config import Settings
from stac_fastapi.pgstac.extensions import FreeTextExtension
from stac_fastapi.pgstac.models.extensions import Extensions
from stac_fastapi.pgstac.types.search import PgstacSearch

from catalog.pgstac.migrate import check_database
from catalog.pgstac.reading import (
    ReadClient,
    check_health,
    close_readers,
    open_readers,
    tell_database_failures,
)
from catalog.pgstac.store import PgstacCatalogue
from catalog.server.addresses import NO_STORE, StoreAddresses
from catalog.server.app import (
    API_VERSION,
    DESCRIPTION,
    STAC_VERSION,
    base_conformance,
    make_middlewares,
    make_write_extensions,
)
from catalog.server.description import describe_itself
from catalog.server.files import add_files_route
from catalog.server.guard import tell_failures
from catalog.server.rates import RateLimits
from infra.errors import ConfigError
from infra.storage import Storage

# stac-fastapi-pgstac sets it to INFO at its import; how much is logged is the program's business
logging.getLogger("uvicorn").setLevel(logging.NOTSET)


def create_pgstac_app(
    database: SecretStr,
    *,
    token: str | None,
    title: str = "Terraloom",
    allowed_origins: Sequence[str] = (),
    store: Storage | None = None,
    limits: RateLimits | None = None,
) -> FastAPI:
    """Make the STAC API over one pgSTAC database.

    Args:
        database: ``postgresql://`` address of a migrated database.
        token: Bearer token that writes need; None serves read-only (every write is answered 403).
        title: Name on the landing page.
        allowed_origins: Web origins whose pages may read, e.g. ``https://browser.example.org``.
        store: Store whose products' files are answered below ``/files/``, and named so in assets; None
            answers hrefs as they are stored.
        limits: How many requests a client may send in a minute; None takes the defaults.

    Raises:
        ConfigError: the database is not there or not migrated, or an empty token.
    """
    if token is not None and not token.strip():
        raise ConfigError("the write token is empty: set one, or none at all to serve read-only")
    check_database(database)
    catalogue = PgstacCatalogue(database)
    addresses = NO_STORE if store is None else StoreAddresses.of_store(store.uri)
    settings = _settings(title)
    found = _read_extensions(settings)
    search = create_post_request_model(found.search, base_model=PgstacSearch)
    api = StacApi(
        settings=settings,
        app=_bare_app(settings, database, catalogue),
        client=ReadClient(  # type: ignore[call-arg] # attrs of the untyped parent
            addresses=addresses,
            pgstac_search_model=search,
            landing_page_id="terraloom",
            base_conformance_classes=base_conformance(),
        ),
        extensions=[
            *found.search,
            *found.item_collection,
            found.collection_search,
            *make_write_extensions(catalogue, addresses=addresses, writable=token is not None),
        ],
        exceptions={},
        title=title,
        api_version=API_VERSION,
        stac_version=STAC_VERSION,
        description=DESCRIPTION,
        search_get_request_model=create_get_request_model(found.search),
        search_post_request_model=search,
        items_get_request_model=create_request_model(  # type: ignore[arg-type]
            model_name="ItemsParameters",
            base_model=ItemCollectionUri,
            extensions=found.item_collection,
            request_type="GET",
        ),
        collections_get_request_model=found.collection_search.GET,
        middlewares=make_middlewares(token, allowed_origins, limits),
        health_check=check_health,  # type: ignore[arg-type]
    )
    app: FastAPI = api.app
    describe_itself(app)
    app.add_api_route("/healthz", check_health, methods=["GET"], tags=["Liveliness/Readiness"])
    if store is not None:
        add_files_route(app, store)
    tell_failures(app)
    tell_database_failures(app)
    return app


def _settings(title: str) -> Settings:
    # stated one by one: what is left out, stac-fastapi takes from the environment and from .env
    return Settings(
        _env_file=None,
        stac_fastapi_title=title,
        stac_fastapi_description=DESCRIPTION,
        stac_fastapi_version=API_VERSION,
        stac_fastapi_landing_id="terraloom",
        enable_response_models=False,
        enable_direct_response=False,
        openapi_url="/api",
        docs_url="/api.html",
        root_path="",  # the server states it with each request
        prefix_path="",
        enabled_extensions=None,
        enable_transactions_extensions=False,  # its routes would write past the one writer
        enable_catalogs_extension=False,
        validate_extensions=False,
        enable_metrics=False,
        use_api_hydrate=False,
    )


def _read_extensions(settings: Settings) -> Extensions:
    return Extensions(
        settings=settings,
        search_map={"free_text": FreeTextExtension(conformance_classes=[FreeTextConformanceClasses.SEARCH])},
        item_collection_map={
            "free_text": FreeTextExtension(conformance_classes=[FreeTextConformanceClasses.ITEMS])
        },
    )


def _bare_app(settings: Settings, database: SecretStr, catalogue: PgstacCatalogue) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await open_readers(app, database)
        yield
        await close_readers(app)
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
