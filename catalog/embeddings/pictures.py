"""Draw vectors in colours: the three directions in which they differ most become red, green and blue."""

from __future__ import annotations

import dataclasses

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from catalog.embeddings.sections import VectorSurvey
from catalog.pictures.previews import Rgba
from catalog.records import Grid

_MAX_PX = 1024
_CALM = 0.12  # how near to black and white colours come: full ones glare


def choose_block_cells(grid: Grid) -> int:
    """Return how many cells across become one pixel of the picture, a power of two."""
    block = 1
    while -(-max(grid.shape_yx) // block) > _MAX_PX and block < grid.shard_px:
        block *= 2
    return block


def picture_grid(grid: Grid) -> Grid:
    """Return the grid of the picture of some cells."""
    block = choose_block_cells(grid)
    return dataclasses.replace(
        grid,
        transform=tuple((Affine(*grid.transform) @ Affine.scale(block))[:6]),
        shape_yx=(-(-grid.shape_yx[0] // block), -(-grid.shape_yx[1] // block)),
    )


def project_blocks(
    values: NDArray[np.float32], known: NDArray[np.bool_], block: int, survey: VectorSurvey
) -> NDArray[np.float32]:
    """Average vectors over blocks of cells and give their principal components.

    Args:
        values: (rows, columns, width).
        known: bool (rows, columns): where there are vectors.
        block: Edge of a block, cells.
        survey: Has mean and axes.

    Returns:
        float32 (3, ⌈rows/block⌉, ⌈columns/block⌉), NaN where a block has no vector.
    """
    axes = np.asarray(survey.axes, np.float32)
    offset = axes @ np.asarray(survey.mean, np.float32)
    seen = values if known.all() else np.where(known[..., None], values, np.float32(0))
    along = np.moveaxis(seen @ axes.T - offset, 2, 0)
    rows, cols = known.shape
    tops, lefts = np.arange(0, rows, block), np.arange(0, cols, block)
    total = np.add.reduceat(np.add.reduceat(np.where(known, along, 0), tops, axis=1), lefts, axis=2)
    count = np.add.reduceat(np.add.reduceat(known.astype(np.float32), tops, axis=0), lefts, axis=1)
    mean = total / np.maximum(count, 1)
    return np.where(count > 0, mean, np.float32(np.nan)).astype(np.float32)


def paint_components(components: NDArray[np.float32], survey: VectorSurvey) -> Rgba:
    """Paint principal components.

    The strongest one gives brightness, as eyes see form by it; the other two give hue.

    Args:
        components: float32 (3, rows, columns), NaN without data.
        survey: Has what is drawn black and white.

    Returns:
        uint8 (4, rows, columns).
    """
    low = np.asarray(survey.low, np.float32)[:, None, None]
    high = np.asarray(survey.high, np.float32)[:, None, None]
    known = np.isfinite(components).all(axis=0)
    level = np.clip(np.nan_to_num((components - low) / (high - low)), 0, 1)
    light = _CALM + (1 - 2 * _CALM) * level[0]
    warm, green = level[1] - 0.5, level[2] - 0.5
    colours = np.stack(
        [light + 0.55 * warm, light - 0.25 * warm + 0.45 * green, light - 0.45 * warm - 0.35 * green]
    )
    alpha = np.where(known, 255, 0).astype(np.uint8)
    shown = np.where(known, np.rint(np.clip(colours, 0, 1) * 255), 0).astype(np.uint8)
    return np.concatenate([shown, alpha[None]])
