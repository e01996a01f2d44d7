"""Hold the commands that take a catalogue out and in as files, back it up and check it."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.report.facts import hide_secrets
from infra.errors import InputError, NotFoundError
from infra.settings import Settings, catalogue_uri, data_home, load_settings
from infra.storage import Storage, open_storage

if TYPE_CHECKING:
    from catalog.client import CatalogueClient, UpsertResult

_IMPORT_ITEMS = 1_000
EXIT_FAULTS = 2

app = typer.Typer(
    help="Take a catalogue out and in as files, back it up, check it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Store = Annotated[str | None, typer.Option(help="Path or s3://bucket/prefix  [default: setting store]")]
Collections = Annotated[
    str | None, typer.Option(help="Only these collections, with commas between  [default: all]")
]


@app.command("export")
def export_items(
    file: Annotated[Path, typer.Argument(help="stac-geoparquet file to write, e.g. scenes.parquet")],
    store: Store = None,
    collections: Collections = None,
) -> int:
    """Write items and their collections as one stac-geoparquet file, for GeoPandas, DuckDB and the like.

    Example: terraloom catalogue export scenes.parquet --store ./store --collections scenes
    """
    from catalog.client import SearchQuery
    from catalog.exports.geoparquet import write_geoparquet

    with _catalogue(store) as (client, _):
        wanted = _choose(client, collections)
        query = SearchQuery(collections=[each["id"] for each in wanted])
        written = write_geoparquet(map(_own, client.search(query)), file, collections=map(_own, wanted))
    sys.stdout.write(f"{written.path}: {written.items} items, {written.columns} columns\n")
    if written.noted:
        sys.stdout.write(f"{written.noted} items have values that no column holds: see terraloom:exact\n")
    return 0


@app.command("import")
def import_items(
    file: Annotated[Path, typer.Argument(help="stac-geoparquet file")],
    store: Store = None,
) -> int:
    """Put the items of a stac-geoparquet file into the catalogue; those that are there already are updated.

    Collections that the file brings along are created where there are none of their name.

    Example: terraloom catalogue import scenes.parquet --store ./store
    """
    from catalog.client import UpsertResult
    from catalog.exports.geoparquet import open_geoparquet

    found = open_geoparquet(file)
    total = UpsertResult()
    with _catalogue(store, new=True) as (client, _):
        known = {each["id"] for each in client.collections()}
        for name, collection in found.collections.items():
            if name not in known:
                client.upsert_collection(collection)
        for batch in _cut(found.items()):
            total += _without_outcomes(client.upsert_items(batch))
    sys.stdout.write(
        f"{file}: {total.created} items created, {total.updated} updated, {total.unchanged} unchanged\n"
    )
    return 0


@app.command("static")
def export_static(
    out: Annotated[str, typer.Argument(help="Empty folder or s3://bucket/prefix")],
    store: Store = None,
    collections: Collections = None,
    assets: Annotated[
        str, typer.Option(help="keep their addresses, copy the store's files along, or name them relative")
    ] = "keep",
    replace: Annotated[bool, typer.Option("--replace", help="Take an older export there away first")] = False,
) -> int:
    """Write the catalogue as a tree of JSON files for plain object storage or a web server.

    Example: terraloom catalogue static s3://bucket/stac --store ./store --assets copy
    """
    from catalog.client import SearchQuery
    from catalog.exports.asset_files import AssetFiles, AssetMode
    from catalog.exports.static_catalogue import write_static_catalogue

    if assets not in set(AssetMode):
        raise InputError(f"--assets {assets!r} is not known: expected keep, copy or relative")
    with _catalogue(store) as (client, storage):
        tree = write_static_catalogue(
            _choose(client, collections),
            lambda collection: client.search(SearchQuery(collections=[collection])),
            open_storage(out),
            assets=AssetFiles(mode=AssetMode(assets), store=storage),
            replace=replace,
        )
    sys.stdout.write(f"{tree.root}: {tree.collections} collections, {tree.items} items\n")
    if tree.copied:
        sys.stdout.write(f"copied {tree.copied} files, {tree.copied_bytes / 1e6:.1f} MB\n")
    return 0


@app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="New file")],
    store: Store = None,
) -> int:
    """Save the catalogue file while it is in use; the copy is of one moment, and checked.

    To go back: stop what uses the catalogue, delete its files (those ending in -wal and -shm, too), and put
    the copy in its place.

    Example: terraloom catalogue backup catalogue-2024-06-01.sqlite --store ./store
    """
    from catalog.database.upkeep import back_up

    saved = back_up(_catalogue_file(store), file)
    sys.stdout.write(
        f"{saved.path}: {saved.items} items in {saved.collections} collections, {saved.size / 1e6:.1f} MB\n"
    )
    return 0


@app.command("check")
def check(
    store: Store = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make indexes, values, texts and counts anew first")
    ] = False,
) -> int:
    """Look the catalogue file through: pages, references, indexes, and each item against its document.

    Exit code 2 when it has faults; each is one line.

    Example: terraloom catalogue check --store ./store
    """
    from catalog.database import upkeep

    path = _catalogue_file(store)
    if repair:
        upkeep.repair(path)
    found = upkeep.check(path)
    for fault in found.faults:
        sys.stdout.write(f"fault: {' '.join(fault.split())}\n")
    verdict = f"{len(found.faults)} faults" if found.faults else "sound"
    sys.stdout.write(f"{path}: {verdict}; {found.items} items in {found.collections} collections\n")
    return EXIT_FAULTS if found.faults else 0


@contextmanager
def _catalogue(store: str | None, *, new: bool = False) -> Iterator[tuple[CatalogueClient, Storage]]:
    """Open the catalogue of a store, wherever settings put it; the file is made only where it may be new."""
    from catalog.client import open_catalogue

    settings = load_settings(os.environ)
    storage = open_storage(store or settings.store)
    uri = _address(settings, storage)
    if not new and "://" not in uri and not Path(uri).exists():
        raise InputError(f"{uri} does not exist; publish something with 'terraloom map' first")
    token = settings.catalogue.token.get_secret_value() if settings.catalogue.token else None
    client = open_catalogue(uri, token=token)
    try:
        yield client, storage
    finally:
        client.close()


def _catalogue_file(store: str | None) -> Path:
    settings = load_settings(os.environ)
    uri = _address(settings, open_storage(store or settings.store))
    if "://" in uri:
        raise InputError(
            f"the catalogue of this store is {hide_secrets(uri)}: back it up and check it where it is kept"
        )
    return Path(uri)


def _address(settings: Settings, storage: Storage) -> str:
    return catalogue_uri(settings, storage.uri, data_home=data_home(os.environ))


def _choose(client: CatalogueClient, names: str | None) -> list[dict[str, Any]]:
    """Return the collections that are wanted, all of them where none is named."""
    known = {each["id"]: each for each in client.collections()}
    if names is None:
        return list(known.values())
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    absent = [name for name in wanted if name not in known]
    if absent or not wanted:
        there = ", ".join(known) or "none"
        raise NotFoundError(
            f"collection {', '.join(absent) or names!r} is not in the catalogue; there are: {there}"
        )
    return [known[name] for name in dict.fromkeys(wanted)]


def _own(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without the links that a server made for its own answer."""
    from catalog.database.documents import SERVER_RELS

    links = [link for link in document.get("links") or () if link.get("rel") not in SERVER_RELS]
    return {**document, "links": links}


def _cut(items: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    stream = iter(items)
    while batch := list(itertools.islice(stream, _IMPORT_ITEMS)):
        yield batch


def _without_outcomes(result: UpsertResult) -> UpsertResult:
    """Keep the counts only: the outcomes of a million items are of no use to a person."""
    return changed(result, outcomes=())
