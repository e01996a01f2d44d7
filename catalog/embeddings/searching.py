"""Gather the published embeddings that can be compared with one of them."""

from __future__ import annotations

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
    scene: str
    """Id of the scene that it shows."""
    tile_m: float


def choose_items(items: Iterable[Item], name: str, *, alone: bool) -> list[Searchable]:
    """Choose the items to search: the one asked about first, then those that can be compared with it.

    Args:
        items: All items of embeddings there are.
        name: Id of one, or of a scene that was encoded once.
        alone: Only that one.

    Raises:
        NotFoundError: there is none.
        InputError: the scene was encoded more than once.
        DataError: the item does not say what it must.
    """
    known = {check_id(item.get("id"), what="item"): item for item in items}
    asked = name if name in known else _find_by_scene(known, name)
    first = _fields(known[asked])
    alike = [each for each in sorted(known) if each != asked and _fields(known[each]) == first]
    return [_describe(known[each]) for each in (asked, *(() if alone else alike))]


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


def _find_by_scene(known: Mapping[str, Item], scene: str) -> str:
    found = [name for name, item in known.items() if scene in item["properties"].get("embedding:scenes", ())]
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


def _fields(item: Item) -> list[Any]:
    return [item["properties"].get(f"embedding:{name}") for name in _SAME]


def _describe(item: Item) -> Searchable:
    fields = item["properties"]
    try:
        tile_m, scene = (
            float(fields["embedding:tile_m"]),
            check_id(fields["embedding:scenes"][0], what="item"),
        )
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise DataError(
            f"item {item['id']} does not describe its tiles ({exc!r:.80}); publish it again"
        ) from exc
    return Searchable(id=item["id"], scene=scene, tile_m=tile_m)
