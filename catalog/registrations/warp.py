"""Resample a moving scene once, straight from its stored pixels, onto the grid it was registered on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import DatasetWriter

from catalog.pictures.cogs import overview_options
from catalog.pictures.previews import Rgba
from catalog.readers.protocol import Pixels, fill_value, valid_mask
from catalog.records import Band, Grid
from catalog.registrations.grids import project_pixels
from catalog.registrations.placing import Window, choose_block_px, cut_blocks
from catalog.registrations.plan import SceneFacts
from catalog.registrations.reading import open_pixels, read_stored
from infra.storage import Storage

Inverse: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Pixels of the working grid (n, 2), centres at whole numbers → where the moving scene shows them."""
Places: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""x and y to sample at, for each pixel of a strip of rows; centres at whole numbers."""
_STEP_PX = 8
_STRIP_PX = 256  # rows that are interpolated together; a multiple of the step
_NOWHERE = -1e6
_COG_OPTIONS = {
    "driver": "COG",
    "compress": "zstd",
    "predictor": "yes",
    "blocksize": "512",
    "overview_resampling": "nearest",
}


def warp_picture(rgba: Rgba, moving_from_fixed: Inverse) -> Rgba:
    """Draw a picture of the moving scene on its working grid as the transform puts it.

    Args:
        rgba: uint8 (4, height, width); OpenCV takes 32,766 pixels a side, working grids have ``MAX_PX``.
        moving_from_fixed: From the picture's pixels to where the moving scene shows them.
    """
    strips = _find_places((slice(0, rgba.shape[1]), slice(0, rgba.shape[2])), moving_from_fixed)
    columns, rows = (np.concatenate(parts).astype(np.float32) for parts in zip(*strips, strict=True))
    interleaved = np.ascontiguousarray(np.moveaxis(rgba, 0, -1))
    moved = cv2.remap(interleaved, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    moved[moved[..., 3] < 255] = 0
    return np.ascontiguousarray(np.moveaxis(moved, -1, 0))


def write_corrected(
    storage: Storage, scene: SceneFacts, grid: Grid, moving_from_fixed: Inverse, path: Path
) -> None:
    """Write all variables of a cube, resampled once onto a grid, as a cloud-optimised GeoTIFF.

    Data bands are interpolated bilinearly, class bands taken from the nearest pixel as they are; numbers,
    nodata, scale and offset are the cube's own. Where a pixel that has a share in one has no data, there is
    none. One block is in memory at a time, whatever the size of the cube.

    Args:
        storage: The store that holds the cube.
        scene: The cube.
        grid: Where to.
        moving_from_fixed: From the grid's pixels to where the cube shows them, as seen on the same grid.
        path: Local file to write; an uncompressed one lies beside it meanwhile.

    Raises:
        DataError: a variable is damaged.
        OSError: the folder is full.
    """

    def find_stored(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = project_pixels(grid, scene.grid, moving_from_fixed(xy) + 0.5) - 0.5
        return found

    group = open_pixels(storage, scene)

    def read(band: Band, window: Window) -> Pixels:
        return read_stored(group, band.name, window)

    plain = path.with_name(f".{path.name}.plain")
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"):
            with rasterio.open(plain, "w", **_describe_file(scene.bands, grid)) as file:
                _label_bands(file, scene.bands)
                for block in cut_blocks(grid.shape_yx, choose_block_px(grid, scene.grid)):
                    places = _find_places(block, find_stored)
                    area = rasterio.windows.Window.from_slices(*block)
                    for index, pixels in enumerate(_take_bands(scene, read, places), start=1):
                        file.write(pixels.astype(file.dtypes[0]), index, window=area)
            rasterio.shutil.copy(plain, path, **(_COG_OPTIONS | overview_options(*grid.shape_yx)))
    finally:
        plain.unlink(missing_ok=True)


def _describe_file(bands: tuple[Band, ...], grid: Grid) -> dict[str, Any]:
    nodata = {str(fill): fill for fill in map(fill_value, bands)}  # as text: NaN is not NaN
    return {
        "driver": "GTiff",
        "width": grid.shape_yx[1],
        "height": grid.shape_yx[0],
        "count": len(bands),
        # A file has one data type: the least that holds the numbers of all variables.
        "dtype": np.result_type(*{np.dtype(band.dtype) for band in bands}).name,
        "crs": grid.crs,
        "transform": Affine(*grid.transform),
        "tiled": True,
        "bigtiff": "if_safer",
        "nodata": min(nodata.values()) if len(nodata) == 1 else None,
    }


def _label_bands(file: DatasetWriter, bands: tuple[Band, ...]) -> None:
    file.scales = tuple(band.scale for band in bands)
    file.offsets = tuple(band.offset for band in bands)
    for index, band in enumerate(bands, start=1):
        file.set_band_description(index, band.name)


def _take_bands(
    scene: SceneFacts, read: Callable[[Band, Window], Pixels], places: list[Places]
) -> Iterator[Pixels]:
    """Yield each variable's numbers at some places, as stored."""
    window = _find_window(places, scene.grid.shape_yx)
    top, left = window[0].start, window[1].start
    for band in scene.bands:
        stored = read(band, window)
        yield np.concatenate([_sample(stored, band, (x - left, y - top)) for x, y in places])


