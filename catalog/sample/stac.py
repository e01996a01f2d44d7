"""Describe the sample world as a static STAC 1.1 catalogue."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catalog.sample.files import Grid
from catalog.sample.frame import Frame

Json = dict[str, Any]

_EXTENSION = "https://stac-extensions.github.io/{}/schema.json"
_SHARED = ("projection/v2.0.0", "raster/v2.0.0", "file/v2.1.0", "view/v1.0.0")
EXTENSIONS = {
    "sample-optical": (*_SHARED, "eo/v2.0.0", "classification/v2.0.0"),
    "sample-radar": (*_SHARED, "sar/v1.0.0", "sat/v1.0.0"),
}
PLATFORM = {
    "sample-optical": {"platform": "sample-optical-1", "instruments": ["optical-simulator"], "gsd": 10},
    "sample-radar": {"platform": "sample-radar-1", "instruments": ["radar-simulator"], "gsd": 10},
}
OPTICAL_BANDS: dict[str, Json] = {
    "blue": {"name": "blue", "eo:common_name": "blue", "eo:center_wavelength": 0.492},
    "green": {"name": "green", "eo:common_name": "green", "eo:center_wavelength": 0.560},
    "red": {"name": "red", "eo:common_name": "red", "eo:center_wavelength": 0.665},
    "nir": {"name": "nir", "eo:common_name": "nir", "eo:center_wavelength": 0.833},
    "swir16": {"name": "swir16", "eo:common_name": "swir16", "eo:center_wavelength": 1.614},
}
TITLES = {"sample-optical": "Sample world, optical scenes", "sample-radar": "Sample world, radar scenes"}
TEXTS = {
    "sample-optical": "Simulated reflectance of an invented town in five bands, with scene classification.",
    "sample-radar": "Simulated gamma nought (dB) of the same town; its geolocation is off by a known shift.",
}


@dataclass(frozen=True, kw_only=True)
class ItemDraft:
    """Hold what an item says; files lie beside it."""

    collection: str
    id: str
    moment: dt.datetime
    grid: Grid
    shape_yx: tuple[int, int]
    bounds_xy: tuple[float, float, float, float]
    """Left, bottom, right, top in the local frame, metres."""
    properties: Json
    assets: dict[str, Json]


def spell_time(moment: dt.datetime) -> str:
    """Spell a moment in UTC as STAC does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def outline(
    frame: Frame, bounds_xy: tuple[float, float, float, float]
) -> tuple[list[list[float]], list[float]]:
    """Return ring and bbox in degrees of a rectangle in the local frame."""
    left, bottom, right, top = bounds_xy
    corners = np.array(
        [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]], np.float64
    )
    ring = np.round(frame.to_lonlat(corners), 7)
    return ring.tolist(), [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()]


def build_item(frame: Frame, draft: ItemDraft) -> Json:
    """Build one STAC item."""
    ring, bbox = outline(frame, draft.bounds_xy)
    properties = {
        "datetime": spell_time(draft.moment),
        "created": "2025-01-01T00:00:00Z",
        "updated": "2025-01-01T00:00:00Z",
        "constellation": "sample-world",
        **PLATFORM[draft.collection],
        "proj:code": f"EPSG:{frame.epsg}",
        "proj:shape": list(draft.shape_yx),
        "proj:transform": list(draft.grid.transform)[:6],
        **draft.properties,
    }
    collection = "../collection.json"
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": draft.id,
        "collection": draft.collection,
        "stac_extensions": [_EXTENSION.format(name) for name in EXTENSIONS[draft.collection]],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": bbox,
        "properties": properties,
        "assets": draft.assets,
        "links": [
            {"rel": "root", "href": "../../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": collection, "type": "application/json"},
            {"rel": "collection", "href": collection, "type": "application/json"},
        ],
    }


def build_collection(frame: Frame, name: str, items: list[Json]) -> Json:
    """Build one collection over its items."""
    side = frame.extent_m
    _, bbox = outline(frame, (0, 0, side, side))
    times = sorted(item["properties"]["datetime"] for item in items)
    keys = sorted({key for item in items for key in item["assets"]})
    described = {
        key: _generalise(next(i["assets"][key] for i in items if key in i["assets"])) for key in keys
    }
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "title": TITLES[name],
        "description": TEXTS[name],
        "stac_extensions": [_EXTENSION.format(extension) for extension in EXTENSIONS[name]],
        "license": "CC0-1.0",
        "keywords": ["simulated", "sample", "test"],
        "providers": [{"name": "Terraloom", "roles": ["producer", "host"]}],
        "extent": {"spatial": {"bbox": [bbox]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "summaries": {
            "platform": [PLATFORM[name]["platform"]],
            "gsd": [10],
            "proj:code": [f"EPSG:{frame.epsg}"],
        },
        "item_assets": described,
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            *(
                {"rel": "item", "href": f"./{i['id']}/{i['id']}.json", "type": "application/geo+json"}
                for i in items
            ),
        ],
    }


def _generalise(asset: Json) -> Json:
    """Keep of an asset what holds for every item."""
    own = ("href", "file:", "proj:", "statistics")
    return {key: value for key, value in asset.items() if not key.startswith(own)}


def build_catalog(collections: list[str]) -> Json:
    """Build the root catalogue."""
    links: list[Json] = [{"rel": "root", "href": "./catalog.json", "type": "application/json"}]
    links += [
        {"rel": "child", "href": f"./{name}/collection.json", "type": "application/json"}
        for name in collections
    ]
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "sample-world",
        "title": "Sample world",
        "description": "A small invented Earth: one town in optical and radar scenes, with its map.",
        "links": links,
    }


def write_json(path: Path, value: Json) -> None:
    """Write JSON with stable bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
