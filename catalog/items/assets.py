"""Describe the files of one cube as STAC assets: bands, statistics, sizes, checksums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pyproj import CRS

from catalog.grid import level_grid
from catalog.items.collections import SCENES, item_asset
from catalog.pictures.cogs import PREVIEW_CHANNELS
from catalog.pictures.previews import choose_preview_level, choose_rgb
from catalog.readers.protocol import fill_value
from catalog.receipts import RECEIPT_NAME
from catalog.records import Band, BandStatistics, CubePlan, CubeReceipt, Grid, StoredFile
from infra.digests import sha256_of_json, to_multihash
from infra.errors import InternalError

CUBE_FOLDER = "cube.zarr"
PREVIEW_NAME = "preview.tif"
THUMBNAIL_NAME = "thumbnail.png"

# Enumerations of the STAC 1.1 common metadata and the eo extension v2.0.0; other words would not validate.
_DATA_TYPES = frozenset(
    {
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "cint16", "cint32", "cfloat32", "cfloat64"),
    }
)
_COMMON_NAMES = frozenset(
    {
        *("pan", "coastal", "blue", "green", "green05", "yellow", "red", "nir", "nir08", "nir09", "cirrus"),
        *(
            "rededge",
            "rededge071",
            "rededge075",
            "rededge078",
            "swir16",
            "swir22",
            "lwir",
            "lwir11",
            "lwir12",
        ),
    }
)
_METRES_PER_DEGREE = 111_320.0
_CHECKSUM_NOTE = (
    "file:checksum is the multihash of the SHA-256 of the canonical JSON list of [path, size, sha256] of the "
    "files below this group, as the receipt lists them."
)


def scene_assets(plan: CubePlan, receipt: CubeReceipt, *, root_href: str) -> dict[str, dict[str, Any]]:
    """Describe every file of a cube that somebody may want.

    Args:
        plan: What the cube was to be.
        receipt: What was written.
        root_href: Absolute path or URL of the store's root, without slash at its end.

    Returns:
        Asset key → STAC asset; ``preview`` and ``thumbnail`` only when the receipt lists them.
    """
    folder = f"{root_href}/{plan.path}"
    assets = {
        "data": _group_asset(plan, receipt, folder, f"{CUBE_FOLDER}/0"),
        "pyramid": _group_asset(plan, receipt, folder, CUBE_FOLDER),
    }
    by_path = {file.path: file for file in receipt.files}
    if PREVIEW_NAME in by_path:
        assets["preview"] = _preview_asset(plan, receipt, folder) | file_fields(by_path[PREVIEW_NAME])
    if THUMBNAIL_NAME in by_path:
        href = {"href": f"{folder}/{THUMBNAIL_NAME}"}
        assets["thumbnail"] = href | item_asset(SCENES, "thumbnail") | file_fields(by_path[THUMBNAIL_NAME])
    assets["receipt"] = {"href": f"{folder}/{RECEIPT_NAME}"} | item_asset(SCENES, "receipt")
    return assets


def cube_bands(plan: CubePlan) -> list[Band]:
    """List the cube's bands in order, as the first scene that has them describes them."""
    return [_find_band(plan, name) for name in plan.bands]


def _find_band(plan: CubePlan, name: str) -> Band:
    for scene in plan.group.scenes:
        if any(band.name == name for band in scene.bands):
            return scene.band(name)
    raise InternalError(f"No scene of cube {plan.id} has the band {name!r} that the plan names.")


def pixel_size_m(grid: Grid) -> float:
    """Return the edge of a pixel in metres; at the grid's centre where the CRS counts degrees."""
    a, b, _, d, e, f = grid.transform
    across, down = math.hypot(a, d), math.hypot(b, e)
    crs = CRS.from_user_input(grid.crs)
    if crs.is_geographic:
        middle = f + e * grid.shape_yx[0] / 2
        across *= math.cos(math.radians(middle))
        return round(math.sqrt(across * down) * _METRES_PER_DEGREE, 3)
    return round(math.sqrt(across * down) * float(crs.axis_info[0].unit_conversion_factor), 6)


def to_number(value: float) -> float | int:
    """Spell a whole number without a decimal point, so that ``10.0`` and ``10`` are one."""
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)


