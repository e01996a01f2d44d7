"""Mend geometries: cut them at the antimeridian, make them valid, leave out stray parts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from catalog.grid import BoundsLonLat
from catalog.osm.tangles import is_tangled

_WORLD = shapely.box(-180, -90, 180, 90)
_NEXT_WORLD = shapely.box(180, -90, 540, 90)


class Mended(NamedTuple):
    """Hold geometries after mending, and what it took."""

    geometries: NDArray[np.object_]
    """``(n,)`` valid; None or empty where nothing is left."""
    repaired: NDArray[np.bool_]
    """``(n,)`` whether the geometry is another than the file's."""
    uncut: NDArray[np.bool_]
    """``(n,)`` whether it crosses the antimeridian and cannot be cut there; its geometry is None."""
    tangled: NDArray[np.bool_]
    """``(n,)`` whether it crosses itself too often to be mended; its geometry is None."""


def mend_geometries(geometries: NDArray[np.object_]) -> Mended:
    """Make geometries valid as osmnx does, and those that jump across 180° whole.

    A line that crosses itself is left as it is, for that is valid. What mending turns into a mixed
    collection keeps its parts of the highest dimension.

    Args:
        geometries: ``(n,)`` points, lines and areas, lon/lat degrees; None where there is none.
    """
    mended = geometries.copy()
    repaired = np.zeros(mended.size, dtype=bool)
    uncut = np.zeros(mended.size, dtype=bool)
    for row in np.flatnonzero(jumps(mended)).tolist():
        mended[row] = cut_at_antimeridian(mended[row])
        repaired[row], uncut[row] = mended[row] is not None, mended[row] is None
    invalid = np.flatnonzero(~(shapely.is_valid(mended) | shapely.is_missing(mended)))
    tangled = np.zeros(mended.size, dtype=bool)
    tangled[invalid] = [is_tangled(shape) for shape in mended[invalid]]
    mended[tangled] = None
    invalid = invalid[~tangled[invalid]]
    if invalid.size:
        mended[invalid] = shapely.make_valid(mended[invalid])
        repaired[invalid] = True
    mixed = np.flatnonzero(shapely.get_type_id(mended) == shapely.GeometryType.GEOMETRYCOLLECTION)
    for row in mixed.tolist():
        mended[row] = keep_highest_dimension(mended[row])
        repaired[row] = True
    return Mended(mended, repaired, uncut, tangled)


def jumps(geometries: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Say which geometries have an edge of more than 180° of longitude: it means the short way round.

    An edge along a pole is none: it closes areas that are drawn on a flat map, such as Antarctica.
    """
    bounds = shapely.bounds(geometries)
    found = np.zeros(geometries.size, dtype=bool)
    for row in np.flatnonzero(bounds[:, 2] - bounds[:, 0] > 180).tolist():
        found[row] = any(_has_jump(shapely.get_coordinates(part)) for part in _rings(geometries[row]))
    return found


def shift_east(geometry: BaseGeometry) -> BaseGeometry:
    """Move western longitudes by 360°, so that the map's seam is at Greenwich."""

    def shift(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        west = coordinates[:, 0] < 0
        return coordinates + np.column_stack([west * 360.0, np.zeros(west.size)])

    return shapely.transform(geometry, shift)


def cut_at_antimeridian(geometry: BaseGeometry) -> BaseGeometry | None:
    """Cut a geometry that jumps across 180° in two; None when it jumps at Greenwich as well."""
    shifted = shift_east(geometry)
    if jumps(np.array([shifted], dtype=object))[0]:
        return None
    return fold_back(shifted)


def fold_back(shifted: BaseGeometry) -> BaseGeometry:
    """Cut a geometry on 0° … 360° at 180° and move the eastern part back; it becomes valid too.

    A tangled one stays where it is, invalid, for :func:`mend_geometries` to find.
    """
    if not shapely.is_valid(shifted) and is_tangled(shifted):
        return shifted
    whole = keep_highest_dimension(shapely.make_valid(shifted))
    west = shapely.transform(shapely.intersection(whole, _NEXT_WORLD), lambda c: c - np.array([360.0, 0.0]))
    parts = [shapely.intersection(whole, _WORLD), west]
    kept = [part for part in parts if shapely.get_dimensions(part) == shapely.get_dimensions(whole)]
    pieces = np.concatenate([shapely.get_parts(keep_highest_dimension(part)) for part in kept])
    return _gather(pieces)


def unwrap_area(
    geometries: NDArray[np.object_], area: BoundsLonLat
) -> tuple[NDArray[np.object_], BoundsLonLat]:
    """Lay an area that crosses the antimeridian, and what is in it, on one stretch of longitudes.

    Args:
        geometries: ``(n,)`` valid, lon/lat degrees within ±180; not changed.
        area: Box in degrees; west > east crosses the antimeridian, and of any other nothing moves.

    Returns:
        The geometries, parts of the eastern side beyond 180° and joined with what they were cut from; and
        the box, its east beyond 180°.
    """
    west, south, east, north = area
    if west < east:
        return geometries, area
    parts, owners = shapely.get_parts(geometries, return_index=True)
    bounds = shapely.bounds(parts).reshape(-1, 4)
    here, beyond = bounds[:, 2] >= west, bounds[:, 0] <= east
    moved = parts[beyond]
    shapely.set_coordinates(moved, shapely.get_coordinates(moved) + np.array([360.0, 0.0]))
    # What goes round the Earth is on both sides; what is on neither stays, the box will cut it off.
    stays = here | ~beyond
    owners, parts = np.concatenate([owners[stays], owners[beyond]]), np.concatenate([parts[stays], moved])
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], np.arange(1, geometries.size))
    laid = np.empty(geometries.size, dtype=object)
    laid[:] = [_rejoin(pieces) for pieces in np.split(parts[order], starts)] if geometries.size else []
    return laid, (west, south, east + 360, north)


def keep_highest_dimension(geometry: BaseGeometry) -> BaseGeometry:
    """Return a collection's parts of the highest dimension; what is no collection stays as it is."""
    if shapely.get_type_id(geometry) != shapely.GeometryType.GEOMETRYCOLLECTION:
        return geometry
    parts = shapely.get_parts(shapely.get_parts(geometry))
    if not parts.size:
        return geometry
    dimensions = shapely.get_dimensions(parts)
    return _gather(parts[dimensions == dimensions.max()])


def _rejoin(parts: NDArray[np.object_]) -> BaseGeometry:
    if parts.size == 1 or shapely.get_dimensions(parts[0]) == 0:
        return _gather(parts)
    if shapely.get_dimensions(parts[0]) == 1:
        return shapely.line_merge(_gather(parts), directed=True)
    return shapely.union_all(parts)


def _gather(parts: NDArray[np.object_]) -> BaseGeometry:
    pieces: list[BaseGeometry] = parts.tolist()
    if len(pieces) == 1:
        return pieces[0]
    gather: Any = (shapely.multipoints, shapely.multilinestrings, shapely.multipolygons)
    gathered: BaseGeometry = gather[int(shapely.get_dimensions(pieces[0]))](parts)
    return gathered


def _rings(geometry: BaseGeometry) -> NDArray[np.object_]:
    parts = shapely.get_parts(geometry)
    areas = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    return np.concatenate([parts[~areas], shapely.get_rings(parts[areas])])


def _has_jump(coordinates: NDArray[np.float64]) -> bool:
    far = np.abs(np.diff(coordinates[:, 0])) > 180
    polar = (np.abs(coordinates[:-1, 1]) == 90) & (np.abs(coordinates[1:, 1]) == 90)
    return bool((far & ~polar).any())
