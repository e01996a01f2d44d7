"""Find the sea: the ground on the right-hand side of coastlines.

OpenStreetMap has no polygon of the sea, only lines with land on their left. Where such lines part a picture
from edge to edge, or close, the side that is sea is certain. Where one ends within the picture, as in an
extract that stops at a border, it is not, and the faces it ends in stay land: then only the line is drawn.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from catalog.osm.drawing.placing import Edges

_ASIDE_PX = 1e-3  # how far from the line its sides are looked at
_CERTAIN = 0.9  # share of a face's shore that must agree


def find_sea(coast: Edges, shape_yx: tuple[int, int], *, mirrored: bool = False) -> NDArray[np.object_]:
    """Find the parts of a picture that are sea.

    Args:
        coast: Edges of the coastlines, directed as mapped.
        shape_yx: Rows and columns of the picture.
        mirrored: True when the grid shows the Earth as in a mirror.

    Returns:
        ``(k,)`` polygons, pixel coordinates, within the picture.
    """
    rows, cols = shape_yx
    picture = shapely.box(0, 0, cols, rows)
    edges = coast.xy[_touch(coast.xy, shape_yx)]
    if not len(edges):
        return np.empty(0, object)
    lines = np.asarray(shapely.linestrings(edges.reshape(-1, 2, 2)), object).tolist()
    # the frame is joined in as a line, so that coasts are cut exactly where they leave the picture
    noded = shapely.union_all([*lines, picture.exterior])
    faces, _, dangles, _ = shapely.polygonize_full(shapely.get_parts(noded))
    faces, dangles = shapely.get_parts(faces), shapely.get_parts(dangles)
    faces = faces[shapely.contains(picture, shapely.point_on_surface(faces))]
    seaward, landward = _count_sides(faces, edges, -1.0 if mirrored else 1.0)
    certain = (seaward > 0) & (seaward >= _CERTAIN * (seaward + landward))
    inner = dangles[
        shapely.intersects(picture, shapely.line_interpolate_point(dangles, 0.5, normalized=True))
    ]
    certain[np.unique(shapely.STRtree(faces).query(inner, predicate="intersects")[1])] = False
    return np.asarray(faces[certain], object)


def _touch(xy: NDArray[np.float64], shape_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which edges may touch the picture, with as much again around it for lines that come back."""
    rows, cols = shape_yx
    low, high = np.minimum(xy[:, :2], xy[:, 2:]), np.maximum(xy[:, :2], xy[:, 2:])
    size = np.array([cols, rows])
    return np.asarray(((high >= -size) & (low <= 2 * size)).all(axis=1), bool)


def _count_sides(
    faces: NDArray[np.object_], edges: NDArray[np.float64], sign: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Count for each face the edges that have it on their right and on their left."""
    along = edges[:, 2:] - edges[:, :2]
    length = np.hypot(along[:, 0], along[:, 1])
    edges, along, length = edges[length > 0], along[length > 0], length[length > 0]
    middle = (edges[:, :2] + edges[:, 2:]) / 2
    # rows run down, so the right-hand side of (x, y) is (-y, x)
    aside = sign * _ASIDE_PX * np.column_stack([-along[:, 1], along[:, 0]]) / length[:, None]
    tree = shapely.STRtree(faces)
    counts = [
        np.bincount(tree.query(shapely.points(points), predicate="within")[1], minlength=len(faces))
        for points in (middle + aside, middle - aside)
    ]
    return counts[0], counts[1]