def data_fields(band: Band) -> dict[str, Any]:
    """Say what a band's stored numbers are: data type, nodata and unit (STAC common metadata)."""
    kind = np.dtype(band.dtype).name
    fields: dict[str, Any] = {"data_type": kind if kind in _DATA_TYPES else "other"}
    fields["nodata"] = _spell_nodata(fill_value(band))
    if band.unit:
        fields["unit"] = band.unit
    return fields


def _spell_nodata(value: float) -> float | int | str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return to_number(value)


def _group_asset(plan: CubePlan, receipt: CubeReceipt, folder: str, path: str) -> dict[str, Any]:
    """Describe a Zarr group: everything about the bands on full resolution, their names on the root."""
    key = "data" if path != CUBE_FOLDER else "pyramid"
    asset = {"href": f"{folder}/{path}"} | item_asset(SCENES, key)
    files = [file for file in receipt.files if file.path.startswith(f"{path}/")]
    asset["description"] += " " + _CHECKSUM_NOTE
    manifest = [[file.path, file.size, file.sha256] for file in sorted(files, key=lambda file: file.path)]
    asset["file:size"] = sum(file.size for file in files)
    asset["file:checksum"] = to_multihash(sha256_of_json(manifest))
    bands = cube_bands(plan)
    if key == "pyramid":
        asset["bands"] = [{"name": band.name} | _eo_fields(band) for band in bands]
    else:
        asset["raster:spatial_resolution"] = to_number(pixel_size_m(plan.grid))
        asset["bands"] = [_describe_band(band, receipt.statistics.get(band.name)) for band in bands]
    return asset


def _describe_band(band: Band, statistics: BandStatistics | None) -> dict[str, Any]:
    described: dict[str, Any] = {"name": band.name, **data_fields(band)}
    if (band.scale, band.offset) != (1.0, 0.0):
        described |= {"raster:scale": band.scale, "raster:offset": band.offset}
    if band.gsd_m:
        described["gsd"] = to_number(band.gsd_m)
    if band.quality:
        described["description"] = "Classes or bit fields: compare, never average."
    described |= _eo_fields(band)
    if statistics is not None:
        described["statistics"] = spell_statistics(statistics)
    return described


def _eo_fields(band: Band) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if band.common_name in _COMMON_NAMES:
        fields["eo:common_name"] = band.common_name
    if band.center_wavelength_um:
        fields["eo:center_wavelength"] = band.center_wavelength_um
    return fields


def spell_statistics(statistics: BandStatistics) -> dict[str, Any]:
    """Spell statistics of stored numbers; what is not finite (no valid pixel) is left out."""
    values = {
        "minimum": statistics.minimum,
        "maximum": statistics.maximum,
        "mean": statistics.mean,
        "stddev": statistics.stddev,
        "valid_percent": min(100.0, max(0.0, statistics.valid_percent)),
    }
    return {key: to_number(value) for key, value in values.items() if math.isfinite(value)}


def _preview_asset(plan: CubePlan, receipt: CubeReceipt, folder: str) -> dict[str, Any]:
    """Describe the preview: its own grid, three 8-bit channels, statistics where the receipt has them."""
    grid = level_grid(plan.grid, choose_preview_level(plan.grid, receipt.levels))
    asset = {"href": f"{folder}/{PREVIEW_NAME}"} | item_asset(SCENES, "preview")
    asset["title"] = f"Preview: {choose_rgb(cube_bands(plan)).title}"
    asset["proj:shape"] = list(grid.shape_yx)
    asset["proj:transform"] = [to_number(value) for value in grid.transform]
    asset["raster:spatial_resolution"] = to_number(pixel_size_m(grid))
    asset["bands"] = [describe_channel(key, receipt.statistics.get(key)) for key in PREVIEW_CHANNELS]
    return asset


def describe_channel(key: str, statistics: BandStatistics | None) -> dict[str, Any]:
    """Describe one channel of a drawn picture, by its key in the receipt's statistics."""
    channel: dict[str, Any] = {"name": key.rpartition("/")[2], "data_type": "uint8"}
    if statistics is not None:
        channel["statistics"] = spell_statistics(statistics)
    return channel


def file_fields(file: StoredFile) -> dict[str, Any]:
    """State a stored file's size and checksum by the file extension."""
    return {"file:size": file.size, "file:checksum": to_multihash(file.sha256)}
