"""Lay embeddings out as Zarr v3: one sharded array (feature, y, x), with CF and GeoZarr coordinates.

embeddings.zarr/      group: proj:, spatial:
  embedding           (feature, y, x); y and x as of any raster, so xarray and rioxarray open it as it is
  feature, x, y, time, spatial_ref
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from catalog.cubes.layout import (
    GRID_MAPPING,
    consolidate_metadata,
    lay_out_coordinates,
    level_attributes,
    spell_float_fill,
)
from catalog.embeddings.plan import EmbeddingPlan

CUBE_FOLDER = "embeddings.zarr"
VARIABLE = "embedding"
INT8_FILL = -128
# Vectors hardly shrink: this makes them as small as the cubes' Zstandard does, in a third of the time.
_CODEC = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")


def lay_out_embeddings(plan: EmbeddingPlan, scale: float) -> dict[str, bytes]:
    """Make the metadata and coordinates of a product, but no vectors.

    Args:
        plan: What the product is.
        scale: Vector = stored number × scale.

    Returns:
        Object name, relative to the product's folder → bytes; the same for the same plan.
    """
    objects: dict[str, Buffer] = {}
    attributes = level_attributes(plan.grid, 0) | {
        "title": f"Embeddings of {plan.scene.id} by {plan.model}",
        "source": ", ".join(each.scene.id for each in plan.inputs),
    }
    group = zarr.create_group(store=MemoryStore(objects), attributes=attributes)
    _lay_out_vectors(group, plan, scale)
    features = group.create_array(
        "feature",
        shape=(plan.settings.width,),
        dtype="int32",
        chunks=(plan.settings.width,),
        fill_value=0,
        dimension_names=("feature",),
        attributes={"long_name": "component of the vector"},
    )
    features[:] = np.arange(plan.settings.width, dtype=np.int32)
    lay_out_coordinates(group, plan.grid, 0)
    written = {key: buffer.to_bytes() for key, buffer in sorted(objects.items())}
    written["time/c"] = struct.pack("<q", int(plan.scene.datetime.timestamp()))
    written["zarr.json"] = consolidate_metadata(written, "")
    return {f"{CUBE_FOLDER}/{key}": data for key, data in written.items()}


def _lay_out_vectors(group: zarr.Group, plan: EmbeddingPlan, scale: float) -> None:
    width, shard = plan.settings.width, plan.grid.shard_px
    chunk = min(plan.grid.chunk_px, shard)
    whole = plan.settings.dtype == "int8"
    attributes: dict[str, Any] = {
        "long_name": f"{plan.model} embedding",
        "grid_mapping": GRID_MAPPING,
        "coordinates": f"time {GRID_MAPPING}",
        "_FillValue": INT8_FILL if whole else spell_float_fill(float("nan")),
    }
    if whole:
        attributes |= {"scale_factor": scale, "add_offset": 0.0}
    group.create_array(
        VARIABLE,
        shape=(width, *plan.grid.shape_yx),
        dtype=plan.settings.dtype,
        chunks=(width, chunk, chunk),
        shards=(width, shard, shard) if shard > chunk else None,
        compressors=_CODEC,
        fill_value=INT8_FILL if whole else float("nan"),
        dimension_names=("feature", "y", "x"),
        attributes=attributes,
    )
