"""Hold the command that serves the catalogue."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr

from catalog.report.facts import hide_secrets
from infra.errors import InputError
from infra.settings import Settings, cache_home, catalogue_uri, data_home, load_settings
from infra.storage import open_storage

if TYPE_CHECKING:
    from fastapi import FastAPI


def serve(
    store: Annotated[
        str | None, typer.Option(help="Path or s3://bucket/prefix  [default: setting store]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one  [default: 8081]")] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="postgresql://user@host/name of a pgSTAC database  [default: setting serve.database]"
        ),
    ] = None,
    migrate: Annotated[bool, typer.Option("--migrate", help="Set up or update the database first")] = False,
) -> int:
    """Serve the store's catalogue, or a pgSTAC database, as a STAC API until Ctrl-C.

    Writes need the bearer token of TERRALOOM_SERVE__TOKEN; without one the API is read-only. Keep a
    database's password in TERRALOOM_SERVE__DATABASE or ~/.pgpass: other users see the words of a command.

    Example: terraloom serve --store ./store --port 8081
    """
    settings = load_settings(os.environ)
    if database is not None:
        chosen = settings.serve.model_copy(update={"database": SecretStr(database)})
        settings = settings.model_copy(update={"serve": chosen})
    if migrate:
        migrate_database(settings)
    shown = name_catalogue(settings, store)
    app = prepare_app(settings, store)
    from catalog.server.app import run_server

    browser = mount_browser(app, find_browser())

    def announce(url: str) -> None:
        sys.stdout.write(f"STAC API of {shown} at {url}/ (Ctrl-C stops)\n")
        if browser is not None:
            sys.stdout.write(f"STAC Browser at {url}/{browser}/\n")
        sys.stdout.flush()

    number = settings.serve.port if port is None else port
    run_server(app, host=host or settings.serve.host, port=number, announce=announce)
    return 0


def prepare_app(
    settings: Settings, store: str | None, *, read_only: bool = False, origins: Sequence[str] = ()
) -> FastAPI:
    """Make the STAC API of a store's catalogue, or of the database that settings name, with a store's files.

    Args:
        settings: Process settings.
        store: Path or URI; None takes the setting's.
        read_only: Refuse every write, whatever token is set.
        origins: Web origins that may read besides those of the settings.

    Raises:
        InputError: the catalogue is an API elsewhere, or the store does not exist.
        ConfigError: the database is not there or not migrated.
    """
    make = _choose_app(settings, store)
    from catalog.server.rates import RateLimits

    token = None if read_only or settings.serve.token is None else settings.serve.token.get_secret_value()
    return make(
        token=token,
        allowed_origins=[*settings.serve.allowed_origins, *origins],
        store=open_storage(store or settings.store),
        limits=RateLimits(
            writes_per_minute=settings.serve.writes_per_minute,
            reads_per_minute=settings.serve.reads_per_minute,
        ),
    )


def _choose_app(settings: Settings, store: str | None) -> Callable[..., FastAPI]:
    # At its import stac-fastapi complains of its own defaults, which both apps state one by one.
    logging.getLogger("stac_fastapi").setLevel(logging.ERROR)
    if settings.serve.database is not None:
        from catalog.pgstac.app import create_pgstac_app

        return partial(create_pgstac_app, settings.serve.database)
    from catalog.server.app import create_app

    return partial(create_app, embedded_catalogue(settings, store))


def name_catalogue(settings: Settings, store: str | None) -> str:
    """Say what is served: the path of the store's catalogue, or host and name of the database.

    Raises:
        InputError: the catalogue is an API elsewhere, or the store does not exist.
        ConfigError: the database address cannot be read.
    """
    if settings.serve.database is None:
        return str(embedded_catalogue(settings, store))
    from catalog.pgstac.connections import name_database

    return f"database {name_database(settings.serve.database)}"


def migrate_database(settings: Settings) -> None:
    """Set up pgSTAC in the database that settings name, or bring it up to date.

    Raises:
        InputError: settings name no database.
        ConfigError: the database is not there, or refuses.
    """
    if settings.serve.database is None:
        raise InputError("--migrate sets up a database: name it by --database or the setting serve.database")
    from catalog.pgstac.migrate import migrate

    version = migrate(settings.serve.database)
    sys.stderr.write(f"the database holds pgSTAC {version}\n")


def find_browser() -> Path | None:
    """Return the folder of STAC Browser, None when 'terraloom browse' has not built it yet."""
    from catalog.browser.build import find_build

    return find_build(cache_home(os.environ))


def mount_browser(app: FastAPI, folder: Path | None) -> str | None:
    """Serve STAC Browser beside the API; return its path there, None without a build."""
    if folder is None:
        return None
    from catalog.server.browser_pages import BROWSER, add_browser

    add_browser(app, folder, title=app.title)
    return BROWSER


@contextlib.contextmanager
def until_stopped() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C and SIGTERM set, in place of ending the process at once."""
    stopped = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stopped.set()) for number in numbers]
    try:
        yield stopped
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def embedded_catalogue(settings: Settings, store: str | None) -> Path:
    """Return the SQLite file that keeps a store's catalogue.

    Raises:
        InputError: the catalogue is an API elsewhere, or the store does not exist.
    """
    storage = open_storage(store or settings.store)
    uri = catalogue_uri(settings, storage.uri, data_home=data_home(os.environ))
    if uri.startswith(("http://", "https://")):
        raise InputError(
            f"the catalogue of this store is the API {hide_secrets(uri)}; open that, nothing is to be served"
        )
    if not Path(uri).exists():
        raise InputError(f"store {storage.uri} has no catalogue yet; run 'terraloom map --store …' first")
    return Path(uri)
