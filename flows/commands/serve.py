"""Hold the command that serves the catalogue."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import InputError
from infra.settings import Settings, catalogue_uri, data_home, load_settings
from infra.storage import open_storage


def serve(
    store: Annotated[
        str | None, typer.Option(help="Path or s3://bucket/prefix  [default: setting store]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one  [default: 8081]")] = None,
) -> int:
    """Serve the store's catalogue as a STAC API until Ctrl-C.

    Writes need the bearer token of TERRALOOM_SERVE__TOKEN; without one the API is read-only.

    Example: terraloom serve --store ./store --port 8081
    """
    settings = load_settings(os.environ)
    path = embedded_catalogue(settings, store)
    # At its import stac-fastapi complains of its own defaults, which create_app states one by one.
    logging.getLogger("stac_fastapi").setLevel(logging.ERROR)
    from catalog.server.app import create_app, run_server

    token = settings.serve.token.get_secret_value() if settings.serve.token else None
    app = create_app(path, token=token, allowed_origins=settings.serve.allowed_origins)
    address = host or settings.serve.host
    number = settings.serve.port if port is None else port

    def announce(url: str) -> None:
        sys.stdout.write(f"STAC API of {path} at {url}/ (Ctrl-C stops)\n")
        sys.stdout.flush()

    run_server(app, host=address, port=number, announce=announce)
    return 0


def embedded_catalogue(settings: Settings, store: str | None) -> Path:
    """Return the SQLite file that keeps a store's catalogue.

    Raises:
        InputError: the catalogue is an API elsewhere, or the store does not exist.
    """
    storage = open_storage(store or settings.store)
    uri = catalogue_uri(settings, storage.uri, data_home=data_home(os.environ))
    if uri.startswith(("http://", "https://")):
        raise InputError(
            f"the catalogue of this store is the API {uri}; open that, there is nothing to serve"
        )
    if not Path(uri).exists():
        raise InputError(f"store {storage.uri} has no catalogue yet; run 'terraloom map --store …' first")
    return Path(uri)
