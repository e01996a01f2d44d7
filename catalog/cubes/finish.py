"""Finish a cube whose tiles are there: pictures, statistics, a check of every object, the receipt last."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import zarr
from numpy.typing import NDArray

from catalog.cubes.layout import lay_out_cube, open_level
from catalog.cubes.pyramid import count_levels, merge_moments
from catalog.cubes.receipts import (
    TileReceipt,
    is_receipt,
    read_cube_receipt,
    read_tile_receipt,
    seal_cube,
    tile_receipt_path,
)
from catalog.grid import level_grid, list_tiles
from catalog.pictures.cogs import write_preview_cog
from catalog.pictures.previews import (
    choose_preview_level,
    choose_rgb,
    encode_thumbnail,
    render_rgba,
)
from catalog.plan import plan_digest
from catalog.readers.protocol import fill_value, valid_mask
from catalog.receipts import describe_bytes
from catalog.records import BandStatistics, CubePlan, CubeReceipt, StoredFile
from infra.errors import InternalError, TransientError
from infra.provenance import package_versions, project_version
from infra.storage import Storage, open_storage

PREVIEW_NAME = "preview.tif"
THUMBNAIL_NAME = "thumbnail.png"
_WRITERS = ("numcodecs", "numpy", "odc-stac", "rasterio", "stackstac", "zarr")


def finish_cube(store_uri: str, plan: CubePlan) -> CubeReceipt:
    """Seal a cube whose tiles are all written.

    Runs on a Dask worker; safe to repeat, and safe beside another worker doing the same.

    Raises:
        InternalError: a tile is missing, or another run wrote different bytes.
        TransientError: an object is missing or cut short in the store.
    """
    storage = open_storage(store_uri)
    standing = read_cube_receipt(storage, plan)
    if standing is not None:
        return standing
    tiles = _read_tile_receipts(storage, plan)
    _check_tiles(storage, plan, tiles)
    files = [file for tile in tiles for file in tile.files]
    files += [describe_bytes(name, data) for name, data in lay_out_cube(plan).items()]
    pictures, picture_statistics = _write_pictures(storage, plan)
    files += pictures
    files.sort(key=lambda file: file.path)
    storage.sweep_leftovers(plan.path)
    _check_objects(storage, plan, files)
    receipt = CubeReceipt(
        id=plan.id,
        plan_digest=plan_digest(plan),
        files=tuple(files),
        statistics=_summarise_bands(storage, plan, tiles) | picture_statistics,
        levels=count_levels(plan.grid),
        software={"terraloom": project_version(), "gdal": rasterio.__gdal_version__}
        | package_versions(_WRITERS),
    )
    return seal_cube(storage, plan, receipt)


def begin_cube(storage: Storage, plan: CubePlan) -> None:
    """Write what a cube's tiles need to be there: metadata and coordinates. Safe to repeat."""
    for name, data in lay_out_cube(plan).items():
        storage.write(f"{plan.path}/{name}", data)


def _read_tile_receipts(storage: Storage, plan: CubePlan) -> list[TileReceipt]:
    receipts = []
    for tile in list_tiles(plan.grid):
        receipt = read_tile_receipt(storage, plan, tile)
        if receipt is None:
            raise InternalError(f"cube {plan.id} was to be finished, but its tile {tile.name} is not written")
        receipts.append(receipt)
    return receipts


def _write_pictures(storage: Storage, plan: CubePlan) -> tuple[list[StoredFile], dict[str, BandStatistics]]:
    """Draw the cube once; keep it as COG and as thumbnail."""
    level = choose_preview_level(plan.grid, count_levels(plan.grid))
    bands = [plan.group.scenes[0].band(name) for name in plan.bands]
    group = open_level(storage, plan, level)
    choice = choose_rgb(bands)
    smooth = choice.kind != "classes"
    rgba = render_rgba({name: _pixels(group, name) for name in choice.names}, bands)
    with tempfile.TemporaryDirectory(prefix="terraloom-") as folder:
        cog = Path(folder) / PREVIEW_NAME
        statistics = write_preview_cog(rgba, level_grid(plan.grid, level), cog, smooth=smooth)
        preview = _store(storage, plan, PREVIEW_NAME, cog.read_bytes())
    thumbnail = _store(storage, plan, THUMBNAIL_NAME, encode_thumbnail(rgba, smooth=smooth))
    # A picture without one opaque pixel has no statistics to tell.
    known = {name: summary for name, summary in statistics.items() if math.isfinite(summary.mean)}
    return [preview, thumbnail], known


def _pixels(group: zarr.Group, name: str) -> NDArray[Any]:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return np.asarray(array[...])


def _store(storage: Storage, plan: CubePlan, name: str, data: bytes) -> StoredFile:
    storage.write(f"{plan.path}/{name}", data)
    return describe_bytes(name, data)


def _check_tiles(storage: Storage, plan: CubePlan, tiles: Sequence[TileReceipt]) -> None:
    """See that every shard is there whole; take back the receipt of a tile that is not: it is made anew."""
    found = _list_sizes(storage, plan)
    spoilt = [tile for tile in tiles if any(found.get(file.path) != file.size for file in tile.files)]
    for tile in spoilt:
        storage.delete(tile_receipt_path(plan, tile.tile))
    for tile in spoilt:
        _compare_sizes(storage, plan, tile.files, found)


def _list_sizes(storage: Storage, plan: CubePlan) -> dict[str, int]:
    prefix = f"{plan.path}/"
    return {entry.path.removeprefix(prefix): entry.size for entry in storage.list_objects(plan.path)}


def _compare_sizes(
    storage: Storage, plan: CubePlan, files: Sequence[StoredFile], found: dict[str, int]
) -> None:
    for file in files:
        if found.get(file.path) != file.size:
            raise TransientError(
                f"{storage.href(f'{plan.path}/{file.path}')} holds {found.get(file.path)} bytes, "
                f"{file.size} were written; run again"
            )


def _check_objects(storage: Storage, plan: CubePlan, files: Sequence[StoredFile]) -> None:
    """Compare what the store holds with what was written; remove what no tile claims."""
    found = _list_sizes(storage, plan)
    _compare_sizes(storage, plan, files, found)
    for name in found.keys() - {file.path for file in files}:
        if not is_receipt(name):
            storage.delete(f"{plan.path}/{name}")


def _summarise_bands(
    storage: Storage, plan: CubePlan, tiles: Sequence[TileReceipt]
) -> dict[str, BandStatistics]:
    coarsest = open_level(storage, plan, count_levels(plan.grid) - 1)
    total = plan.grid.shape_yx[0] * plan.grid.shape_yx[1]
    summaries = {}
    for name in plan.bands:
        moments = merge_moments(tile.moments[name] for tile in tiles)
        pixels = _pixels(coarsest, name)
        known = pixels[valid_mask(pixels, fill_value(plan.group.scenes[0].band(name)))]
        if moments is None or not known.size:
            continue
        low, high = np.percentile(known, (2, 98))
        summaries[name] = BandStatistics(
            minimum=moments.minimum,
            maximum=moments.maximum,
            mean=moments.mean,
            stddev=moments.stddev,
            valid_percent=100 * moments.count / total,
            percentile_2=float(low),
            percentile_98=float(high),
        )
    return summaries
