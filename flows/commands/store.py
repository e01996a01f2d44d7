"""Hold the commands that look at a store and keep it tidy: items, gc."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import InputError
from infra.settings import catalogue_uri, data_home, load_settings
from infra.storage import open_storage

Store = Annotated[str | None, typer.Option(help="Path or s3://bucket/prefix  [default: setting store]")]


def items(
    store: Store = None,
    collection: Annotated[str | None, typer.Option(help="Only this collection")] = None,
    search: Annotated[str | None, typer.Option(help="Only items whose texts hold all these words")] = None,
    cql2: Annotated[str | None, typer.Option("--filter", help="Only items that meet this CQL2 text")] = None,
) -> int:
    """Print the catalogue's items, one JSON object a line.

    Example: terraloom items --store ./store --search "sentinel-2" --filter "eo:cloud_cover < 20"
    """
    from catalog.client import open_catalogue
    from catalog.database.expressions.parse import read_filter_text
    from catalog.database.filters import SearchQuery

    settings = load_settings(os.environ)
    uri = catalogue_uri(settings, open_storage(store or settings.store).uri, data_home=data_home(os.environ))
    if "://" not in uri and not Path(uri).exists():
        raise InputError(f"{uri} does not exist; publish something with 'terraloom map' first")
    token = settings.catalogue.token.get_secret_value() if settings.catalogue.token else None
    query = SearchQuery(
        collections=(collection,) if collection else None,
        q=(search,) if search else None,
        filter=read_filter_text(cql2) if cql2 else None,
    )
    for item in open_catalogue(uri, token=token).search(query):
        sys.stdout.write(json.dumps(item) + "\n")
    return 0


def gc(
    store: Store = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go")] = False,
) -> int:
    """Remove products that no receipt vouches for and no running run is making.

    Example: terraloom gc --store ./store --dry-run
    """
    from catalog.garbage import collect_garbage

    settings = load_settings(os.environ)
    swept = collect_garbage(open_storage(store or settings.store), dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    for product in swept.products:
        sys.stdout.write(f"{verb} {product}\n")
    for run in swept.live_runs:
        sys.stdout.write(f"run {run} is at work: unfinished products are kept\n")
    sys.stdout.write(f"{verb} {len(swept.products)} products, {swept.size / 1e6:.1f} MB\n")
    return 0
