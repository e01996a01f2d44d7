"""Find scenes in any STAC catalogue, API or static, in an order that does not depend on the server."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from catalog.records import Scene
from catalog.search.api import search_api, search_link
from catalog.search.fetch import JsonReader
from catalog.search.query import MAX_ITEMS, FoundItem, Query, refuse_unknown_collections, too_many
from catalog.search.walk import is_collection, walk_items
from catalog.sources.asset_bands import AssetBand, list_bands
from catalog.sources.band_choice import find_bands, unknown_band
from catalog.sources.extents import Bbox, Period, check_bbox, check_period, is_inside, parse_period
from catalog.sources.links import links_of
from catalog.sources.presets import Source
from catalog.sources.scenes import check_item, collection_of, scene_from_item
from infra.errors import AppError, DataError, InputError, NotFoundError
from infra.urls import UrlPolicy

_THREADS = 8
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RejectedItem:
    """Name an item that matches but cannot become a scene."""

    collection: str
    id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """Hold what a search gave; both lists are sorted by time or id."""

    scenes: tuple[Scene, ...]
    rejected: tuple[RejectedItem, ...] = ()


def search_scenes(
    source: Source,
    *,
    collections: Sequence[str],
    bbox: Bbox | None,
    datetime_range: Period | str | None,
    bands: Sequence[str] | None = None,
    max_items: int = MAX_ITEMS,
) -> list[Scene]:
    """Find scenes; an item that cannot become one is an error. See ``find_scenes``.

    Args:
        source: Where to look, from ``catalog.sources.presets.resolve_source``.
        collections: Ids; empty for all.
        bbox: West, south, east, north, degrees; west > east crosses the antimeridian.
        datetime_range: First and last instant or ``A/B``; None for any time.
        bands: Wanted bands, by any of their names; None for each collection's defaults.
        max_items: More than this is an error, not a truncation.

    Returns:
        Sorted by time, collection and id; empty when nothing matches.

    Raises:
        DataError: an item has no time, place or raster; otherwise as ``find_scenes``.
    """
    query = make_query(collections, bbox, datetime_range, max_items)
    found = find_scenes(source, query, bands)
    if found.rejected:
        first = found.rejected[0]
        more = f" (and {len(found.rejected) - 1} more)" if len(found.rejected) > 1 else ""
        raise DataError(f"{first.collection}/{first.id}: {first.reason}{more}", item=first.id)
    return list(found.scenes)


def make_query(
    collections: Sequence[str],
    bbox: Sequence[float] | None,
    datetime_range: Period | str | None,
    max_items: int = MAX_ITEMS,
) -> Query:
    """Check what is asked for.

    Raises:
        InputError: naming the value and the mend.
    """
    if isinstance(datetime_range, str):
        period = parse_period(datetime_range)
    else:
        period = check_period(datetime_range or (None, None))
    if max_items < 1:
        raise InputError(f"max_items {max_items} must be at least 1")
    return Query(
        collections=tuple(dict.fromkeys(collections)),
        bbox=check_bbox(bbox) if bbox is not None else None,
        period=period,
        max_items=max_items,
    )


def find_scenes(source: Source, query: Query, bands: Sequence[str] | None = None) -> Found:
    """Find scenes, and say which matching items cannot become one. Signs nothing.

    A STAC API is asked; a static catalogue, local or remote, is walked and filtered the same way.

    Args:
        source: Where to look.
        query: What is wanted, from ``make_query``.
        bands: Wanted bands. Each collection gives those it has; one that has none of them is an error, and
            so is a band that no collection has.

    Raises:
        InputError: an unknown collection or band (the nearest is named), an address outside the URL policy,
            an unfit id, more than ``max_items`` matches.
        NotFoundError: the catalogue cannot be reached.
        DataError: the catalogue is no STAC, or cuts its answer short.
        TransientError: the catalogue stays busy.
    """
    policy = source.policy()
    with JsonReader(policy) as reader:
        items, rejected = _find_items(reader, source, query)
    items, malformed = _part_malformed(items)
    rejected += malformed
    wanted = _agree_on_bands(source, items, bands)

    def build(found: FoundItem) -> Scene | RejectedItem:
        try:
            return _to_scene(found, source, policy, wanted)
        except (DataError, NotFoundError) as exc:
            return _reject(found, exc)

    with ThreadPoolExecutor(_THREADS) as pool:
        built = list(pool.map(build, items))
    rejected += [entry for entry in built if isinstance(entry, RejectedItem)]
    scenes = [entry for entry in built if isinstance(entry, Scene)]
    scenes.sort(key=lambda scene: (scene.datetime, scene.collection, scene.id))
    return Found(
        scenes=tuple(scenes), rejected=tuple(sorted(rejected, key=lambda entry: (entry.collection, entry.id)))
    )


def _find_items(
    reader: JsonReader, source: Source, query: Query
) -> tuple[list[FoundItem], list[RejectedItem]]:
    landing: dict[str, Any] | None = None
    if source.is_remote:
        landing = reader.read(source.location)
        endpoint = search_link(landing, source.location)
        if endpoint is not None:
            return search_api(reader, landing, endpoint, query, source.location), []
        _refuse_api_collection(landing, source.location)
    return _walk(reader, source, query, landing)


def _walk(
    reader: JsonReader, source: Source, query: Query, entry: dict[str, Any] | None
) -> tuple[list[FoundItem], list[RejectedItem]]:
    found: dict[tuple[str, str], FoundItem] = {}
    rejected: list[RejectedItem] = []
    available: set[str] = set()
    for found_item in walk_items(reader, source.location, query.collections, available, entry):
        collection = collection_of(found_item.item, found_item.collection)
        available.add(collection)
        if query.collections and collection not in query.collections:
            continue
        try:
            check_item(found_item.item)
            inside = is_inside(found_item.item, query.bbox, query.period)
        except DataError as exc:
            rejected.append(_reject(found_item, exc))
            continue
        if not inside:
            continue
        key = collection, str(found_item.item.get("id"))
        if key in found and found[key].item != found_item.item:
            logger.warning(
                "%s: %s/%s is there twice; %s is left out", source.location, *key, found_item.base_href
            )
        found.setdefault(key, found_item)
        if len(found) > query.max_items:
            raise too_many(query.max_items, source.location)
    refuse_unknown_collections(query.collections, available, source.location)
    return list(found.values()), rejected


def _part_malformed(items: Sequence[FoundItem]) -> tuple[list[FoundItem], list[RejectedItem]]:
    sound, malformed = [], []
    for found in items:
        try:
            check_item(found.item)
            sound.append(found)
        except DataError as exc:
            malformed.append(_reject(found, exc))
    return sound, malformed


def _to_scene(
    found: FoundItem, source: Source, policy: UrlPolicy, wanted: Mapping[str, Sequence[str] | None]
) -> Scene:
    collection = collection_of(found.item, found.collection)
    names = wanted.get(collection)
    if names is not None:
        offered = _offered(found)
        mine = [name for name in names if _offers(found, source, offered, name)]
        if not mine:
            raise DataError(unknown_band(names[0], offered, f"{collection}/{found.item.get('id')}"))
        if len(mine) < len(names):
            missing = ", ".join(name for name in names if name not in mine)
            logger.warning("%s/%s lacks %s", collection, found.item.get("id"), missing)
        names = mine
    return scene_from_item(
        found.item,
        source=source,
        bands=names,
        policy=policy,
        base_href=found.base_href,
        collection=found.collection,
    )


def _agree_on_bands(
    source: Source, items: Sequence[FoundItem], bands: Sequence[str] | None
) -> dict[str, Sequence[str] | None]:
    """Settle for each collection which of the wanted bands it gives, in the order wanted."""
    by_collection: dict[str, list[FoundItem]] = defaultdict(list)
    for found in items:
        by_collection[collection_of(found.item, found.collection)].append(found)
    if bands is None:
        return dict.fromkeys(by_collection)
    agreed: dict[str, Sequence[str] | None] = {}
    for collection, members in sorted(by_collection.items()):
        pairs = [(found, _offered(found)) for found in members]
        given = [
            name for name in bands if any(_offers(found, source, offered, name) for found, offered in pairs)
        ]
        if not given:
            raise InputError(unknown_band(bands[0], pairs[0][1], f"collection {collection!r}"), band=bands[0])
        agreed[collection] = given
    for name in bands if agreed else ():
        if not any(name in (given or ()) for given in agreed.values()):
            every = [band for found in items for band in _offered(found)]
            unique = {band.variable: band for band in every}.values()
            raise InputError(unknown_band(name, unique, f"collection {', '.join(agreed)}"), band=name)
    return agreed


def _offered(found: FoundItem) -> list[AssetBand]:
    return list_bands(found.item, (found.collection or {}).get("item_assets"))


def _offers(found: FoundItem, source: Source, offered: Sequence[AssetBand], name: str) -> bool:
    properties = found.item.get("properties") or {}
    profile = source.profile(collection_of(found.item, found.collection), properties.get("constellation"))
    if find_bands(offered, name, profile):
        return True
    # Assets that list no bands may hold it; their header will tell.
    return any(band.count is None and not (profile and profile.find(band.variable)) for band in offered)


def _refuse_api_collection(document: Mapping[str, Any], location: str) -> None:
    if is_collection(document) and links_of(document, "items") and not links_of(document, "item", "child"):
        root = next((link["href"] for link in links_of(document, "root")), "its landing page")
        raise InputError(
            f"{location} is a collection of an API; use --source {root} --collections {document.get('id')}"
        )


def _reject(found: FoundItem, exc: AppError) -> RejectedItem:
    identifier = str(found.item.get("id"))
    logger.warning("item %s is left out: %s", identifier, exc)
    return RejectedItem(collection=str(found.item.get("collection") or ""), id=identifier, reason=exc.message)
