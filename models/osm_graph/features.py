"""Bring features into shape for the graph: checked, flat, of one dimension each, cut to the box."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from infra.errors import InputError
from models.osm_graph.schema import Box

_COLLECTION = 7
_MULTI_POINT = 4
_JOIN: dict[int, Callable[..., NDArray[np.object_]]] = {
    0: shapely.multipoints,
    1: shapely.multilinestrings,
    2: shapely.multipolygons,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Shapes:
    """Hold the m features that become nodes."""

    rows: NDArray[np.int64]
    """``(m,)`` index of the input feature, rising."""
    dimensions: NDArray[np.integer]
    """``(m,)`` 0 for points, 1 for lines, 2 for polygons."""
    geometries: NDArray[np.object_]
    """``(m,)`` what the box keeps of each feature; no collections, no multi-points; copies."""
    originals: NDArray[np.object_]
    """``(m,)`` the same features before the cut: a cut changes where a ring starts and which way it runs."""


def check_box(box: Box) -> None:
    """Refuse a box without extent.

    Raises:
        InputError: If a side is not finite, or east is not beyond west, or north not beyond south.
    """
    west, south, east, north = box
    if not all(math.isfinite(side) for side in box) or not (east - west > 0 and north - south > 0):
        raise InputError(
            f"box {tuple(float(side) for side in box)} has no extent: expected finite west < east and "
            "south < north; split a box that crosses the dateline in two"
        )


def shape_features(geometries: NDArray[np.object_], box: Box, *, clip: bool) -> Shapes:
    """Copy the features in two dimensions, flatten collections, cut to the box, reduce multi-points.

    A collection counts as its parts of the highest dimension. What the box leaves of a feature counts only
    in the feature's own dimension: a polygon that merely touches the box from outside does not reach it.

    Args:
        geometries: ``(n,)`` shapely geometries of any type.
        box: West, south, east, north.
        clip: Whether to cut.

    Raises:
        InputError: If a geometry is missing, empty or not finite; the message names its row.
    """
    check_features(geometries)
    flat = _flatten(shapely.force_2d(geometries))
    dimensions = shapely.get_dimensions(flat)
    cut = _cut_to_box(flat, dimensions, box) if clip else flat.copy()
    rows = np.flatnonzero(~shapely.is_empty(cut))
    cut = cut[rows]
    many = shapely.get_type_id(cut) == _MULTI_POINT
    cut[many] = shapely.centroid(cut[many])
    return Shapes(rows=rows, dimensions=dimensions[rows], geometries=cut, originals=flat[rows])


def check_features(geometries: NDArray[np.object_]) -> None:
    """Refuse features that have no place.

    Args:
        geometries: ``(n,)`` shapely geometries.

    Raises:
        InputError: If a geometry is missing, empty or not finite; the message names its row.
    """
    _refuse_first(~shapely.is_geometry(geometries), geometries, "is no geometry")
    _refuse_first(shapely.is_empty(geometries), geometries, "is empty")
    points, owners = shapely.get_coordinates(geometries, return_index=True)
    broken = np.zeros(geometries.size, dtype=bool)
    broken[owners[~np.isfinite(points).all(axis=1)]] = True
    _refuse_first(broken, geometries, "has coordinates that are not finite")


def _refuse_first(wrong: NDArray[np.bool_], geometries: NDArray[np.object_], what: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"feature {row} {what} ({str(geometries[row])[:60]!r}): expected a point, line or polygon with "
            "coordinates; drop or repair it before the graph is built",
            row=row,
        )


def _flatten(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    collections = np.flatnonzero(shapely.get_type_id(geometries) == _COLLECTION)
    if collections.size == 0:
        return geometries
    parts, owners = _all_parts(geometries[collections])
    flat = geometries.copy()
    for dimension in (0, 1, 2):  # the highest comes last and stays
        chosen = shapely.get_dimensions(parts) == dimension
        joined, places = _join(parts[chosen], owners[chosen], dimension)
        flat[collections[places]] = joined
    return flat


def _all_parts(geometries: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Take collections in collections apart, whatever the depth; leave out empty parts."""
    parts, owners = shapely.get_parts(geometries, return_index=True)
    while (shapely.get_num_geometries(parts) > 1).any() or (shapely.get_type_id(parts) >= _MULTI_POINT).any():
        parts, deeper = shapely.get_parts(parts, return_index=True)
        owners = owners[deeper]
    full = ~shapely.is_empty(parts)
    return parts[full], owners[full]


def _join(
    parts: NDArray[np.object_], owners: NDArray[np.int64], dimension: int
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Join the parts of each owner, which come one after another; a single part stays what it is."""
    places, counts = np.unique(owners, return_counts=True)
    if places.size == 0:
        return np.empty(0, dtype=object), places
    joined = _JOIN[dimension](parts, indices=np.repeat(np.arange(places.size), counts))
    alone = counts == 1
    joined[alone] = shapely.get_geometry(joined[alone], 0)
    return joined, places


def _cut_to_box(
    geometries: NDArray[np.object_], dimensions: NDArray[np.integer], box: Box
) -> NDArray[np.object_]:
    """Return each feature's part in the box, in its own dimension; empty where there is none."""
    bounds = shapely.bounds(geometries)
    west, south, east, north = box
    within = (bounds >= (west, south, -np.inf, -np.inf)) & (bounds <= (np.inf, np.inf, east, north))
    across = np.flatnonzero(~within.all(axis=1))
    cut = geometries.copy()
    if across.size == 0:
        return cut
    whole, frame = geometries[across], shapely.box(*box)
    broken = ~shapely.is_valid(whole) & (dimensions[across] == 2)
    whole[broken] = shapely.make_valid(whole[broken])  # an invalid polygon has no defined part
    pieces = np.asarray(shapely.intersection(whole, frame), dtype=object)
    parts, owners = _all_parts(pieces)
    nothing = shapely.from_wkt("GEOMETRYCOLLECTION EMPTY")
    pieces[:] = nothing
    for dimension in (0, 1, 2):
        chosen = (shapely.get_dimensions(parts) == dimension) & (dimensions[across][owners] == dimension)
        joined, places = _join(parts[chosen], owners[chosen], dimension)
        pieces[places] = joined
    cut[across] = pieces
    return cut
