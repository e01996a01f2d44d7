"""Lay overlapping windows over a scene, and weigh them so that no seam shows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError


@dataclass(frozen=True, kw_only=True)
class WindowLayout:
    """Holds where the windows of one scene lie; all places are whole cells.

    Windows start every ``window_px - overlap_px`` pixels; the last one is moved back to end with the scene's
    last cell. Every cell is seen by a window, whatever the scene's size.
    """

    shape_yx: tuple[int, int]
    """Of the scene, pixels."""
    window_px: int
    overlap_px: int
    """Between neighbours; at the end of an axis it may be more."""
    stride_px: int
    """Edge of a cell, pixels."""

    def __post_init__(self) -> None:
        """Refuse numbers that do not go together."""
        if min(self.shape_yx) < 1:
            raise InputError(f"a scene of {self.shape_yx} pixels cannot be encoded; it must have some")
        if self.stride_px < 1 or self.window_px < self.stride_px or self.window_px % self.stride_px:
            raise InputError(
                f"windows of {self.window_px} px are no whole number of {self.stride_px} px cells; "
                f"give a multiple of {self.stride_px}"
            )
        if not 0 <= self.overlap_px < self.window_px or self.overlap_px % self.stride_px:
            raise InputError(
                f"an overlap of {self.overlap_px} px does not suit windows of {self.window_px} px; give a "
                f"multiple of {self.stride_px} below {self.window_px}"
            )

    @property
    def cells_yx(self) -> tuple[int, int]:
        """Rows and columns of cells; the last ones may reach beyond the scene."""
        rows, cols = self.shape_yx
        return -(-rows // self.stride_px), -(-cols // self.stride_px)

    @property
    def window_cells(self) -> int:
        """Edge of a window, cells."""
        return self.window_px // self.stride_px

    @property
    def padded_yx(self) -> tuple[int, int]:
        """Rows and columns of cells that windows cover: a scene smaller than a window is filled up."""
        rows, cols = self.cells_yx
        return max(rows, self.window_cells), max(cols, self.window_cells)

    @property
    def row_starts(self) -> tuple[int, ...]:
        """First row of each row of windows, cells."""
        return self._starts(self.cells_yx[0])

    @property
    def col_starts(self) -> tuple[int, ...]:
        """First column of each window of a row, cells."""
        return self._starts(self.cells_yx[1])

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.row_starts) * len(self.col_starts)

    def rows_touching(self, first: int, last: int) -> tuple[int, ...]:
        """Return the rows of windows that see cells of the rows ``first`` to ``last``, the last excluded."""
        return tuple(start for start in self.row_starts if start < last and start + self.window_cells > first)

    def _starts(self, cells: int) -> tuple[int, ...]:
        edge = self.window_cells
        if cells <= edge:
            return (0,)
        step = edge - self.overlap_px // self.stride_px
        return (*range(0, cells - edge, step), cells - edge)


def raised_cosine(cells: int) -> NDArray[np.float32]:
    """Return the weight of every cell of a window: float32 (cells, cells), high in the middle, never 0.

    What neighbouring windows give a cell is added with these weights and divided by their sum, so weights
    count as if they summed to one, at the scene's rims as well.
    """
    places = (np.arange(cells) + 0.5) / cells
    rise = 0.5 - 0.5 * np.cos(2 * math.pi * places)
    # A window's outermost cells stay in play where no other window sees them: rims and corners.
    rise = np.maximum(rise, 1e-3)
    weights: NDArray[np.float32] = np.outer(rise, rise).astype(np.float32)
    return weights


def spread_windows(layout: WindowLayout, most: int) -> tuple[tuple[int, int], ...]:
    """Choose windows evenly over a scene, to look at it before it is encoded.

    Args:
        layout: All windows.
        most: How many to choose at most.

    Returns:
        First row and column of each, cells, row by row.
    """
    rows, cols = layout.row_starts, layout.col_starts
    per_row = max(1, min(len(cols), round(math.sqrt(most * len(cols) / len(rows)))))
    per_col = max(1, min(len(rows), most // per_row))
    return tuple((row, col) for row in _spread(rows, per_col) for col in _spread(cols, per_row))


def _spread(starts: tuple[int, ...], count: int) -> list[int]:
    if count == 1:
        return [starts[len(starts) // 2]]
    # With both ends: a scene may hold data at one edge alone.
    places = np.linspace(0, len(starts) - 1, min(count, len(starts)))
    return [starts[round(float(place))] for place in places]
