"""Gather the published embeddings that can be compared with one of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.embeddings.finish import VECTORS_NAME
from catalog.embeddings.plan import PRODUCTS_FOLDER
from catalog.embeddings.vectors import TileVectors, decode_tile_vectors
from infra.errors import DataError, InputError, NotFoundError
from infra.storage import Storage
from infra.urls import check_id

Item = Mapping[str, Any]
_SAME = ("model", "model_sha256", "modalities", "width", "tile_m")
"""What two items must share for their vectors to be comparable."""


@dataclass(frozen=True, kw_only=True)
class Searchable:
    """Name one item of embeddings as a search needs it."""

    id: str
    scenes: tuple[str, ...]
    """Ids of the scenes that it was made of; the first one is shown."""
    model: str
    tile_m: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Name the items that are searched."""

    items: tuple[Searchable, ...]
    """The one that was asked about first."""
    skipped: int
    """Items of embeddings that do not say what a search must know, and were left out."""


def choose_items(items: Iterable[Item], name: str, *, alone: bool) -> Choice:
    """Choose the items to search: the one asked about first, then those that can be compared with it.

    Args:
        items: All items of embeddings there are.
        name: Id of one, or of a scene that was encoded once.
        alone: Only that one.

    Raises:
        NotFoundError: there is none.
        InputError: the scene was encoded more than once.
        DataError: the item that is asked about does not say what it must.
    """
    known: dict[str, tuple[Searchable, list[Any]]] = {}
    faults: list[tuple[object, DataError]] = []
    for item in items:
        try:
            found = _describe(item)
        except DataError as exc:
            faults.append((item.get("id"), exc))
        else:
            known[found.id] = found, [item["properties"].get(f"embedding:{field}") for field in _SAME]
    for fault in (exc for identifier, exc in faults if identifier == name):
        raise fault
    asked = name if name in known else _find_by_scene([each for each, _ in known.values()], name)
    alike = [each for each in sorted(known) if each != asked and known[each][1] == known[asked][1]]
    return Choice(
        items=tuple(known[each][0] for each in (asked, *(() if alone else alike))), skipped=len(faults)
    )


def load_tables(storage: Storage, items: Iterable[Searchable]) -> dict[str, TileVectors]:
    """Read the tile vectors of items: id → table.

    Raises:
        InputError: a product is not in this store.
        DataError: a table is damaged.
    """
    tables = {}
    for item in items:
        path = f"{PRODUCTS_FOLDER}/{item.id}/{VECTORS_NAME}"
        try:
            tables[item.id] = decode_tile_vectors(storage.read(path))
        except NotFoundError as exc:
            raise InputError(f"{storage.uri} holds no {path}; search the store that holds it") from exc
    return tables


def _find_by_scene(known: Iterable[Searchable], scene: str) -> str:
    found = [each.id for each in known if scene in each.scenes]
    if not found:
        raise NotFoundError(
            f"no embeddings {scene!r} are published, nor any of a scene of that id; "
            f"'terraloom items --collection {PRODUCTS_FOLDER}' lists what there is"
        )
    if len(found) > 1:
        raise InputError(
            f"scene {scene} was encoded {len(found)} times; name one: {', '.join(sorted(found))}"
        )
    return found[0]


def _describe(item: Item) -> Searchable:
    """Read what a search needs of an item that may come from anywhere.

    Raises:
        DataError: it does not say it.
    """
    try:
        fields, name = item["properties"], check_id(item["id"], what="item")
        tile_m, width = float(fields["embedding:tile_m"]), int(fields["embedding:width"])
        model = str(fields["embedding:model"])
        scenes = tuple(check_id(each, what="item") for each in fields["embedding:scenes"])
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise DataError(
            f"item {item.get('id')!r:.80} does not describe its tiles ({exc!r:.80}); publish it again"
        ) from exc
    if not (scenes and width > 0 and math.isfinite(tile_m) and tile_m > 0):
        raise DataError(f"item {name} states no scene, no vector or no tile; publish it again")
    return Searchable(id=name, scenes=scenes, model=model, tile_m=tile_m)
