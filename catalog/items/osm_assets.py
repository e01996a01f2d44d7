"""Describe the files of one OpenStreetMap product as STAC assets: tables, pictures, graph, street network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from catalog.items.assets import describe_channel, file_fields, pixel_size_m, to_number
from catalog.items.collections import OSM, item_asset
from catalog.items.fields import projection_fields
from catalog.osm.drawing.classes import UNKNOWN, class_table
from catalog.osm.plan import ColumnFacts, OsmPlan, OsmReceipt
from catalog.osm.tables import quarantine
from catalog.osm.tables.features import GEOMETRY
from catalog.pictures.cogs import PREVIEW_CHANNELS
from catalog.receipts import RECEIPT_NAME

_ORDER = ("features", "map", "classes", "graph", "network", "quarantine", "thumbnail")
"""Assets, in the order to list them; each is the one file of the product that goes by its name."""
_TYPES = {".graphml": "application/graphml+xml", ".gpkg": "application/geopackage+sqlite3"}


def osm_assets(plan: OsmPlan, receipt: OsmReceipt, *, root_href: str) -> dict[str, dict[str, Any]]:
    """Describe every file of a product, with size and checksum.

    Args:
        plan: What the product was to be.
        receipt: What was written.
        root_href: Absolute path or URL of the store's root, without slash at its end.

    Returns:
        Asset key → STAC asset; only those that the receipt lists.
    """
    folder = f"{root_href}/{plan.path}"
    details = {
        "features": _features_fields(receipt),
        "map": _map_fields(plan, receipt),
        "classes": _classes_fields(plan, receipt),
        "graph": {"osm:graph": dict(sorted(receipt.graph.items()))} if receipt.graph else {},
        "quarantine": _quarantine_fields(receipt),
    }
    files = {PurePosixPath(file.path).stem: file for file in receipt.files if "/" not in file.path}
    assets: dict[str, dict[str, Any]] = {}
    for key in (key for key in _ORDER if key in files):
        file = files[key]
        asset = {"href": f"{folder}/{file.path}"} | item_asset(OSM, key)
        asset["type"] = _TYPES.get(PurePosixPath(file.path).suffix, asset.get("type"))
        assets[key] = asset | details.get(key, {}) | file_fields(file)
    assets["receipt"] = {"href": f"{folder}/{RECEIPT_NAME}"} | item_asset(OSM, "receipt")
    return assets


def list_renders(assets: Iterable[str]) -> dict[str, Any]:
    """Say how to draw the pictures among some assets: the classes bring their own colours."""
    renders = {
        "map": {
            "title": "Map",
            "assets": ["map"],
            "rescale": [[0, 255]] * 3,
            "resampling": "bilinear",
        },
        "classes": {
            "title": "Classes",
            "assets": ["classes"],
            "resampling": "nearest",
        },
    }
    return {key: renders[key] for key in assets if key in renders}


def _features_fields(receipt: OsmReceipt) -> dict[str, Any]:
    columns = {"table:columns": _spell_columns(receipt.columns), "table:primary_geometry": GEOMETRY}
    return columns | {"table:row_count": receipt.features}


def _quarantine_fields(receipt: OsmReceipt) -> dict[str, Any]:
    return {
        "table:columns": _spell_columns(quarantine.COLUMNS),
        "table:row_count": sum(receipt.quarantined.values()),
        "osm:reasons": dict(sorted(receipt.quarantined.items())),
    }


def _spell_columns(columns: Iterable[ColumnFacts]) -> list[dict[str, str]]:
    return [{"name": c.name, "type": c.type, "description": c.description} for c in columns]


def _map_fields(plan: OsmPlan, receipt: OsmReceipt) -> dict[str, Any]:
    channels = [describe_channel(key, receipt.statistics.get(key)) for key in PREVIEW_CHANNELS]
    return _grid_fields(plan) | {"bands": channels}


def _classes_fields(plan: OsmPlan, receipt: OsmReceipt) -> dict[str, Any]:
    return _grid_fields(plan) | {
        "bands": [{"name": "class", "data_type": "uint8", "nodata": UNKNOWN}],
        "classification:classes": [dict(entry) for entry in class_table()],
        "osm:class_shares": {name: round(share, 6) for name, share in sorted(receipt.class_shares.items())},
    }


def _grid_fields(plan: OsmPlan) -> dict[str, Any]:
    resolution = to_number(pixel_size_m(plan.grid))
    return projection_fields(plan.grid) | {"raster:spatial_resolution": resolution}
