"""Turn published items into what registration needs to know of them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pyproj import CRS
from pyproj.exceptions import CRSError

from catalog.cubes.layout import CUBE_FOLDER
from catalog.cubes.receipts import PRODUCTS_FOLDER as CUBES
from catalog.osm.plan import PRODUCTS_FOLDER as MAPS
from catalog.pictures.previews import choose_rgb
from catalog.readers.protocol import fill_value
from catalog.receipts import RECEIPT_NAME
from catalog.records import Band, Grid
from catalog.registrations.plan import SceneFacts
from catalog.sources.masks import rule_for_band
from infra.errors import DataError, InputError
from infra.storage import Storage
from infra.urls import check_id

_KINDS = (CUBES, MAPS)  # the folders of a store go by the names of the collections
_SHARD_PX, _CHUNK_PX = 4096, 1024  # of no consequence here: the working grid is never stored in shards
_LOOKS_DEG = {"ascending": 77.0, "descending": 283.0}
"""Where a right-looking radar in a sun-synchronous orbit looks, clockwise from north, mid latitudes."""
_LIGHT = frozenset({"red", "green", "blue", "nir", "nir08", "swir16", "swir22", "pan"})
_MAX_PX = 1 << 20
Item = Mapping[str, Any]


def describe_scene(storage: Storage, item: Item) -> SceneFacts:
    """Read what an item of a cube or a drawn map says about its pixels.

    Args:
        storage: The store that holds the product.
        item: Its STAC item.

    Raises:
        InputError: neither a cube nor a drawn map, or its product is not in this store.
        DataError: the item does not say what it must.
    """
    name, collection = check_id(item.get("id"), what="item"), str(item.get("collection"))
    if collection not in _KINDS:
        raise InputError(f"item {name} is of collection {collection!r}; give one of {' or '.join(_KINDS)}")
    path = f"{collection}/{name}"
    if not storage.exists(f"{path}/{RECEIPT_NAME}"):
        raise InputError(f"{storage.uri} holds no product {name}; register items of one store")
    try:
        return _describe(item, path, _read_digest(storage, path))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, CRSError) as exc:
        raise DataError(f"item {name} does not describe its pixels ({exc!r:.100}); publish it again") from exc


def _describe(item: Item, path: str, digest: str) -> SceneFacts:
    properties, is_cube = item["properties"], item["collection"] == CUBES
    bands = tuple(map(_read_band, item["assets"]["data"]["bands"])) if is_cube else ()
    return SceneFacts(
        id=item["id"],
        collection=item["collection"],
        digest=digest,
        path=path,
        title=str(properties.get("title", item["id"])),
        grid=_read_grid(properties if is_cube else item["assets"]["map"]),
        bands=bands,
        datetime=_read_time(properties),
        geometry=dict(item["geometry"]),
        radar=is_radar(bands),
        cloud_percent=_read_cloud(properties),
        look_azimuth_deg=_find_look(properties, bands),
    )


def _read_digest(storage: Storage, path: str) -> str:
    try:
        receipt = TypeAdapter(dict[str, Any]).validate_json(storage.read(f"{path}/{RECEIPT_NAME}"))
        return str(receipt["plan_digest"])
    except (ValidationError, KeyError) as exc:
        raise DataError(f"{storage.href(path)} has no receipt that can be read; make it again") from exc


def _read_grid(fields: Item) -> Grid:
    a, b, c, d, e, f = (float(value) for value in fields["proj:transform"][:6])
    rows, cols = (int(value) for value in fields["proj:shape"])
    if not (0 < rows < _MAX_PX and 0 < cols < _MAX_PX and abs(a * e - b * d) > 0):
        raise ValueError(f"no grid of {cols} × {rows} pixels")
    if not all(map(math.isfinite, (a, b, c, d, e, f))):
        raise ValueError("a transform that is not finite")
    code = fields.get("proj:code")
    crs = CRS.from_user_input(code or fields["proj:wkt2"])
    return Grid(
        crs=code or crs.to_wkt("WKT2_2019"),
        transform=(a, b, c, d, e, f),
        shape_yx=(rows, cols),
        shard_px=_SHARD_PX,
        chunk_px=_CHUNK_PX,
    )


def _read_band(stated: Item) -> Band:
    name = str(stated["name"])
    band = Band(
        name=name,
        asset=CUBE_FOLDER,
        href="",
        dtype=str(stated["data_type"]),
        nodata=stated.get("nodata"),
        scale=float(stated.get("raster:scale", 1.0)),
        offset=float(stated.get("raster:offset", 0.0)),
        unit=stated.get("unit"),
        common_name=stated.get("eo:common_name"),
        quality=rule_for_band(name) is not None,
    )
    fill_value(band)  # refuses a data type that there is not, and a nodata that it cannot hold
    return band


def _read_time(properties: Item) -> dt.datetime:
    text = properties.get("datetime") or properties["end_datetime"]
    instant = dt.datetime.fromisoformat(str(text))
    return instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)


def _read_cloud(properties: Item) -> float | None:
    stated = properties.get("eo:cloud_cover")
    return float(stated) if isinstance(stated, int | float) and 0 <= stated <= 100 else None


def _find_look(properties: Item, bands: tuple[Band, ...]) -> float | None:
    """Return where a radar looks: as stated, else as satellites of that orbit do."""
    if not is_radar(bands) or properties.get("sar:observation_direction") == "left":
        return None
    stated = properties.get("view:azimuth", _LOOKS_DEG.get(str(properties.get("sat:orbit_state"))))
    return float(stated) if isinstance(stated, int | float) and 0 <= stated <= 360 else None


def is_radar(bands: tuple[Band, ...]) -> bool:
    """Say whether the variables of a cube are radar backscatter."""
    return bool(bands) and choose_rgb(bands).kind == "radar"


def is_optical(bands: tuple[Band, ...]) -> bool:
    """Say whether the variables of a cube are reflected or emitted light: no radar, heights or classes."""
    if not bands or is_radar(bands):
        return False
    named = any(band.common_name or band.name.lower() in _LIGHT for band in bands if not band.quality)
    return named or choose_rgb(bands).kind in {"true_colour", "false_colour"}
