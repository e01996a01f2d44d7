"""Join points to their natural neighbours by Delaunay triangulation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError

_FEWEST = 4
_ON_CIRCLE = 1e-9

Pairs = NDArray[np.int64]
"""``(m, 2)`` pairs of points, each once, the lower first, sorted."""


def neighbour_pairs(points: NDArray[np.float64]) -> Pairs:
    """Pair Delaunay neighbours whatever the place, size or direction of the picture.

    Points that coincide are joined to the first of them, and only that one takes part in the triangulation.
    Where four or more neighbours lie on one circle, each diagonal is as good as another and a triangulation
    picks by chance: such diagonals are left out, so a mirrored picture has the same pairs. Three points or
    fewer, or points on one line, have no neighbours.

    Args:
        points: ``(n, 2)``.
    """
    places, firsts, owners = np.unique(points, axis=0, return_index=True, return_inverse=True)
    twins = np.flatnonzero(firsts[owners] != np.arange(len(points)))
    pairs = firsts[_certain_edges(places)]
    return _sorted_once(np.concatenate([pairs, np.stack([firsts[owners[twins]], twins], axis=1)]))


def neighbour_pairs_raw(points: NDArray[np.float64]) -> Pairs:
    """Pair the corners of every triangle as Qhull picks them, as the published converter does.

    Args:
        points: ``(n, 2)``.
    """
    triangulation = _triangulate(points)
    if triangulation is None:
        return np.empty((0, 2), dtype=np.int64)
    corners = triangulation.simplices
    return _sorted_once(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]))


def _triangulate(points: NDArray[np.float64]) -> Delaunay | None:
    if len(points) < _FEWEST:
        return None
    try:
        return Delaunay(points)
    except QhullError:  # all on one line: there is no triangle, hence no neighbour
        return None


def _certain_edges(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the edges (m, 2) that every Delaunay triangulation of these points has."""
    triangulation = _triangulate(points)
    if triangulation is None:
        return np.empty((0, 2), dtype=np.int64)
    corners, beyond = triangulation.simplices, triangulation.neighbors
    edges = []
    for corner in range(3):
        across = beyond[:, corner]
        far = _far_corner(corners, across, np.arange(len(corners)), beyond)
        a, b, c = corners[:, corner], corners[:, (corner + 1) % 3], corners[:, (corner + 2) % 3]
        chance = (across >= 0) & _on_one_circle(points[a], points[b], points[c], points[far])
        edges.append(np.stack([b, c], axis=1)[~chance])
    return np.concatenate(edges).astype(np.int64)


def _far_corner(
    corners: NDArray[np.int32],
    across: NDArray[np.int32],
    here: NDArray[np.int64],
    beyond: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Return the corner of the triangle across an edge that is not on the edge."""
    back = np.argmax(beyond[across] == here[:, None], axis=1)
    far: NDArray[np.int32] = corners[across, back]
    return far


def _on_one_circle(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Say whether d lies on the circle through a, b and c, by the in-circle determinant over its own size."""
    sides = np.stack([a - d, b - d, c - d], axis=1)
    lifted = np.concatenate([sides, (sides**2).sum(axis=2, keepdims=True)], axis=2)
    size = np.sqrt((sides**2).sum(axis=2)).max(axis=1)
    on_circle: NDArray[np.bool_] = np.abs(np.linalg.det(lifted)) <= _ON_CIRCLE * size**4
    return on_circle


def _sorted_once(pairs: NDArray[np.integer]) -> Pairs:
    return np.unique(np.sort(pairs.astype(np.int64), axis=1), axis=0)
