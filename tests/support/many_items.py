"""Draw large numbers of plausible catalogue items: seeded, quick, about 2.5 kB each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np

COLLECTIONS = ("optical", "radar", "descriptions")
PLATFORMS = {
    "optical": ("sentinel-2a", "sentinel-2b", "landsat-8", "landsat-9"),
    "radar": ("sentinel-1a", "sentinel-1c"),
    "descriptions": ("sentinel-2a", "sentinel-1a"),
}
PLACES = (
    *("harbour", "airport", "village", "forest", "river"),
    *("delta", "quarry", "reservoir", "suburb", "vineyard"),
)
THINGS = (
    *("storage tanks", "container ships", "solar panels", "greenhouses"),
    *("wind turbines", "orchards", "bridges"),
)
RARE = ("lighthouse", "aqueduct", "racecourse", "drydock", "observatory")
_LIKELY = ("optical",) * 6 + ("radar",) * 3 + ("descriptions",)
_BANDS = ("blue", "green", "red", "nir")
_FIRST = dt.datetime(2022, 1, 1, tzinfo=dt.UTC)


def many_items(count: int, *, seed: int = 0, first: int = 0) -> Iterator[dict[str, Any]]:
    """Draw items ``first`` … ``first + count - 1``; item *n* does not depend on which others are drawn."""
    for number in range(first, first + count):
        yield one_item(number, np.random.default_rng([seed, number]))


def one_item(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """Draw one item: a tilted footprint of about 10 km in Europe, between 2022 and 2024."""
    collection = _pick(rng, _LIKELY)
    platform = _pick(rng, PLATFORMS[collection])
    moment = _FIRST + dt.timedelta(seconds=int(rng.integers(3 * 365 * 86_400)))
    ring = _ring(rng)
    item_id = f"{collection}-{number:08d}"
    xs, ys = [p[0] for p in ring], [p[1] for p in ring]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/eo/v2.0.0/schema.json"],
        "id": item_id,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(xs), min(ys), max(xs), max(ys)],
        "properties": _properties(collection, platform, moment, rng),
        "links": [{"rel": "derived_from", "href": f"https://example.org/source/{item_id}", "title": item_id}],
        "assets": _assets(item_id, rng),
    }


def collection_of(name: str) -> dict[str, Any]:
    """Describe one of the collections."""
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "title": name.title(),
        "description": f"Drawn items: {name}.",
        "license": "CC0-1.0",
        "extent": {
            "spatial": {"bbox": [[-180.0, -90.0, 180.0, 90.0]]},
            "temporal": {"interval": [["2022-01-01T00:00:00Z", None]]},
        },
        "links": [],
    }


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]  # rng.choice takes ten times as long


def _ring(rng: np.random.Generator) -> list[list[float]]:
    lon, lat = rng.uniform(-10, 30), rng.uniform(36, 66)
    tilt = np.radians(rng.uniform(4, 14))
    half = 0.05 + 0.02 * rng.random()
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * half
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    return [[round(lon + x * 1.6, 6), round(lat + y, 6)] for x, y in (corners @ turn).tolist()]


def _properties(
    collection: str, platform: str, moment: dt.datetime, rng: np.random.Generator
) -> dict[str, Any]:
    place, thing = _pick(rng, PLACES), _pick(rng, THINGS)
    rare = f" Beside a {_pick(rng, RARE)}." if rng.random() < 0.001 else ""
    properties: dict[str, Any] = {
        "datetime": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "title": f"{platform} · {moment:%d %B %Y} · {place}",
        "description": f"A scene of {platform} showing a {place} with {thing}, on a 10 m grid.{rare}",
        "keywords": [collection, place, "analysis-ready"],
        "platform": platform,
        "constellation": platform.rpartition("-")[0],
        "gsd": 10,
        "license": "CC-BY-4.0",
        "proj:code": f"EPSG:{32600 + int(rng.integers(28, 36))}",
        "processing:level": "L3",
    }
    if collection == "radar":
        return properties | {
            "sar:instrument_mode": "IW",
            "sat:orbit_state": _pick(rng, ("ascending", "descending")),
            "sat:relative_orbit": int(rng.integers(1, 176)),
        }
    return properties | {
        "eo:cloud_cover": round(float(rng.uniform(0, 100)), 2),
        "view:sun_elevation": round(float(rng.uniform(5, 70)), 2),
    }


def _assets(item_id: str, rng: np.random.Generator) -> dict[str, Any]:
    root = f"https://example.org/data/{item_id}"
    digest = rng.bytes(16).hex()
    assets: dict[str, Any] = {
        band: {
            "href": f"{root}/{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "file:size": int(rng.integers(10**6, 10**8)),
            "file:checksum": f"1220{digest}{digest}",
            "bands": [{"name": band, "data_type": "uint16", "nodata": 0, "eo:common_name": band}],
        }
        for band in _BANDS
    }
    return assets | {
        "thumbnail": {"href": f"{root}/thumbnail.png", "type": "image/png", "roles": ["thumbnail"]}
    }
