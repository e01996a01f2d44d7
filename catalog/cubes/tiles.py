"""Do one work unit: read a tile of every band, mask, verify, write whole shards, receipt last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from catalog.coverage import covered_fraction
from catalog.cubes.layout import CUBE_FOLDER
from catalog.cubes.objects import RecordingStore
from catalog.cubes.pyramid import Moments, count_levels, halve, summarise
from catalog.cubes.receipts import TileReceipt, read_tile_receipt, write_tile_receipt
from catalog.grid import tile_geobox, tile_window
from catalog.readers.protocol import Pixels, ReadRequest, fill_value, valid_mask
from catalog.readers.registry import make_reader
from catalog.records import Band, CubePlan, Tile
from catalog.sources.masks import cloud_mask
from infra.errors import DataError
from infra.storage import Storage, open_storage

_BLANK_CHECK_FRACTION = 0.1
"""A tile that footprints cover less than this may hold no pixel: footprints are coarser than data."""


@dataclass(frozen=True, kw_only=True)
class TileOutcome:
    """Tell what a work unit did; small, it travels back from the worker."""

    receipt: TileReceipt
    reused: bool
    """True when the tile was already there and no pixel was read."""


def write_tile(store_uri: str, plan: CubePlan, tile: Tile) -> TileOutcome:
    """Make one tile of a cube, unless its receipt is there.

    Runs on a Dask worker; safe to repeat, and safe beside another worker doing the same.

    Raises:
        DataError: a file is broken, or a block stays blank where footprints promise data.
        TransientError: network or store failed.
    """
    storage = open_storage(store_uri)
    done = read_tile_receipt(storage, plan, tile)
    if done is not None:
        return TileOutcome(receipt=done, reused=True)
    receipt = _make_tile(storage, plan, tile)
    write_tile_receipt(storage, plan, receipt)
    return TileOutcome(receipt=receipt, reused=False)


def _make_tile(storage: Storage, plan: CubePlan, tile: Tile) -> TileReceipt:
    geobox = tile_geobox(plan.grid, tile)
    expected = covered_fraction([scene.geometry for scene in plan.group.scenes], geobox)
    store = RecordingStore(storage, f"{plan.path}/{CUBE_FOLDER}")
    # Blank chunks are written like any other: looking for them costs more than the codec does.
    with zarr.config.set({"array.write_empty_chunks": True}):
        root = zarr.open_group(store, mode="r+", zarr_format=3, use_consolidated=True)
        arrays = {
            (level, name): _open_array(root, level, name)
            for level in range(count_levels(plan.grid))
            for name in plan.bands
        }
    valid_fraction: dict[str, float] = {}
    moments: dict[str, Moments | None] = {}
    dropped = _dropped_pixels(plan, tile)
    for band, pixels, valid in _read_verified(plan, tile, expected):
        valid_fraction[band.name] = float(np.count_nonzero(valid) / valid.size)
        if dropped is not None and not band.quality:
            pixels = np.where(dropped, np.asarray(fill_value(band), dtype=pixels.dtype), pixels)
            valid &= ~dropped
        moments[band.name] = summarise(pixels, valid)
        _write_levels(arrays, plan, tile, band, (pixels, valid))
    return TileReceipt(
        tile=tile,
        files=tuple(store.take_written(f"{CUBE_FOLDER}/")),
        expected_fraction=expected,
        valid_fraction=valid_fraction,
        moments=moments,
    )


def _read_verified(
    plan: CubePlan, tile: Tile, expected: float
) -> Iterator[tuple[Band, Pixels, NDArray[np.bool_]]]:
    """Read the tile's bands and where they are valid; a blank one is read once more, then given up."""
    for name, pixels in _read(plan, tile, plan.bands):
        band = plan.group.scenes[0].band(name)
        valid = valid_mask(pixels, fill_value(band))
        if expected >= _BLANK_CHECK_FRACTION and not band.quality and not valid.any():
            ((_, pixels),) = _read(plan, tile, (name,), uncached=True)
            valid = valid_mask(pixels, fill_value(band))
            if not valid.any():
                ids = ", ".join(scene.id for scene in plan.group.scenes)
                raise DataError(
                    f"band {name!r} of {ids} is blank in tile {tile.name}, read twice, "
                    f"though footprints cover {expected:.0%} of it"
                )
        yield band, pixels, valid


def _read(
    plan: CubePlan, tile: Tile, names: tuple[str, ...], *, uncached: bool = False
) -> Iterator[tuple[str, Pixels]]:
    reader = make_reader(plan.options.loader, uncached=uncached)
    geobox = tile_geobox(plan.grid, tile)
    return reader.read(
        ReadRequest(scenes=plan.group.scenes, bands=names, geobox=geobox, resampling=plan.options.resampling)
    )


def _dropped_pixels(plan: CubePlan, tile: Tile) -> NDArray[np.bool_] | None:
    """Return where the cloud mask drops pixels; None when the run does not mask."""
    scene = plan.group.scenes[0]
    if plan.options.mask == "none" or scene.quality_band is None or scene.mask_rule is None:
        return None
    ((_, quality),) = _read(plan, tile, (scene.quality_band,))
    return cloud_mask(quality, scene.mask_rule)


def _write_levels(
    arrays: Mapping[tuple[int, str], zarr.Array[Any]],
    plan: CubePlan,
    tile: Tile,
    band: Band,
    read: tuple[Pixels, NDArray[np.bool_]],
) -> None:
    pixels, valid = read
    whole = bool(valid.all())
    for level in range(count_levels(plan.grid)):
        if level:
            pixels = halve(pixels, fill_value(band), nearest=band.quality, whole=whole)
        arrays[level, band.name][tile_window(plan.grid, tile, level)] = pixels


def _open_array(root: zarr.Group, level: int, name: str) -> zarr.Array[Any]:
    array = root[f"{level}/{name}"]
    assert isinstance(array, zarr.Array)
    return array
