"""Reduce a STAC item to a Scene: which bands, where, in what numbers, under which cloud rule."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog.asset_bands import AssetBand, list_bands, to_variable
from catalog.masks import rule_for_band
from catalog.probe import BandHeader, probe_band, probe_file
from catalog.profiles import BandProfile, Profile
from catalog.records import Band, Scene
from catalog.sources import Source
from infra.errors import DataError, InputError
from infra.urls import UrlPolicy, check_id

_CARRIED = frozenset(
    {"platform", "instruments", "constellation", "mission", "gsd", "grid:code", "providers", "title", "created"}
) - {"title", "created"}
_CARRIED_PREFIXES = ("sar:", "sat:", "view:", "landsat:", "mgrs:", "s2:mgrs")
_CARRIED_EXACT = frozenset({"eo:cloud_cover", "eo:snow_cover", "s2:processing_baseline", "proj:code"})
_VERSION_KEYS = (
    "version",
    "s2:processing_baseline",
    "sentinel:processing_baseline",
    "processing:version",
    "updated",
)
_OFFSET_BASELINE = 4.0
_OFFSET_DN = -1000.0


@dataclass(frozen=True, kw_only=True)
class _Context:
    source: Source
    policy: UrlPolicy
    base_href: str | None
    profile: Profile | None
    properties: Mapping[str, Any]

    def probe(self, band: AssetBand) -> tuple[BandHeader, ...]:
        return probe_file(self.policy.check_resolved(self.absolute(band)), self.source.signer)

    def absolute(self, band: AssetBand) -> str:
        return self.policy.check(band.href, base=self.base_href)


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
    collection_id = check_id(item.get("collection") or (collection or {}).get("id"), what="collection id")
    profile = source.profile(collection_id, properties.get("constellation"))
    context = _Context(
        source=source, policy=policy, base_href=base_href, profile=profile, properties=properties
    )
    offered = list_bands(item, (collection or {}).get("item_assets"))
    if not offered:
        raise DataError(f"item {scene_id!r} has no raster asset (GeoTIFF or JPEG 2000)", item=scene_id)
    chosen = _choose_bands(offered, bands, context, f"{collection_id}/{scene_id}", collection_id)
    chosen, quality, rule = _add_quality(chosen, offered, profile)
    return Scene(
        collection=collection_id,
        id=scene_id,
        datetime=instant_of(item),
        geometry=geometry_of(item),
        bands=tuple(_to_band(variable, band, context) for variable, band in chosen),
        quality_band=quality,
        mask_rule=rule,
        signer=source.signer,
        self_href=_self_href(item) or base_href,
        title=_first_text(collection, "title") or (profile.title if profile else None),
        license=_first_text(properties, "license")
        or _first_text(collection, "license")
        or (profile.license if profile else None),
        properties=_carried(properties),
        version=next((str(properties[key]) for key in _VERSION_KEYS if properties.get(key)), None),
    )


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


def _choose_bands(
    offered: Sequence[AssetBand],
    names: Sequence[str] | None,
    context: _Context,
    place: str,
    collection: str,
) -> list[tuple[str, AssetBand]]:
    if names is None:
        listed = context.source.collections.get(collection)
        if listed and all(find_bands(offered, name, context.profile) for name in listed.default_bands):
            names = listed.default_bands
    if names is None:
        data = [band for band in offered if band.is_data] or list(offered)
        return [(band.variable, band) for band in _expand(data, context)]
    chosen: dict[str, AssetBand] = {}
    for name in names:
        found = find_bands(offered, name, context.profile)
        if not found:
            found = find_bands(_expand(offered, context, only_local=True), name, context.profile)
        if not found:
            raise InputError(unknown_band(name, offered, place), band=name)
        for variable, band in found:
            chosen.setdefault(variable, band)
    return list(chosen.items())


def find_bands(
    offered: Sequence[AssetBand], name: str, profile: Profile | None
) -> list[tuple[str, AssetBand]]:
    """Find what a requested name means among an item's bands; an empty list when nothing.

    An asset key with several bands means all of them. Where several assets carry a band (10 m and 20 m
    copies), the finest pixel wins, then GeoTIFF over JPEG 2000, then the item's order.
    """
    asset, _, index = name.rpartition(":")
    if asset and index.isdigit():
        return _nth_band(offered, asset, int(index))
    synonyms = [name]
    known = profile.find(name) if profile else None
    synonyms += [synonym for synonym in (known.names if known else ()) if synonym != name]
    for fold in (str, str.lower):
        for synonym in synonyms:
            wanted = fold(synonym)
            whole = [band for band in offered if fold(band.asset) == wanted]
            if len(whole) > 1:
                return [(band.variable, band) for band in whole]
            for match in (
                whole,
                [band for band in offered if fold(band.variable) == wanted],
                [band for band in offered if wanted in map(fold, band.names)],
            ):
                if match:
                    return [(to_variable(name), min(match, key=_preference))]
    return []


def unknown_band(name: str, offered: Iterable[AssetBand], place: str) -> str:
    """Say that a band is not there, name the nearest and list what is."""
    variables = [band.variable for band in offered]
    every = list(dict.fromkeys([*variables, *(other for band in offered for other in band.names)]))
    near = difflib.get_close_matches(name, every, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{place} has no band {name!r}; {hint}available: {', '.join(variables)}"


def _nth_band(offered: Sequence[AssetBand], asset: str, index: int) -> list[tuple[str, AssetBand]]:
    of_asset = [band for band in offered if band.asset == asset]
    exact = [band for band in of_asset if band.index == index]
    if not exact and of_asset and of_asset[0].count is None and index > 0:
        exact = [replace(of_asset[0], index=index)]  # the item does not say how many there are
    return [(to_variable(f"{asset}_{index}"), band) for band in exact]


def _preference(band: AssetBand) -> tuple[float, bool]:
    return band.gsd_m or float("inf"), band.href.lower().endswith(".jp2")


def _expand(
    bands: Sequence[AssetBand], context: _Context, *, only_local: bool = False
) -> list[AssetBand]:
    # An asset that lists no bands may hold several; only its header knows.
    expanded: list[AssetBand] = []
    for band in bands:
        known = context.profile.find(band.variable) if context.profile else None
        if band.count is not None or known is not None or (only_local and context.source.is_remote):
            expanded.append(band)
            continue
        headers = context.probe(band)
        if len(headers) == 1:
            expanded.append(band)
            continue
        for index, header in enumerate(headers, start=1):
            name = header.description or (header.colour if header.colour in _COLOURS else "")
            expanded.append(
                replace(
                    band,
                    index=index,
                    count=len(headers),
                    variable=to_variable(f"{band.asset}_{index}"),
                    names=(name,) if name else (),
                )
            )
    return expanded


_COLOURS = ("red", "green", "blue", "nir", "alpha")


def _add_quality(
    chosen: list[tuple[str, AssetBand]], offered: Sequence[AssetBand], profile: Profile | None
) -> tuple[list[tuple[str, AssetBand]], str | None, str | None]:
    found, rule = None, None
    if profile and profile.quality_band:
        matches = find_bands(offered, profile.quality_band, profile)
        found, rule = (matches[0][1] if matches else None), profile.mask_rule
    if found is None:
        for band in offered:
            rule = next((key for name in (band.asset, *band.names) if (key := rule_for_band(name))), None)
            if rule is not None:
                found = band
                break
    if found is None:
        return chosen, None, None
    for variable, band in chosen:
        if (band.asset, band.index) == (found.asset, found.index):
            return chosen, variable, rule
    return [*chosen, (found.variable, replace(found, quality=True))], found.variable, rule
