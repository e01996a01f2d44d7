"""Hold the command that finds the places that look most alike to a model."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.map import Json, Store, chosen_store
from infra.errors import ConfigError, InputError
from infra.settings import catalogue_uri, data_home, load_settings

if TYPE_CHECKING:
    from catalog.embeddings.searching import Choice, Searchable
    from catalog.embeddings.similarity import SimilarPlaces
    from infra.storage import Storage

Item = Annotated[
    str, typer.Option(metavar="ITEM", help="Embeddings that hold the place, or the scene that was encoded")
]
Point = Annotated[str, typer.Option(metavar="LON,LAT", help="The place, degrees")]
Top = Annotated[int, typer.Option(min=1, max=1000, help="How many places to find")]
Alone = Annotated[
    bool, typer.Option("--only-item", help="Search that item alone, not all that compare with it")
]
Picture = Annotated[Path | None, typer.Option(help="Also draw the places into this PNG")]


def similar(  # noqa: PLR0913 - the options are the command's contract
    item: Item,
    point: Point,
    store: Store = None,
    top: Top = 10,
    only_item: Alone = False,
    picture: Picture = None,
    as_json: Json = False,
) -> int:
    """Find the places that look most alike to a model, over all scenes it has encoded.

    Example: terraloom similar --item embedded-sample-optical-20250918-… --point 2.33,54.71 --picture a.png
    """
    from catalog.embeddings.searching import load_tables
    from catalog.embeddings.similarity import find_similar
    from infra.storage import open_storage

    lonlat = _parse_point(point)
    if picture is not None and (picture.suffix.lower() != ".png" or not picture.parent.is_dir()):
        raise InputError(f"picture {picture} cannot be written; name a .png in a folder that is there")
    storage = open_storage(chosen_store(store))
    chosen = _choose(storage, item, alone=only_item)
    first = chosen.items[0]
    found = find_similar(load_tables(storage, chosen.items), first.id, lonlat, tile_m=first.tile_m, top=top)
    if picture is not None:  # first, so that a command that fails has told nothing as if it had not
        _draw(storage, found, chosen.items, picture)
    _warn(found, chosen.skipped)
    _tell(found, as_json=as_json)
    if picture is not None:
        sys.stderr.write(f"picture    {picture}\n")
    return 0


def _parse_point(text: str) -> tuple[float, float]:
    try:
        lon, lat = (float(word) for word in text.split(","))
    except ValueError as exc:
        raise InputError(f"point {text!r} is not two numbers; give lon,lat, e.g. 13.4,52.5") from exc
    return lon, lat


def _choose(storage: Storage, item: str, *, alone: bool) -> Choice:
    from catalog.client import SearchQuery, open_catalogue
    from catalog.embeddings.searching import choose_items
    from catalog.items.collections import EMBEDDINGS

    settings = load_settings(os.environ)
    uri = catalogue_uri(settings, storage.uri, data_home=data_home(os.environ))
    token = settings.catalogue.token
    with closing(open_catalogue(uri, token=token.get_secret_value() if token else None)) as client:
        known = {each["id"] for each in client.collections()}
        items = client.search(SearchQuery(collections=[EMBEDDINGS])) if EMBEDDINGS in known else iter(())
        return choose_items(items, item, alone=alone)


def _warn(found: SimilarPlaces, skipped: int) -> None:
    if skipped:
        sys.stderr.write(f"warning    {skipped} items of embeddings do not describe their tiles; left out\n")
    if not found.holds_point:
        sys.stderr.write(
            f"warning    no tile with data holds the point; the nearest is asked about, with its middle at "
            f"{found.query.lon:.5f},{found.query.lat:.5f}\n"
        )


def _tell(found: SimilarPlaces, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(dataclasses.asdict(found)) + "\n")
        return
    from flows.terminal import print_rows

    rows = [
        {
            "": number,
            "lon": f"{place.lon:.5f}",
            "lat": f"{place.lat:.5f}",
            "cosine": f"{place.cosine:.3f}",
            "item": place.item,
        }
        for number, place in enumerate(found.places, start=1)
    ]
    asked = f"{found.query.lon:.5f},{found.query.lat:.5f} of {found.query.item}"
    print_rows(f"{len(rows)} places most alike to {asked}, of {found.searched} searched", rows)


def _draw(storage: Storage, found: SimilarPlaces, searched: Sequence[Searchable], picture: Path) -> None:
    from catalog.embeddings.similar_picture import draw_similar, encode_png, read_scene_picture

    shown = {found.query.item, *(place.item for place in found.places)}
    pictures = {each.id: read_scene_picture(storage, each.scenes[0]) for each in searched if each.id in shown}
    drawn = draw_similar(found, pictures, model=searched[0].model, tile_m=searched[0].tile_m)
    try:
        picture.write_bytes(encode_png(drawn))
    except OSError as exc:
        raise ConfigError(f"picture {picture} cannot be written: {exc.strerror}; name another place") from exc
