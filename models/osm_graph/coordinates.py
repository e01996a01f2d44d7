"""Place nodes in the box: what the graph keeps of a feature's geometry.

All positions are worked out relative to the box's corner, so moving box and features together changes
nothing, whatever the longitude. Polygon anchors are drawn from what a move, a change of size or a mirror
leaves alone (numbers of vertices and holes) and laid out in the polygon's own frame (towards its first
vertex, the way its ring runs): the same shape has the same anchors wherever and whenever it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from models.osm_graph.schema import Box

_ANCHORS = 3
_TRIES = 10
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

Points = NDArray[np.float64]


def place_points(geometries: NDArray[np.object_], box: Box) -> Points:
    """Return the positions of points ``(n, 2)`` as fractions of the box, y downwards."""
    return _fractions(shapely.get_coordinates(geometries) - box[:2], box)


def place_lines(geometries: NDArray[np.object_], originals: NDArray[np.object_], box: Box) -> Points:
    """Return centroid, first and last vertex of lines ``(n, 6)`` as fractions of the box.

    The pieces that a cut leaves come in any order: the first vertex is the one nearest to the start along
    the original line, the last the one farthest along it.

    Args:
        geometries: ``(n,)`` lines or multi-lines.
        originals: ``(n,)`` the same before they were cut.
        box: West, south, east, north.
    """
    firsts, lasts = _line_ends(geometries)
    cut = np.flatnonzero(_is_cut(geometries, originals))
    if cut.size:
        firsts[cut], lasts[cut] = _ends_along(geometries[cut], originals[cut])
    centroids = shapely.get_coordinates(shapely.centroid(_moved(geometries, box)))
    corner = np.asarray(box[:2])
    return np.concatenate(
        [_fractions(part, box) for part in (centroids, firsts - corner, lasts - corner)], axis=1
    )


def place_polygons(
    geometries: NDArray[np.object_], originals: NDArray[np.object_], box: Box, *, compass: bool
) -> Points:
    """Return three anchors and the centroid of polygons ``(n, 8)`` as fractions of the box.

    Args:
        geometries: ``(n,)`` polygons or multi-polygons.
        originals: ``(n,)`` the same before they were cut; their first vertex and ring set the frame.
        box: West, south, east, north.
        compass: Whether anchors lie at 0, 120 and 240 degrees from east instead of in the polygon's frame.
    """
    local = _moved(geometries, box)
    centres = shapely.get_coordinates(shapely.centroid(local))
    outline = _outlines(_moved(originals, box))
    shortest, longest = _radii(local, centres)
    if compass:
        directions = np.broadcast_to(
            _star(np.array([[1.0, 0.0]]), np.array([1.0])), (len(centres), _ANCHORS, 2)
        )
    else:
        directions = _star(_unit(outline.firsts - centres), outline.turns)
    radii = shortest[:, None] / 2 + _draw(outline) * (longest - shortest)[:, None] / 2
    escape = np.ones_like(directions) if compass else directions
    anchors = _pull_inside(local, centres, directions * radii[..., None])
    outside = np.isnan(anchors)
    anchors = np.where(outside, centres[:, None] + escape * shortest[:, None, None] / 100, anchors)
    every = np.concatenate([anchors, centres[:, None]], axis=1)
    return _fractions(every.reshape(-1, 2), box).reshape(len(centres), 2 * (_ANCHORS + 1))


def _fractions(local: Points, box: Box) -> Points:
    """Turn positions relative to the south-west corner into fractions of the box, y downwards."""
    west, south, east, north = box
    return np.stack([local[:, 0] / (east - west), 1 - local[:, 1] / (north - south)], axis=1)


def _moved(geometries: NDArray[np.object_], box: Box) -> NDArray[np.object_]:
    copies: NDArray[np.object_] = shapely.force_2d(geometries)
    shapely.set_coordinates(copies, shapely.get_coordinates(geometries) - box[:2])  # in place
    return copies


def _line_ends(geometries: NDArray[np.object_]) -> tuple[Points, Points]:
    points = shapely.get_coordinates(geometries)
    stops = np.cumsum(shapely.get_num_coordinates(geometries))
    return points[np.concatenate([[0], stops[:-1]]).astype(np.int64)[: len(stops)]], points[stops - 1]


def _is_cut(geometries: NDArray[np.object_], originals: NDArray[np.object_]) -> NDArray[np.bool_]:
    return ~np.asarray(shapely.equals_exact(geometries, originals), dtype=bool)


def _ends_along(geometries: NDArray[np.object_], originals: NDArray[np.object_]) -> tuple[Points, Points]:
    parts, owners = shapely.get_parts(geometries, return_index=True)
    ends = np.concatenate(_line_ends(parts))
    owners = np.concatenate([owners, owners])
    along = shapely.line_locate_point(originals[owners], shapely.points(ends))
    order = np.lexsort((along, owners))
    owners, ends = owners[order], ends[order]
    places = np.arange(len(geometries))
    return ends[np.searchsorted(owners, places)], ends[np.searchsorted(owners, places, side="right") - 1]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Outlines:
    firsts: Points  # (n, 2) first vertex of the first ring
    turns: NDArray[np.float64]  # (n,) 1 where that ring runs anticlockwise, else -1
    vertices: NDArray[np.int64]  # (n,)
    holes: NDArray[np.int64]  # (n,)


def _outlines(polygons: NDArray[np.object_]) -> _Outlines:
    parts, owners = shapely.get_parts(polygons, return_index=True)
    full = ~shapely.is_empty(parts)
    parts, owners = parts[full], owners[full]
    leading = np.searchsorted(owners, np.arange(len(polygons)))
    rings = shapely.get_exterior_ring(parts[leading])
    return _Outlines(
        firsts=_line_ends(rings)[0],
        turns=np.where(shapely.is_ccw(rings), 1.0, -1.0),
        vertices=shapely.get_num_coordinates(polygons).astype(np.int64),
        holes=np.bincount(owners, shapely.get_num_interior_rings(parts), len(polygons)).astype(np.int64),
    )


def _radii(polygons: NDArray[np.object_], centres: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shortest and longest way from each centre to a vertex of the outer rings."""
    parts, owners = shapely.get_parts(polygons, return_index=True)
    points, rings = shapely.get_coordinates(shapely.get_exterior_ring(parts), return_index=True)
    owners = owners[rings]
    lengths = np.hypot(*(points - centres[owners]).T)
    starts = np.searchsorted(owners, np.arange(len(polygons)))
    if starts.size == 0:
        return np.empty(0), np.empty(0)
    return np.minimum.reduceat(lengths, starts), np.maximum.reduceat(lengths, starts)


