"""Lay a cube out as Zarr v3: resolution levels, sharded arrays, GeoZarr conventions and CF.

    cube.zarr/            group: multiscales, proj:, spatial:
      0/                  group, full resolution: one (y, x) array for each band, x, y, time, spatial_ref
      1/ 2/ …             the same, halved each time

Each level is a dataset of its own, so xarray, rioxarray and GDAL open it as it is.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox
from pyproj import CRS
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from catalog.cubes.objects import open_zarr_objects
from catalog.cubes.pyramid import count_levels
from catalog.grid import level_shape, level_transform
from catalog.readers.protocol import fill_value
from catalog.records import Band, CubePlan, Grid
from infra.storage import Storage

CUBE_FOLDER = "cube.zarr"
GRID_MAPPING = "spatial_ref"

_PROJ = {
    "schema_url": "https://raw.githubusercontent.com/zarr-experimental/geo-proj/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-experimental/geo-proj/blob/v1/README.md",
    "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "name": "proj:",
    "description": "Coordinate reference system information for geospatial data",
}
_SPATIAL = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v0.1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/spatial/blob/v0.1/README.md",
    "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
    "name": "spatial",
    "description": "Spatial coordinate information",
}
_MULTISCALES = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v1/README.md",
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "description": "Multiscale layout of zarr datasets",
}


def cube_codec() -> BloscCodec:
    """Return the one compressor of every band: byte-shuffled Zstandard."""
    return BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")


def lay_out_cube(plan: CubePlan) -> dict[str, bytes]:
    """Make a cube's metadata and coordinates, but no pixels.

    Returns:
        Object name, relative to the product's folder → bytes; the same for the same plan.
    """
    bands = tuple(_storage_facts(plan.group.scenes[0].band(name)) for name in plan.bands)
    seconds = struct.pack("<q", int(plan.group.datetime.timestamp()))
    times = {f"{CUBE_FOLDER}/{level}/time/c": seconds for level in range(count_levels(plan.grid))}
    return {**_lay_out(plan.grid, bands), **times}


def _storage_facts(band: Band) -> Band:
    """Keep what decides how a band is stored, not where it is read."""
    return dataclasses.replace(band, asset="", href="", index=1, checksum=None)


@lru_cache(maxsize=8)
def _lay_out(grid: Grid, bands: tuple[Band, ...]) -> dict[str, bytes]:
    """Make everything but the times: the same for every day of a series, and 0.1 s of Zarr's work."""
    objects: dict[str, Buffer] = {}
    store = MemoryStore(objects)
    levels = count_levels(grid)
    zarr.create_group(store=store, attributes=_root_attributes(grid, levels))
    for level in range(levels):
        attributes = level_attributes(grid, level)
        group = zarr.create_group(store=store, path=str(level), attributes=attributes)
        _lay_out_bands(group, grid, bands, level)
        lay_out_coordinates(group, grid, level)
    written = {key: buffer.to_bytes() for key, buffer in sorted(objects.items())}
    for folder in ("", *(f"{level}/" for level in range(levels))):
        written[f"{folder}zarr.json"] = consolidate_metadata(written, folder)
    return {f"{CUBE_FOLDER}/{key}": data for key, data in written.items()}


def open_level(storage: Storage, plan: CubePlan, level: int) -> zarr.Group:
    """Open one resolution level of a cube for reading."""
    store = open_zarr_objects(storage, f"{plan.path}/{CUBE_FOLDER}/{level}")
    return zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=False)


def _lay_out_bands(group: zarr.Group, grid: Grid, bands: tuple[Band, ...], level: int) -> None:
    shard = grid.shard_px >> level
    chunk = min(grid.chunk_px, shard)
    for band in bands:
        group.create_array(
            band.name,
            shape=level_shape(grid, level),
            dtype=band.dtype,
            chunks=(chunk, chunk),
            shards=(shard, shard) if shard > chunk else None,
            compressors=cube_codec(),
            fill_value=fill_value(band),
            dimension_names=("y", "x"),
            attributes=_band_attributes(band),
        )


def consolidate_metadata(objects: Mapping[str, bytes], group: str) -> bytes:
    """Copy the metadata of all nodes below a group into its own, so that opening it is one request."""
    suffix = "zarr.json"
    nodes = {
        key.removeprefix(group).removesuffix(f"/{suffix}"): _plain_metadata(data)
        for key, data in objects.items()
        if key.startswith(group) and key.endswith(f"/{suffix}") and key != f"{group}{suffix}"
    }
    consolidated = {"kind": "inline", "must_understand": False, "metadata": nodes}
    return json.dumps(
        _plain_metadata(objects[f"{group}{suffix}"]) | {"consolidated_metadata": consolidated}, indent=2
    ).encode()


