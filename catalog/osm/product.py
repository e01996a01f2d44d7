"""Make an area of OpenStreetMap stand in a store: table, quarantine, pictures, the receipt last."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from catalog.osm.drawing.class_raster import draw_classes, encode_class_cog
from catalog.osm.drawing.classes import CLASSES
from catalog.osm.drawing.map_picture import draw_map
from catalog.osm.plan import OSM_RECEIPT, OsmPlan, OsmReceipt, plan_digest
from catalog.osm.records import ELEMENTS, OsmFeatures, OsmReading
from catalog.osm.tables.features import write_features
from catalog.osm.tables.quarantine import write_quarantine
from catalog.pictures.cogs import write_preview_cog
from catalog.pictures.previews import encode_thumbnail
from catalog.receipts import describe_bytes, seal, store_files, translate_scratch_error
from catalog.records import BandStatistics
from infra.provenance import package_versions, project_version
from infra.storage import Storage

FEATURES_NAME = "features.parquet"
QUARANTINE_NAME = "quarantine.parquet"
MAP_NAME = "map.tif"
CLASSES_NAME = "classes.tif"
THUMBNAIL_NAME = "thumbnail.png"
_WRITERS = ("numpy", "opencv-python-headless", "osmium", "osmnx", "pyarrow", "rasterio", "shapely")


@dataclass(frozen=True, kw_only=True)
class OsmExtras:
    """Hold what other rooms made of the features, ready to be stored."""

    files: Mapping[str, bytes]
    """Name → whole content."""
    graph: Mapping[str, int]
    """Node and edge types of the graph → how many."""


def write_product(storage: Storage, plan: OsmPlan, reading: OsmReading, extras: OsmExtras) -> OsmReceipt:
    """Make every file of a product, write them, then the receipt.

    Nothing is written before everything is made, nor where the product stands already: runs of one plan may
    meet, and none may spoil what another has sealed.

    Args:
        storage: The store.
        plan: What the product is.
        reading: What was read of the area.
        extras: Further files.

    Raises:
        InternalError: another run wrote something else under the same id.
        ConfigError: the store is full or may not be written.
    """
    with tempfile.TemporaryDirectory(prefix="terraloom-") as folder:
        scratch = Path(folder)
        try:
            made = _make_files(plan, reading, extras, scratch)
        except OSError as exc:
            raise translate_scratch_error(exc, plan.id) from exc
        paths = sorted(scratch.iterdir())
        receipt = OsmReceipt(
            id=plan.id,
            plan_digest=plan_digest(plan),
            files=tuple(describe_bytes(path.name, path.read_bytes()) for path in paths),
            graph=dict(extras.graph),
            software={"terraloom": project_version(), "gdal": rasterio.__gdal_version__}
            | package_versions(_WRITERS),
            **_count(reading),
            **made,
        )
        store_files(storage, plan.path, paths)
    return seal(storage, plan.path, receipt, OSM_RECEIPT)


def _make_files(plan: OsmPlan, reading: OsmReading, extras: OsmExtras, folder: Path) -> dict[str, Any]:
    """Make the files in a local folder; returns what a receipt says of them, under its names."""
    for name, data in extras.files.items():
        (folder / name).write_bytes(data)
    table = write_features(reading.features, folder / FEATURES_NAME)
    write_quarantine(reading.quarantined, folder / QUARANTINE_NAME)
    statistics = _write_map(plan, reading.features, folder)
    return {
        "columns": table.columns,
        "statistics": statistics,
        "class_shares": _write_classes(plan, reading.features, folder),
    }


def _write_map(plan: OsmPlan, features: OsmFeatures, folder: Path) -> dict[str, BandStatistics]:
    rgba = draw_map(features, plan.grid)
    (folder / THUMBNAIL_NAME).write_bytes(encode_thumbnail(rgba))
    return write_preview_cog(rgba, plan.grid, folder / MAP_NAME)


def _write_classes(plan: OsmPlan, features: OsmFeatures, folder: Path) -> dict[str, float]:
    classes = draw_classes(features, plan.grid)
    encode_class_cog(classes, plan.grid, folder / CLASSES_NAME)
    shares = np.bincount(classes.ravel(), minlength=256) / classes.size
    return {one.name: float(shares[one.index]) for one in CLASSES if shares[one.index] > 0}


def _count(reading: OsmReading) -> dict[str, Any]:
    """Count what was read, under the names that a receipt has for it."""
    nodes, ways, relations = np.bincount(reading.features.elements, minlength=len(ELEMENTS)).tolist()
    known = reading.features.timestamps[~np.isnat(reading.features.timestamps)]
    return {
        "features": len(reading.features),
        "nodes": nodes,
        "ways": ways,
        "relations": relations,
        "repaired": reading.repaired,
        "quarantined": dict(sorted(Counter(entry.reason for entry in reading.quarantined).items())),
        "newest": known.max().item().replace(tzinfo=dt.UTC) if known.size else None,
    }