def _unit(vectors: Points) -> Points:
    """Return the direction of each vector; nothing has no direction and stays nothing."""
    lengths = np.hypot(vectors[:, 0], vectors[:, 1])
    return vectors / np.where(lengths > 0, lengths, 1)[:, None]


def _star(towards: Points, turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return three directions (n, 3, 2), a third of a turn apart, from *towards* the way the ring runs."""
    angles = np.arange(_ANCHORS) * (2 * np.pi / _ANCHORS)
    aside = np.stack([-towards[:, 1], towards[:, 0]], axis=1) * turns[:, None]
    along, across = np.cos(angles)[None, :, None], np.sin(angles)[None, :, None]
    star: NDArray[np.float64] = along * towards[:, None] + across * aside[:, None]
    return star


def _draw(outline: _Outlines) -> NDArray[np.float64]:
    """Draw (n, 3) numbers in [0, 1) from the counts of vertices and holes (splitmix64's final steps)."""
    counts = (outline.vertices * 65_537 + outline.holes) * _ANCHORS
    state = (counts[:, None] + np.arange(1, _ANCHORS + 1)).astype(np.uint64) * _MIX[0]
    state = (state ^ (state >> np.uint64(30))) * _MIX[1]
    state = (state ^ (state >> np.uint64(27))) * _MIX[2]
    drawn: NDArray[np.float64] = ((state ^ (state >> np.uint64(31))) >> np.uint64(11)).astype(np.float64)
    return drawn * 2.0**-53


def _pull_inside(
    polygons: NDArray[np.object_], centres: Points, offsets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shorten each offset in ten even steps down to none until it ends inside; NaN where none does."""
    shapely.prepare(polygons)
    found = np.full(offsets.shape, np.nan)
    node, anchor = np.indices(offsets.shape[:2]).reshape(2, -1)
    for part in np.linspace(1, 0, _TRIES):
        spots = centres[node] + part * offsets[node, anchor]
        inside = shapely.contains_xy(polygons[node], spots[:, 0], spots[:, 1])
        found[node[inside], anchor[inside]] = spots[inside]
        node, anchor = node[~inside], anchor[~inside]
    return found
