"""Reduce a STAC item to a Scene: which bands, where, in what numbers, under which cloud rule."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any

from catalog.records import Scene
from catalog.sources.asset_bands import AssetBand, list_bands
from catalog.sources.band_choice import choose_bands, find_bands
from catalog.sources.band_facts import settle_band
from catalog.sources.links import self_url
from catalog.sources.presets import Source
from catalog.sources.probe import BandHeader, probe_file
from catalog.sources.profiles import Profile
from catalog.sources.signing import unsigned
from infra.errors import DataError
from infra.urls import UrlPolicy, check_id

UNCOLLECTED = "uncollected"
"""Collection id given to items that name none."""
_CARRIED = frozenset(
    {
        *("platform", "instruments", "constellation", "mission", "gsd", "providers", "grid:code"),
        *("eo:cloud_cover", "eo:snow_cover", "s2:processing_baseline", "proj:code"),
    }
)
_CARRIED_PREFIXES = ("sar:", "sat:", "view:", "landsat:", "mgrs:")
_VERSION_KEYS = (
    "version",
    "s2:processing_baseline",
    "sentinel:processing_baseline",
    "processing:version",
    "updated",
)


def scene_from_item(
    item: Mapping[str, Any],
    *,
    source: Source,
    bands: Sequence[str] | None,
    policy: UrlPolicy,
    base_href: str | None,
    collection: Mapping[str, Any] | None = None,
) -> Scene:
    """Reduce a STAC item, version 1.0 (betas included) or 1.1, to what reading and publishing need.

    Headers of files are read only where neither the item nor the source's profile says what numbers a band
    holds. Nothing is signed but for that.

    Args:
        item: The item as JSON.
        source: Where it comes from.
        bands: Wanted, each as asset key, band name, common name, a synonym (``B04``, ``red``) or
            ``asset:3``; None takes the preset's defaults, else every data band.
        policy: What the catalogue may have us read; every address is checked.
        base_href: Where the item was read, for relative addresses and ``self_href``.
        collection: The item's collection as JSON, for ``item_assets``, title and licence.

    Raises:
        InputError: a band the item has not (the available ones are listed), an address outside the policy,
            an id unfit for a path.
        DataError: no time, no place, or no raster asset.
        NotFoundError, TransientError: a header had to be read and could not.
    """
    properties = item.get("properties") or {}
    scene_id = check_id(item.get("id"), what="item id")
    collection_id = collection_of(item, collection)
    profile = source.profile(collection_id, properties.get("constellation"))
    offered = list_bands(item, (collection or {}).get("item_assets"))
    if not offered:
        raise DataError(f"item {scene_id!r} has no raster asset (GeoTIFF or JPEG 2000)", item=scene_id)

    def address(band: AssetBand) -> str:
        href = policy.check(band.href, base=base_href)
        return unsigned(href) if source.signer else href

    def probe(band: AssetBand) -> tuple[BandHeader, ...]:
        return probe_file(policy.check_resolved(address(band)), source.signer)

    wanted = bands if bands is not None else _default_names(source, collection_id, offered, profile)
    choice = choose_bands(offered, wanted, profile=profile, probe=probe, place=f"{collection_id}/{scene_id}")
    return Scene(
        collection=collection_id,
        id=scene_id,
        datetime=instant_of(item),
        geometry=geometry_of(item),
        bands=tuple(
            settle_band(name, band, address(band), profile=profile, probe=probe, properties=properties)
            for name, band in choice.bands
        ),
        quality_band=choice.quality_band,
        mask_rule=choice.mask_rule,
        signer=source.signer,
        self_href=unsigned(own) if (own := self_url(item)) else base_href,
        title=_first_text("title", collection) or (profile.title if profile else None),
        license=_first_text("license", properties, collection) or (profile.license if profile else None),
        properties=_carried(properties),
        version=_version(properties),
    )


def check_item(item: Mapping[str, Any]) -> None:
    """Check the JSON shape of what is read from an item, so that nothing later trips over it.

    Raises:
        DataError: naming the first member of the wrong kind.
    """
    members = (
        ("properties", dict, item.get("properties")),
        ("assets", dict, item.get("assets")),
        ("links", list, item.get("links")),
        ("geometry", dict, item.get("geometry")),
        ("bbox", list, item.get("bbox")),
        *((f"assets.{key}", dict, asset) for key, asset in _entries(item.get("assets"))),
        *(
            (f"assets.{key}.href", str, asset.get("href", 0))
            for key, asset in _entries(item.get("assets"), dict)
        ),
        *(
            (f"assets.{key}.{name}", list, asset.get(name))
            for key, asset in _entries(item.get("assets"), dict)
            for name in ("bands", "eo:bands", "raster:bands", "roles")
        ),
        *((f"links.{index}", dict, link) for index, link in enumerate(_listed(item.get("links")))),
    )
    for name, kind, value in members:
        if value is not None and not isinstance(value, kind):
            raise DataError(
                f"item {item.get('id')!r} is no well-formed STAC: {name} is {type(value).__name__}"
            )


def collection_of(item: Mapping[str, Any], collection: Mapping[str, Any] | None = None) -> str:
    """Return the id of an item's collection; STAC allows none, and such items go by ``UNCOLLECTED``.

    Raises:
        InputError: the id is unfit for a path.
    """
    stated = item.get("collection") or (collection or {}).get("id") or UNCOLLECTED
    return check_id(stated, what="collection id")


def instant_of(item: Mapping[str, Any]) -> dt.datetime:
    """Return an item's time, UTC: ``datetime``, else the start of its interval.

    Raises:
        DataError: neither is there, or it cannot be read.
    """
    properties = item.get("properties") or {}
    text = properties.get("datetime") or properties.get("start_datetime")
    if not text:
        raise DataError(f"item {item.get('id')!r} states neither datetime nor start_datetime")
    return parse_instant(str(text), f"item {item.get('id')!r}")


def parse_instant(text: str, place: str) -> dt.datetime:
    """Read an RFC 3339 time as UTC; one without a zone is taken as UTC.

    Raises:
        DataError: it cannot be read.
    """
    try:
        instant = dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text.strip()))
    except ValueError as exc:
        raise DataError(f"{place}: time {text!r} is not RFC 3339, e.g. 2020-06-01T10:30:00Z") from exc
    return instant.replace(tzinfo=dt.UTC) if instant.tzinfo is None else instant.astimezone(dt.UTC)


def geometry_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item's footprint as GeoJSON: its geometry, else its bbox as a polygon.

    Raises:
        DataError: the item has neither.
    """
    geometry = item.get("geometry")
    if geometry:
        return dict(geometry)
    bbox = item.get("bbox")
    if not bbox or len(bbox) not in (4, 6):
        raise DataError(f"item {item.get('id')!r} states neither geometry nor bbox: it is nowhere")
    west, south, east, north = bbox[0], bbox[1], bbox[len(bbox) // 2], bbox[len(bbox) // 2 + 1]
    boxes = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    rings = [[[[w, south], [e, south], [e, north], [w, north], [w, south]]] for w, e in boxes]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _entries(value: object, kind: type = object) -> list[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, dict) else ()
    return [(str(key), entry) for key, entry in pairs if isinstance(entry, kind)]


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _default_names(
    source: Source, collection: str, offered: Sequence[AssetBand], profile: Profile | None
) -> Sequence[str] | None:
    listed = source.collections.get(collection)
    if listed and all(find_bands(offered, name, profile) for name in listed.default_bands):
        return listed.default_bands
    return None


def _version(properties: Mapping[str, Any]) -> str | None:
    return next((str(properties[key]) for key in _VERSION_KEYS if properties.get(key)), None)


def _first_text(key: str, *places: Mapping[str, Any] | None) -> str | None:
    texts = (place.get(key) for place in places if place)
    return next((text for text in texts if isinstance(text, str) and text), None)


def _carried(properties: Mapping[str, Any]) -> dict[str, Any]:
    carried = {
        key: value
        for key, value in properties.items()
        if value is not None and (key in _CARRIED or key.startswith(_CARRIED_PREFIXES))
    }
    epsg = properties.get("proj:epsg")
    if isinstance(epsg, int) and "proj:code" not in carried:
        carried["proj:code"] = f"EPSG:{epsg}"  # projection v1 said it with a number
    return dict(sorted(carried.items()))