def _find_window(places: list[Places], shape: tuple[int, int]) -> Window:
    """Return the rows and columns of an array that hold all pixels with a share at some places."""
    low, high = np.array(shape), np.zeros(2, int)
    for x, y in places:
        near = (x > -1) & (x < shape[1]) & (y > -1) & (y < shape[0])
        if near.any():
            low = np.minimum(low, [np.floor(y[near].min()), np.floor(x[near].min())])
            high = np.maximum(high, [np.ceil(y[near].max()) + 1, np.ceil(x[near].max()) + 1])
    (top, left), (bottom, right) = np.maximum(low, 0).astype(int), np.minimum(high, shape).astype(int)
    return slice(int(top), int(max(top, bottom))), slice(int(left), int(max(left, right)))


def _sample(stored: Pixels, band: Band, places: Places) -> Pixels:
    """Take stored numbers at positions of their array; the fill value outside it.

    In numpy: OpenCV knows float32 and no array above 32,767 pixels, and weighs by steps of 1/32.
    """
    height, width = stored.shape
    x, y = np.clip(places[0], -1, width), np.clip(places[1], -1, height)
    result = np.full(x.shape, fill_value(band), stored.dtype)
    if band.quality:
        columns, rows = np.floor(x + 0.5).astype(np.intp), np.floor(y + 0.5).astype(np.intp)
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        result[inside] = stored[rows[inside], columns[inside]]
        return result
    left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    inside = (left >= 0) & (x <= width - 1) & (top >= 0) & (y <= height - 1)
    result[inside] = _interpolate(stored, band, (x[inside], y[inside]))
    return result


def _interpolate(stored: Pixels, band: Band, places: Places) -> Pixels:
    """Weigh the four neighbours of positions (n) within an array; no data where one with a share has none."""
    left, top = (np.floor(axis).astype(np.intp) for axis in places)
    u, v = places[0] - left, places[1] - top
    right, bottom = left + (u > 0), top + (v > 0)
    total, known = np.zeros(len(u)), np.ones(len(u), np.bool_)
    for rows, columns, share in (
        (top, left, (1 - v) * (1 - u)),
        (top, right, (1 - v) * u),
        (bottom, left, v * (1 - u)),
        (bottom, right, v * u),
    ):
        taken = stored[rows, columns]
        valid = valid_mask(taken, fill_value(band))
        known &= valid
        total += share * np.where(valid, taken, 0)
    if stored.dtype.kind in "iu":
        total = np.rint(total)
    return np.where(known, total, fill_value(band)).astype(stored.dtype)


def _find_places(block: Window, inverse: Inverse) -> list[Places]:
    """Return where to sample for each pixel of a block, strip by strip of its rows."""
    rows, cols = block
    strips = range(rows.start, rows.stop, _STRIP_PX)
    shapes = [(min(_STRIP_PX, rows.stop - top), cols.stop - cols.start) for top in strips]
    return [_fill_strip((top, cols.start), shape, inverse) for top, shape in zip(strips, shapes, strict=True)]


def _fill_strip(corner: tuple[int, int], shape: tuple[int, int], inverse: Inverse) -> Places:
    """Return x and y to sample at; exact every 8 pixels, between them bilinear."""
    (top, left), (rows, cols) = corner, shape
    lattice = [np.arange(0, length + _STEP_PX, _STEP_PX) for length in (rows, cols)]
    down, across = np.meshgrid(*lattice, indexing="ij")
    spots = np.column_stack([across.ravel() + left, down.ravel() + top]).astype(np.float64)
    places = inverse(spots)
    places[~np.isfinite(places).all(axis=1)] = _NOWHERE
    x, y = (np.arange(length) / _STEP_PX for length in (cols, rows))
    planes = places.reshape(*down.shape, 2)
    return _upsample(planes[..., 0], x, y), _upsample(planes[..., 1], x, y)


def _upsample(
    plane: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate a lattice, first along its columns, then along its rows."""
    column, row = x.astype(np.intp), y.astype(np.intp)
    u, v = x - column, (y - row)[:, None]
    wide = plane[:, column] * (1 - u) + plane[:, column + 1] * u
    result: NDArray[np.float64] = wide[row] * (1 - v) + wide[row + 1] * v
    return result
