"""Hold what is painted at once, and deal it out to the windows of a picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.osm.drawing.placing import Edges

Floats = NDArray[np.float64]
Value = NDArray[np.float32]
Window = tuple[slice, slice]

_TILE_PX = 512  # a window's arrays stay in the processor's cache, and memory does not grow with the picture
_SIZE_STEP = 4.0  # areas within a factor of this count as equally large, and are painted together


@dataclass(frozen=True, kw_only=True, eq=False)
class Paint:
    """Hold areas, or lines, that get one value."""

    order: tuple[float, ...]
    """Layer first; lower is painted earlier."""
    value: Value
    """``(3,)`` red, green, blue in [0, 255], or ``(1,)`` a class index."""
    xy: Floats
    """``(m, 4)`` edges as in ``placing.Edges``."""
    right_px: Floats
    """``(m,)`` where the feature of each edge ends on the right; an area's edges there may be cut away."""
    width_px: Floats | None
    """``(m,)`` width of each edge; None for areas."""

    def take(self, chosen: NDArray[np.bool_]) -> Paint:
        """Return the paint with some of its edges."""
        width = None if self.width_px is None else self.width_px[chosen]
        return dataclasses.replace(self, xy=self.xy[chosen], right_px=self.right_px[chosen], width_px=width)

    def move(self, left: int, top: int) -> Paint:
        """Return the paint as seen from the corner of a window."""
        xy = self.xy - np.array([left, top, left, top], np.float64)
        return dataclasses.replace(self, xy=xy, right_px=self.right_px - left)


def pick_edges(edges: Edges, wanted: NDArray[np.bool_]) -> Edges:
    """Take the edges of the features that a ``(feature,)`` mask names."""
    return edges.take(wanted[edges.owner]) if len(edges.owner) else edges


def fill_areas(
    looks: Sequence[tuple[int, Value]], areas: Edges, look_of: NDArray[np.int16]
) -> Iterator[Paint]:
    """Group areas by layer, size and look; within a layer larger ones come first.

    Args:
        looks: Layer and value of each look.
        areas: Edges of polygons.
        look_of: ``(feature,)`` index of each feature's look; -1 leaves it out.
    """
    areas = pick_edges(areas, look_of >= 0)
    if not len(areas.owner):
        return
    x0, y0, x1, y1 = areas.xy.T
    size_px = -np.bincount(areas.owner, x0 * y1 - x1 * y0, minlength=look_of.size) / 2
    smallness = -np.floor(np.log(np.maximum(size_px, 1e-6)) / math.log(_SIZE_STEP)).astype(np.intp)
    right = np.full(look_of.size, -np.inf)
    np.maximum.at(right, areas.owner, np.maximum(x0, x1))
    keys = np.column_stack([look_of, smallness])[areas.owner]
    groups, group = np.unique(keys, axis=0, return_inverse=True)
    by_group = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[by_group], np.arange(len(groups) + 1)).tolist()
    for (look, order), start, end in zip(groups.tolist(), starts[:-1], starts[1:], strict=True):
        layer, value = looks[look]
        chosen = by_group[start:end]
        right_px = right[areas.owner[chosen]]
        yield Paint(
            order=(layer, 0, order, look), value=value, xy=areas.xy[chosen], right_px=right_px, width_px=None
        )


def stroke_lines(order: tuple[float, ...], value: Value, xy: Floats, width_px: Floats) -> Paint:
    """Make the paint of lines: ``(m, 4)`` edges and the ``(m,)`` width of each."""
    right = np.maximum(xy[:, 0], xy[:, 2])
    return Paint(order=order, value=value, xy=xy, right_px=right, width_px=width_px)


def deal_paints(paints: Sequence[Paint], shape_yx: tuple[int, int]) -> Iterator[tuple[Window, list[Paint]]]:
    """Cut a picture into windows and yield each with the paints that reach it, seen from its corner."""
    rows, cols = shape_yx
    for top in range(0, rows, _TILE_PX):
        bottom = min(top + _TILE_PX, rows)
        band = [_cut(paint, (-math.inf, top), (math.inf, bottom)) for paint in paints]
        for left in range(0, cols, _TILE_PX):
            right = min(left + _TILE_PX, cols)
            near = [_cut(paint, (left, top), (right, bottom)) for paint in band if len(paint.xy)]
            yield (
                (slice(top, bottom), slice(left, right)),
                [paint.move(left, top) for paint in near if len(paint.xy)],
            )


def _cut(paint: Paint, low: tuple[float, float], high: tuple[float, float]) -> Paint:
    """Keep the edges that matter to a window; of areas also those to its left."""
    x0, y0, x1, y1 = paint.xy.T
    # a whole width, not half of one: pixels may be longer on the ground one way than the other
    reach = 0.0 if paint.width_px is None else paint.width_px + 2
    chosen = (np.maximum(y0, y1) + reach > low[1]) & (np.minimum(y0, y1) - reach < high[1])
    chosen &= (np.minimum(x0, x1) - reach < high[0]) & (paint.right_px + reach > low[0])
    return paint.take(chosen)


def find_extent(paint: Paint, shape_yx: tuple[int, ...]) -> tuple[Window, Paint]:
    """Find the part of a window that a paint can touch, and the paint as seen from its corner."""
    reach = 0.0 if paint.width_px is None else float(paint.width_px.max()) + 2
    low = paint.xy.reshape(-1, 2).min(axis=0) - reach
    # an area's right edge may have been cut away; the area itself goes on
    high = np.array([paint.right_px.max(), paint.xy[:, 1::2].max()]) + reach
    left, top = np.clip(np.floor(low), 0, shape_yx[::-1]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high), 0, shape_yx[::-1]).astype(int).tolist()
    return (slice(top, bottom), slice(left, right)), paint.move(left, top)
