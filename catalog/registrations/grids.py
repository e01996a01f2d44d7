"""Choose the grid that two scenes are compared on, and turn what was found on it into world coordinates."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from catalog.records import Grid

MAX_PX = 6144
"""Longest side that two scenes are compared on; larger ones are compared on a coarser grid."""
_SAME = 1e-6
_EDGE_SAMPLES = 21
Matrix = NDArray[np.float64]


def plan_working_grid(fixed: Grid, moving: Grid, *, max_px: int = MAX_PX) -> Grid:
    """Choose the grid to compare two scenes on: the fixed one's, where the moving one reaches.

    Its pixels are the fixed scene's, or whole blocks of them where the moving one's are larger, or where the
    longer side would have more than ``max_px``. Scenes that share no ground give the whole fixed grid.
    """
    top, left, bottom, right = _find_window(fixed, moving)
    step = max(1, round(_pixel_in(moving, fixed) / _pixel(fixed)))
    step = max(step, math.ceil(max(bottom - top, right - left) / max_px))
    rows, cols = max(1, (bottom - top) // step), max(1, (right - left) // step)
    transform = Affine(*fixed.transform) @ Affine.translation(left, top) @ Affine.scale(step)
    return dataclasses.replace(fixed, transform=tuple(transform[:6]), shape_yx=(rows, cols))


def share_ground(fixed: Grid, moving: Grid) -> bool:
    """Say whether two grids overlap at all."""
    left, top, right, bottom = _bounds_in(moving, fixed)
    rows, cols = fixed.shape_yx
    return bool(left < cols and right > 0 and top < rows and bottom > 0 and left < right)


def is_same_crs(first: Grid, second: Grid) -> bool:
    """Say whether two grids have one CRS, however it is spelled."""
    return first.crs == second.crs or bool(CRS.from_user_input(first.crs) == CRS.from_user_input(second.crs))


def to_corners(fixed_from_moving: Matrix) -> Matrix:
    """Turn a transform of pixel centres at whole numbers into one of pixel corners at whole numbers."""
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    return _scaled(half @ fixed_from_moving @ np.linalg.inv(half))


def to_world(fixed_from_moving: Matrix, grid: Grid) -> Matrix:
    """Turn a transform of a grid's pixels (centres at whole numbers) into one of world coordinates.

    Returns:
        3×3: where ground is, from where the moving scene says it is; CRS of the grid.
    """
    place = _matrix(grid.transform)
    return _scaled(place @ to_corners(fixed_from_moving) @ np.linalg.inv(place))


def correct_transform(correction: Matrix, moving: Grid) -> tuple[float, float, float, float, float, float]:
    """Return the moving scene's geotransform once corrected; only for an affine correction in its CRS."""
    a, b, c, d, e, f = (float(value) for value in (correction @ _matrix(moving.transform))[:2].ravel())
    return a, b, c, d, e, f


def project_pixels(source: Grid, target: Grid, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where pixel positions (n, 2) of one grid, corners at whole numbers, lie in another's pixels.

    Not finite where the other CRS does not reach.
    """
    world = xy @ _matrix(source.transform)[:2, :2].T + _matrix(source.transform)[:2, 2]
    if not is_same_crs(source, target):
        change = Transformer.from_crs(source.crs, target.crs, always_xy=True)
        world = np.column_stack(change.transform(world[:, 0], world[:, 1]))
    back = np.linalg.inv(_matrix(target.transform))
    found: NDArray[np.float64] = world @ back[:2, :2].T + back[:2, 2]
    return found


def _matrix(transform: tuple[float, ...]) -> Matrix:
    return np.array([transform[:3], transform[3:], (0.0, 0.0, 1.0)])


def _scaled(matrix: Matrix) -> Matrix:
    scaled: Matrix = matrix / matrix[2, 2]
    return scaled


def _pixel(grid: Grid) -> float:
    a, b, _, d, e, _ = grid.transform
    return math.sqrt(math.hypot(a, d) * math.hypot(b, e))


def _pixel_in(grid: Grid, other: Grid) -> float:
    """Return the edge of a grid's pixels in another grid's CRS units, at its middle."""
    rows, cols = grid.shape_yx
    spots = np.array([[cols / 2, rows / 2], [cols / 2 + 1, rows / 2], [cols / 2, rows / 2 + 1]])
    seen = project_pixels(grid, other, spots)
    sides = np.hypot(*(seen[1:] - seen[0]).T)
    return float(np.sqrt(sides.prod())) * _pixel(other) if np.isfinite(sides).all() else _pixel(other)


def _bounds_in(grid: Grid, other: Grid) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a grid's outline in another grid's pixels."""
    rows, cols = grid.shape_yx
    steps = np.linspace(0, 1, _EDGE_SAMPLES)
    edges = [(steps * cols, 0 * steps), (steps * cols, 0 * steps + rows)]
    edges += [(0 * steps, steps * rows), (0 * steps + cols, steps * rows)]
    outline = np.concatenate([np.column_stack(edge) for edge in edges])
    seen = project_pixels(grid, other, outline)
    seen = seen[np.isfinite(seen).all(axis=1)]
    if not len(seen):
        return 0.0, 0.0, 0.0, 0.0
    (left, top), (right, bottom) = seen.min(axis=0).tolist(), seen.max(axis=0).tolist()
    return left, top, right, bottom


def _find_window(fixed: Grid, moving: Grid) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of what the grids share, in whole pixels of the fixed one."""
    rows, cols = fixed.shape_yx
    left, top, right, bottom = _bounds_in(moving, fixed)
    low_col, low_row = max(0, math.floor(left + _SAME)), max(0, math.floor(top + _SAME))
    high_col, high_row = min(cols, math.ceil(right - _SAME)), min(rows, math.ceil(bottom - _SAME))
    if low_col >= high_col or low_row >= high_row:
        return 0, 0, rows, cols
    return low_row, low_col, high_row, high_col
