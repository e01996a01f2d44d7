"""Put pixels of one grid onto another, block by block, so that large scenes need little memory."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject

from catalog.records import Grid
from catalog.registrations.grids import is_same_crs, project_pixels

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns."""
Way: TypeAlias = Literal["window", "average", "bilinear"]
READ_PX = 2048
"""Edge of the square of stored pixels that is in memory at once, about; two of the usual chunks."""
_LEAST_BLOCK_PX = 16
_MARGIN_PX = 4
_WHOLE = 1e-4  # pixels: a window that reaches less than that into a pixel does not need it
_SAME_PX = 1e-3
# Grids whose pixels lie nowhere farther apart are one. That is a hundredth of what tie points are good to, so
# taking pixels as they are changes nothing that is found; and it is a thousand times what float64 leaves of
# world coordinates (2e7 m on pixels of 1 cm: 4e-7 px), so rounding alone never causes resampling.
_COARSER = 1.5
# Rasterio silences a warning for the whole process while it wraps an array: of two threads one would give it.
_ONE_WARP = threading.Lock()


def cut_blocks(shape: tuple[int, int], edge_px: int) -> Iterator[Window]:
    """Cut rows and columns into squares, row by row; the last ones are smaller."""
    rows, cols = shape
    for top in range(0, rows, edge_px):
        for left in range(0, cols, edge_px):
            yield slice(top, min(top + edge_px, rows)), slice(left, min(left + edge_px, cols))


def choose_block_px(grid: Grid, source: Grid) -> int:
    """Return the edge of the blocks of a grid that need about ``READ_PX`` squared of a source."""
    rows, cols = find_source_window(grid, source)
    needed = (rows.stop - rows.start) * (cols.stop - cols.start)
    ratio = math.sqrt(max(needed, 1) / (grid.shape_yx[0] * grid.shape_yx[1]))
    # A power of two: blocks then end where chunks do, wherever a pixel is a whole number of the source's.
    return max(_LEAST_BLOCK_PX, min(READ_PX, int(2.0 ** math.floor(math.log2(READ_PX / ratio) + _WHOLE))))


def assemble(
    source: Grid, grid: Grid, bands: int, read: Callable[[Window], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Put a source onto a grid, with no more than a block of it in memory.

    Pixels are taken as they are where the grids agree, else resampled: averaged onto larger pixels, bilinear
    onto others.

    Args:
        source: Where the source's pixels lie.
        grid: Where they shall lie.
        bands: How many there are.
        read: Gives a window of the source as float32 (bands, rows, cols), NaN where there is no data.

    Returns:
        float32 (rows, cols, bands), NaN where there is no data.
    """
    result = np.full((*grid.shape_yx, bands), np.nan, np.float32)
    way = choose_way(source, grid)
    for rows, cols in cut_blocks(grid.shape_yx, choose_block_px(grid, source)):
        block = cut_grid(grid, (rows, cols))
        # What is averaged or copied ends with the block; what is interpolated needs neighbours beyond it.
        window = find_source_window(block, source, margin_px=_MARGIN_PX if way == "bilinear" else 0)
        if not is_empty(window):
            part = cut_grid(source, window)
            for index, plane in enumerate(read(window)):
                result[rows, cols, index] = place_on_grid(plane, part, block, way)
    return result


def is_empty(window: Window) -> bool:
    """Say whether a window holds no pixel."""
    return any(side.stop <= side.start for side in window)


def find_source_window(grid: Grid, source: Grid, *, margin_px: int = 0) -> Window:
    """Return the rows and columns of a source that a grid needs; empty where they share no ground.

    Args:
        grid: What is to be filled.
        source: What it is filled from.
        margin_px: Pixels more on each side, of the larger of the two grids.
    """
    rows, cols = grid.shape_yx
    steps = np.linspace(0, 1, 17)
    across, down = (axis.ravel() for axis in np.meshgrid(steps * cols, steps * rows))
    seen = project_pixels(grid, source, np.column_stack([across, down]))
    seen = seen[np.isfinite(seen).all(axis=1)]
    if not len(seen):
        return slice(0, 0), slice(0, 0)
    ratio = max(1.0, *(np.ptp(seen, axis=0) / (cols, rows)).tolist())
    margin = math.ceil(margin_px * ratio)
    limit = np.array(source.shape_yx[::-1], np.float64)
    low = np.clip(np.floor(seen.min(axis=0) + _WHOLE) - margin, 0, limit)
    high = np.clip(np.ceil(seen.max(axis=0) - _WHOLE) + margin, low, limit)
    (left, top), (right, bottom) = low.astype(int).tolist(), high.astype(int).tolist()
    return slice(top, bottom), slice(left, right)


def cut_grid(grid: Grid, window: Window) -> Grid:
    """Return the grid of a window of another."""
    rows, cols = window
    transform = Affine(*grid.transform) @ Affine.translation(cols.start, rows.start)
    return Grid(
        crs=grid.crs,
        transform=tuple(transform[:6]),
        shape_yx=(rows.stop - rows.start, cols.stop - cols.start),
        shard_px=grid.shard_px,
        chunk_px=grid.chunk_px,
    )


def choose_way(source: Grid, grid: Grid) -> Way:
    """Say how pixels of a source get onto a grid."""
    if not is_same_crs(source, grid):
        return "bilinear"
    relative = ~Affine(*source.transform) @ Affine(*grid.transform)
    if _is_whole_shift(relative, grid.shape_yx):
        return "window"
    return "average" if math.sqrt(abs(relative.determinant)) > _COARSER else "bilinear"


def place_on_grid(plane: NDArray[np.float32], source: Grid, grid: Grid, way: Way) -> NDArray[np.float32]:
    """Put one float plane, NaN where there is no data, onto another grid."""
    result = np.full(grid.shape_yx, np.nan, np.float32)
    if way == "window":
        relative = ~Affine(*source.transform) @ Affine(*grid.transform)
        return _take_window(plane, round(relative.f), round(relative.c), result)
    with _ONE_WARP:
        reproject(
            plane,
            result,
            src_transform=Affine(*source.transform),
            src_crs=source.crs,
            src_nodata=np.nan,
            dst_transform=Affine(*grid.transform),
            dst_crs=grid.crs,
            dst_nodata=np.nan,
            resampling=Resampling[way],
        )
    return result


def _is_whole_shift(relative: Affine, shape: tuple[int, int]) -> bool:
    """Say whether a grid's pixels are another's, some whole columns and rows on: judged at its corners."""
    rows, cols = shape
    shift = round(relative.c), round(relative.f)
    off = [
        math.dist(relative @ (x, y), (x + shift[0], y + shift[1])) for x in (0.0, cols) for y in (0.0, rows)
    ]
    return max(off) <= _SAME_PX


def _take_window(
    plane: NDArray[np.float32], top: int, left: int, result: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Copy what a window of a plane holds; the window may reach beyond it."""
    (height, width), (rows, cols) = plane.shape, result.shape
    first_row, last_row = max(top, 0), min(top + rows, height)
    first_col, last_col = max(left, 0), min(left + cols, width)
    if first_row < last_row and first_col < last_col:
        result[first_row - top : last_row - top, first_col - left : last_col - left] = plane[
            first_row:last_row, first_col:last_col
        ]
    return result