def _plain_metadata(data: bytes) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(data)
    return {key: value for key, value in metadata.items() if key != "consolidated_metadata"}


def lay_out_coordinates(group: zarr.Group, grid: Grid, level: int) -> None:
    """Write what places a level's pixels: x, y and the CRS; and make room for its time.

    Args:
        group: Zarr group of the level.
        grid: Of the full resolution.
        level: 0 for that resolution itself.
    """
    geobox = GeoBox(level_shape(grid, level), level_transform(grid, level), grid.crs)
    crs = CRS.from_user_input(grid.crs)
    axes = {str(axis.get("axis", "")).lower(): dict(axis) for axis in crs.cs_to_cf()}
    for axis, dimension in zip(("y", "x"), geobox.dimensions, strict=True):
        values = np.asarray(geobox.coords[dimension].values, dtype=np.float64)
        array = group.create_array(
            axis,
            shape=values.shape,
            dtype="float64",
            chunks=values.shape,
            compressors=cube_codec(),
            fill_value=float("nan"),
            dimension_names=(axis,),
            attributes=axes.get(axis, {}),
        )
        array[:] = values
    time_attributes: dict[str, Any] = {
        "standard_name": "time",
        "units": "seconds since 1970-01-01",
        "calendar": "standard",
    }
    # Uncompressed, so that lay_out_cube can write the eight bytes of its value.
    group.create_array(
        "time", shape=(), dtype="int64", compressors=None, fill_value=0, attributes=time_attributes
    )
    affine = level_transform(grid, level).to_gdal()
    mapping = crs.to_cf() | {"spatial_ref": crs.to_wkt(), "GeoTransform": " ".join(f"{v!r}" for v in affine)}
    group.create_array(GRID_MAPPING, shape=(), dtype="int64", fill_value=0, attributes=mapping)


def _band_attributes(band: Band) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "zarr_conventions": [_SPATIAL],
        "spatial:dimensions": ["y", "x"],
        "grid_mapping": GRID_MAPPING,
        "coordinates": f"time {GRID_MAPPING}",
        "long_name": band.common_name or band.name,
    }
    if not band.quality:
        attributes["_FillValue"] = _spell_fill(band)
        if (band.scale, band.offset) != (1.0, 0.0):
            attributes |= {"scale_factor": band.scale, "add_offset": band.offset}
    if band.unit:
        attributes["units"] = band.unit
    return attributes


def _spell_fill(band: Band) -> float | int | str:
    fill = fill_value(band)
    return fill if isinstance(fill, int) else spell_float_fill(fill)


def spell_float_fill(fill: float) -> str:
    """Spell a float fill value as an attribute that xarray reads."""
    # xarray spells float fill values of Zarr v3 attributes as base64 of the little-endian number.
    return base64.standard_b64encode(np.dtype("<f8").type(fill).tobytes()).decode()


def _root_attributes(grid: Grid, levels: int) -> dict[str, Any]:
    layout: list[dict[str, Any]] = []
    for level in range(levels):
        entry: dict[str, Any] = {
            "asset": str(level),
            "spatial:shape": list(level_shape(grid, level)),
            "spatial:transform": [float(value) for value in level_transform(grid, level)[:6]],
        }
        if level:
            entry |= {
                "derived_from": str(level - 1),
                "transform": {"scale": [2.0, 2.0], "translation": [0.0, 0.0]},
            }
        layout.append(entry)
    return {
        "zarr_conventions": [_MULTISCALES, _PROJ, _SPATIAL],
        "multiscales": {"layout": layout, "resampling_method": "average"},
        **_spatial_attributes(grid, 0),
    }


def level_attributes(grid: Grid, level: int) -> dict[str, Any]:
    """Return what a level's group says by CF and the GeoZarr conventions."""
    conventions = {"Conventions": "CF-1.11", "zarr_conventions": [_PROJ, _SPATIAL]}
    return conventions | _spatial_attributes(grid, level)


def _spatial_attributes(grid: Grid, level: int) -> dict[str, Any]:
    authority = CRS.from_user_input(grid.crs).to_authority(min_confidence=100)
    crs = {"proj:code": ":".join(authority)} if authority else {"proj:wkt2": grid.crs}
    shape = level_shape(grid, level)
    transform = level_transform(grid, level)
    left, top = transform @ (0, 0)
    right, bottom = transform @ (shape[1], shape[0])
    return {
        **crs,
        "spatial:dimensions": ["y", "x"],
        "spatial:shape": list(shape),
        "spatial:transform": [float(value) for value in transform[:6]],
        "spatial:bbox": [left, bottom, right, top],
        "spatial:registration": "pixel",
    }
