"""Measure how much of each pixel is covered: exactly for areas, by distance for lines; in NumPy alone.

Areas: every edge adds, in the pixel it passes, the signed area to its right, and the sum along a row is the
covered share. Nothing is sampled, so edges lie where they lie to a fraction of a pixel.
Lines: a pixel's cover is the overlap of the line's cross-section with the pixel's width, at the distance of
the pixel's centre; of several edges the most covering one counts, so joints and crossings leave no marks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BLOCK = 1 << 21  # pixel and edge pairs worked on at once; bounds the memory


def spread(counts: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Number the members of groups: for counts 2, 3 the groups 0 0 1 1 1 and the members 0 1 0 1 2."""
    group = np.repeat(np.arange(counts.size), counts)
    member = np.arange(group.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return group, member


def cover_areas(xy: Floats, shape_yx: tuple[int, int]) -> Floats:
    """Measure the cover of a window by polygons that all look the same.

    Args:
        xy: ``(m, 4)`` edges with the window's corner at (0, 0), directed as ``placing.Edges`` says. All the
            edges of a polygon but those right of, above and below the window.
        shape_yx: Rows and columns of the window.

    Returns:
        ``(y, x)`` in [0, 1]; where polygons overlap their shares add up to at most 1.
    """
    rows, cols = shape_yx
    row, x0, x1, dy = _cut_at_rows(xy, rows)
    low, high = np.minimum(x0, x1), np.maximum(x0, x1)
    # columns -1 and cols stand for all that lies left and right of the window
    first = np.floor(np.clip(low, -1, cols)).astype(np.intp)
    last = np.floor(np.clip(high, -1, cols)).astype(np.intp)
    piece, step = spread(last - first + 1)
    col = first[piece] + step
    low, high = low[piece], high[piece]
    left = np.where(col < 0, low, np.maximum(low, col))
    right = np.where(col >= cols, high, np.minimum(high, col + 1))
    width = high - low
    share = np.divide(right - left, width, out=np.ones_like(width), where=width > 0)
    signed = dy[piece] * share
    past = np.clip((left + right) / 2 - col, 0, 1)  # part of the pixel left of the edge
    past[col < 0], past[col >= cols] = 1, 0
    cell = row[piece] * (cols + 2) + col + 1
    size = rows * (cols + 2)
    total = np.bincount(cell, signed * (1 - past), minlength=size)
    total[1:] += np.bincount(cell, signed * past, minlength=size)[: size - 1]
    covered = np.cumsum(total.reshape(rows, cols + 2), axis=1)[:, 1:-1]
    return np.asarray(np.clip(covered, 0, 1), np.float64)


def hold_centres(xy: Floats, shape_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which pixels have their centre in one of the polygons; arguments as for :func:`cover_areas`."""
    rows, cols = shape_yx
    x0, y0, x1, y1 = xy[xy[:, 1] != xy[:, 3]].T
    top, bottom = np.minimum(y0, y1), np.maximum(y0, y1)
    # rows whose centre line y = row + ½ the edge crosses, its upper end included and its lower one not
    first = np.clip(np.ceil(top - 0.5), 0, rows).astype(np.intp)
    last = np.clip(np.ceil(bottom - 0.5), 0, rows).astype(np.intp)
    edge, step = spread(last - first)
    row = first[edge] + step
    x = x0[edge] + (row + 0.5 - y0[edge]) * ((x1 - x0) / (y1 - y0))[edge]
    col = np.clip(np.ceil(x - 0.5), 0, cols).astype(np.intp)
    turns = np.bincount(row * (cols + 1) + col, np.sign(y1 - y0)[edge], minlength=rows * (cols + 1))
    inside = np.cumsum(turns.reshape(rows, cols + 1), axis=1)[:, :-1]
    return np.asarray(inside > 0.5, bool)


def _cut_at_rows(xy: Floats, rows: int) -> tuple[NDArray[np.intp], Floats, Floats, Floats]:
    """Cut edges where they pass from row to row.

    Returns:
        Row, x at both ends, and signed height of each piece.
    """
    x0, y0, x1, y1 = xy[xy[:, 1] != xy[:, 3]].T
    slope = (x1 - x0) / (y1 - y0)
    top, bottom = np.clip(np.minimum(y0, y1), 0, rows), np.clip(np.maximum(y0, y1), 0, rows)
    first = np.floor(top).astype(np.intp)
    edge, step = spread(np.where(bottom > top, np.ceil(bottom).astype(np.intp) - first, 0))
    row = first[edge] + step
    start, end = np.maximum(top[edge], row), np.minimum(bottom[edge], row + 1)
    height = (end - start) * np.sign(y1 - y0)[edge]
    x0, y0, slope = x0[edge], y0[edge], slope[edge]
    return row, x0 + (start - y0) * slope, x0 + (end - y0) * slope, height


def cover_lines(
    xy: Floats, width_px: Floats, shape_yx: tuple[int, int], metric: Floats | None = None
) -> NDArray[np.float32]:
    """Measure the cover of a window by lines of some width, with round ends and joints.

    Args:
        xy: ``(m, 4)`` edges with the window's corner at (0, 0).
        width_px: ``(m,)`` width of each.
        shape_yx: Rows and columns of the window.
        metric: ``(2, 2)`` by which lengths are measured, where pixels are not square on the ground; its
            determinant is ±1. None measures in pixels.

    Returns:
        ``(y, x)`` in [0, 1].
    """
    covered = np.zeros(shape_yx[0] * shape_yx[1], np.float32)
    for cell, distance, width in _walk_lines(xy, width_px, shape_yx, metric):
        low = np.maximum(distance - 0.5, -width / 2)
        high = np.minimum(distance + 0.5, width / 2)
        np.maximum.at(covered, cell, np.clip(high - low, 0, 1).astype(np.float32))
    return covered.reshape(shape_yx)


def reach_lines(
    xy: Floats, width_px: Floats, shape_yx: tuple[int, int], metric: Floats | None = None
) -> NDArray[np.bool_]:
    """Tell which pixels have their centre on a line of some width; arguments as for :func:`cover_lines`."""
    reached = np.zeros(shape_yx[0] * shape_yx[1], bool)
    for cell, distance, width in _walk_lines(xy, width_px, shape_yx, metric):
        reached[cell[distance <= width / 2]] = True
    return reached.reshape(shape_yx)


def _walk_lines(
    xy: Floats, width_px: Floats, shape_yx: tuple[int, int], metric: Floats | None
) -> Iterator[tuple[NDArray[np.intp], Floats, Floats]]:
    """Yield pixels near edges: their flat index, distance to the edge and the edge's width.

    Edges are cut into short pieces of one length at most, each with a square of pixels around it.
    """
    if not len(xy):
        return
    metric = np.eye(2) if metric is None else metric
    # where pixels are stretched, the same distance takes more of them
    reach = (float(width_px.max()) / 2 + 0.5) * float(np.linalg.norm(np.linalg.inv(metric), 2))
    longest = max(4.0, 2 * reach)
    edge, pieces = _cut_evenly(xy, longest)
    side = math.ceil(longest + 2 * reach) + 1
    ends = pieces.reshape(-1, 2, 2)
    here = (ends.max(axis=1) > -reach) & (ends.min(axis=1) < np.array(shape_yx[::-1]) + reach)
    edge, pieces = edge[here.all(axis=1)], pieces[here.all(axis=1)]
    block = max(1, _BLOCK // side**2)
    for start in range(0, len(pieces), block):
        chosen = slice(start, start + block)
        yield _measure_squares(pieces[chosen], width_px[edge[chosen]], (side, reach), shape_yx, metric)


def _cut_evenly(xy: Floats, longest: float) -> tuple[NDArray[np.intp], Floats]:
    """Cut edges into equal pieces no longer than asked; returns the edge of each piece and its ends."""
    length = np.hypot(xy[:, 2] - xy[:, 0], xy[:, 3] - xy[:, 1])
    counts = np.maximum(1, np.ceil(length / longest)).astype(np.intp)
    edge, step = spread(counts)
    start, end = step / counts[edge], (step + 1) / counts[edge]
    a, along = xy[edge, :2], xy[edge, 2:] - xy[edge, :2]
    return edge, np.hstack([a + along * start[:, None], a + along * end[:, None]])


def _measure_squares(
    pieces: Floats,
    width: Floats,
    square: tuple[int, float],
    shape_yx: tuple[int, int],
    metric: Floats,
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Measure the distance from each piece to the pixels of the square around it, inside the window."""
    side, reach = square
    corner = np.floor(np.minimum(pieces[:, :2], pieces[:, 2:]) - reach)
    ticks = np.arange(side)
    # offsets of pixel centres from the piece's start: (piece, 1, column) and (piece, row, 1)
    right = (corner[:, :1] + ticks + 0.5 - pieces[:, :1])[:, None, :]
    down = (corner[:, 1:] + ticks + 0.5 - pieces[:, 1:2])[:, :, None]
    x, y = metric[0, 0] * right + metric[0, 1] * down, metric[1, 0] * right + metric[1, 1] * down
    ex, ey = (metric @ (pieces[:, 2:] - pieces[:, :2]).T)[:, :, None, None]
    length2 = ex * ex + ey * ey
    along = np.clip((x * ex + y * ey) / np.where(length2 > 0, length2, 1), 0, 1)
    distance = np.hypot(x - along * ex, y - along * ey)
    row, col = corner[:, 1:, None] + ticks[:, None], corner[:, :1, None] + ticks
    inside = (row >= 0) & (row < shape_yx[0]) & (col >= 0) & (col < shape_yx[1])
    width = np.broadcast_to(width[:, None, None], distance.shape)
    near = inside & (distance < width / 2 + 0.5)
    cell = (row * shape_yx[1] + col)[near].astype(np.intp)
    return cell, distance[near], width[near]


def dash_edges(xy: Floats, along_px: Floats, dash_px: tuple[float, float]) -> tuple[NDArray[np.intp], Floats]:
    """Cut edges into dashes that run on from edge to edge of a line.

    Args:
        xy: ``(m, 4)`` edges.
        along_px: ``(m,)`` distance from the start of the line to each edge's start.
        dash_px: Length of a dash and of the gap after it.

    Returns:
        The edge of each dash, and ``(k, 4)`` its ends.
    """
    on, period = dash_px[0], sum(dash_px)
    length = np.hypot(xy[:, 2] - xy[:, 0], xy[:, 3] - xy[:, 1])
    first = np.floor(along_px / period)
    edge, step = spread((np.floor((along_px + length) / period) - first).astype(np.intp) + 1)
    begin = (first[edge] + step) * period - along_px[edge]
    start, end = np.maximum(begin, 0), np.minimum(begin + on, length[edge])
    seen = end > start
    edge, start, end = edge[seen], start[seen, None], end[seen, None]
    unit = (xy[edge, 2:] - xy[edge, :2]) / length[edge, None]
    return edge, np.hstack([xy[edge, :2] + unit * start, xy[edge, :2] + unit * end])
