"""Resample a moving scene once, straight from its stored pixels, onto the grid it was registered on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from catalog.pictures.cogs import copy_as_cog, overview_options
from catalog.pictures.previews import Rgba
from catalog.readers.protocol import Pixels, fill_value
from catalog.records import Band, Grid
from catalog.registrations.grids import project_pixels
from catalog.registrations.plan import SceneFacts
from catalog.registrations.reading import open_pixels, read_stored, to_physical
from infra.storage import Storage

Inverse: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Pixels of the working grid (n, 2), centres at whole numbers → where the moving scene shows them."""
_STEP_PX = 8
_BLOCK_PX = 1024
_COG_OPTIONS = {
    "driver": "COG",
    "compress": "zstd",
    "predictor": "yes",
    "blocksize": "512",
    "overview_resampling": "nearest",
}


def warp_picture(rgba: Rgba, moving_from_fixed: Inverse) -> Rgba:
    """Draw a picture of the moving scene on its working grid as the transform puts it."""
    height, width = rgba.shape[1:]
    columns, rows = _find_places((0, 0), (height, width), moving_from_fixed)
    interleaved = np.ascontiguousarray(np.moveaxis(rgba, 0, -1))
    moved = cv2.remap(interleaved, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    moved[moved[..., 3] < 255] = 0
    return np.ascontiguousarray(np.moveaxis(moved, -1, 0))


def write_corrected(
    storage: Storage, scene: SceneFacts, grid: Grid, moving_from_fixed: Inverse, path: Path
) -> None:
    """Write all variables of a cube, resampled once onto a grid, as a cloud-optimised GeoTIFF.

    Data bands are interpolated bilinearly, class bands taken from the nearest pixel; numbers, nodata, scale
    and offset are the cube's own. Where any of the four neighbours has no data, there is none.

    Args:
        storage: The store that holds the cube.
        scene: The cube.
        grid: Where to.
        moving_from_fixed: From the grid's pixels to where the cube shows them, as seen on the same grid.
        path: Local file to write.
    """

    def find_stored(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = project_pixels(grid, scene.grid, moving_from_fixed(xy) + 0.5) - 0.5
        return found

    group = open_pixels(storage, scene)
    rows, cols = grid.shape_yx
    kind = np.result_type(*{np.dtype(band.dtype) for band in scene.bands})  # a file has one
    profile = {
        "driver": "GTiff",
        "width": cols,
        "height": rows,
        "count": len(scene.bands),
        "dtype": kind.name,
        "crs": grid.crs,
        "transform": Affine(*grid.transform),
        "tiled": True,
    }
    nodata = {str(fill): fill for fill in map(fill_value, scene.bands)}  # as text: NaN is not NaN
    with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"), MemoryFile() as memory:
        with memory.open(**profile, nodata=min(nodata.values()) if len(nodata) == 1 else None) as file:
            file.scales = tuple(band.scale for band in scene.bands)
            file.offsets = tuple(band.offset for band in scene.bands)
            for index, band in enumerate(scene.bands, start=1):
                file.set_band_description(index, band.name)
                stored = read_stored(group, band.name, (slice(None), slice(None)))
                file.write(_warp_band(stored, band, grid, find_stored).astype(kind), index)
        copy_as_cog(memory, path, _COG_OPTIONS | overview_options(rows, cols))


def _warp_band(stored: Pixels, band: Band, grid: Grid, find_stored: Inverse) -> Pixels:
    rows, cols = grid.shape_yx
    result = np.empty((rows, cols), stored.dtype)
    for top in range(0, rows, _BLOCK_PX):
        for left in range(0, cols, _BLOCK_PX):
            shape = min(_BLOCK_PX, rows - top), min(_BLOCK_PX, cols - left)
            x, y = _find_places((top, left), shape, find_stored)
            result[top : top + shape[0], left : left + shape[1]] = _sample(stored, band, x, y)
    return result


def _sample(stored: Pixels, band: Band, x: NDArray[np.float32], y: NDArray[np.float32]) -> Pixels:
    """Take stored numbers at positions, from the part of the array that they lie in."""
    height, width = stored.shape
    near = (x > -2) & (x < width + 1) & (y > -2) & (y < height + 1)
    fill = np.full(x.shape, fill_value(band), stored.dtype)
    if not near.any():
        return fill
    left, top = max(0, int(x[near].min()) - 2), max(0, int(y[near].min()) - 2)
    part = stored[top : int(y[near].max()) + 3, left : int(x[near].max()) + 3]
    plain = Band(name=band.name, asset="", href="", dtype=band.dtype, nodata=band.nodata)
    values = to_physical(part, plain)
    method = cv2.INTER_NEAREST if band.quality else cv2.INTER_LINEAR
    taken = cv2.remap(
        values, x - left, y - top, method, borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan")
    )
    if stored.dtype.kind in "iu":
        taken = np.rint(taken)
    return np.where(np.isfinite(taken), np.nan_to_num(taken), fill).astype(stored.dtype)


def _find_places(
    corner: tuple[int, int], shape: tuple[int, int], inverse: Inverse
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and y to sample at, for each pixel of a block; exact every 8 pixels, between them bilinear."""
    (top, left), (rows, cols) = corner, shape
    lattice = [np.arange(0, length + _STEP_PX, _STEP_PX) for length in (rows, cols)]
    down, across = np.meshgrid(*lattice, indexing="ij")
    spots = np.column_stack([across.ravel() + left, down.ravel() + top]).astype(np.float64)
    places = inverse(spots)
    places[~np.isfinite(places).all(axis=1)] = -1e6  # nowhere
    x = (np.arange(cols) / _STEP_PX).astype(np.float32)
    y = (np.arange(rows) / _STEP_PX).astype(np.float32)
    grid_x, grid_y = np.meshgrid(x, y)
    planes = places.reshape(*down.shape, 2).astype(np.float64)
    return _upsample(planes[..., 0], grid_x, grid_y), _upsample(planes[..., 1], grid_x, grid_y)


def _upsample(
    plane: NDArray[np.float64], x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Interpolate a lattice in float64: OpenCV's own weights are in steps of 1/32."""
    column, row = (
        np.minimum(x.astype(np.intp), plane.shape[1] - 2),
        np.minimum(y.astype(np.intp), plane.shape[0] - 2),
    )
    u, v = x - column, y - row
    upper = plane[row, column] * (1 - u) + plane[row, column + 1] * u
    lower = plane[row + 1, column] * (1 - u) + plane[row + 1, column + 1] * u
    result: NDArray[np.float32] = (upper * (1 - v) + lower * v).astype(np.float32)
    return result
