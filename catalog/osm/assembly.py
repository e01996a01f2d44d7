"""Build the areas of closed ways and of relations, by the rules of osmnx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

from catalog.osm.reasons import Fault, name_ids
from catalog.osm.repair import fold_back, jumps, keep_highest_dimension, shift_east
from catalog.osm.tangles import is_tangled

_NO_AREA = shapely.Polygon()


class Assembled(NamedTuple):
    """Hold what became of one relation: an area, or the reason why there is none."""

    geometry: BaseGeometry | None
    repaired: bool
    fault: Fault | None


class _Parts(NamedTuple):
    lines: list[BaseGeometry]
    areas: list[BaseGeometry]


def draw_shapes(wkb: list[bytes | None], areal: NDArray[np.bool_]) -> NDArray[np.object_]:
    """Turn lines into geometries, and those that are areas into polygons.

    Args:
        wkb: ``n`` points or lines; None gives None.
        areal: ``(n,)`` which of the lines bound an area.

    Returns:
        ``(n,)`` geometries as drawn, valid or not; an area of fewer than three nodes is an empty polygon.
    """
    shapes: NDArray[np.object_] = shapely.from_wkb(np.array(wkb, dtype=object))
    rows = np.flatnonzero(areal & ~shapely.is_missing(shapes))
    if not rows.size:
        return shapes
    counts = shapely.get_num_coordinates(shapes[rows])
    shapes[rows[counts < 3]] = _NO_AREA
    rows = rows[counts >= 3]
    coordinates, index = shapely.get_coordinates(shapes[rows], return_index=True)
    if rows.size:
        shapes[rows] = shapely.polygons(shapely.linearrings(coordinates, indices=index))
    return shapes


def assemble_relation(
    number: int, members: tuple[tuple[int, str], ...], ways: Mapping[int, BaseGeometry | None]
) -> Assembled:
    """Join a relation's member ways to an area.

    Outer members that are lines are joined where ends meet and closed rings become areas; the inner ones
    likewise, and each is taken from the outer areas that contain it. Other roles do not count. Rings that
    cross themselves so that GEOS gives up, where osmnx ends with its error, are made valid first.

    Args:
        number: The relation's id, for messages.
        members: Id and role of each member way.
        ways: Way id → geometry as drawn; None where the way could not be drawn.
    """
    missing = [ref for ref, _ in members if ref not in ways]
    if missing:
        said = f"relation {number} refers to ways that the file does not hold: {name_ids(missing)}"
        return Assembled(None, False, Fault("missing-members", said))
    drawn = [(role, ways[ref]) for ref, role in members if role in {"outer", "inner"}]
    known = np.array([shape for _, shape in drawn if shape is not None], dtype=object)
    crossing = bool(known.size) and bool(jumps(known).any())
    if crossing:
        drawn = [(role, shape and shift_east(shape)) for role, shape in drawn]
        known = np.array([shape for _, shape in drawn if shape is not None], dtype=object)
        if jumps(known).any():
            said = f"relation {number} crosses both 180° and the Greenwich meridian"
            return Assembled(None, False, Fault("antimeridian", said))
    geometry, repaired = _join(drawn)
    if geometry is None:
        said = f"a ring of relation {number} crosses itself too often to be mended"
        return Assembled(None, False, Fault("tangled", said))
    if shapely.is_empty(geometry):
        return Assembled(None, False, _explain(number, members, ways))
    return Assembled(fold_back(geometry) if crossing else geometry, repaired or crossing, None)


def _join(drawn: list[tuple[str, BaseGeometry | None]]) -> tuple[BaseGeometry | None, bool]:
    outer, inner = (_closed_areas(_parts(drawn, role)) for role in ("outer", "inner"))
    try:
        return _cut_holes(outer, inner), False
    except GEOSException:  # a ring crosses itself; made valid one by one they can be combined
        if any(is_tangled(area) for area in [*outer, *inner]):
            return None, False
        return _cut_holes(_make_valid(outer), _make_valid(inner)), True


def _make_valid(areas: list[BaseGeometry]) -> list[BaseGeometry]:
    # Overlays take no collections of mixed kinds; what shrank to a line bounds nothing.
    valid = [keep_highest_dimension(shapely.make_valid(area)) for area in areas]
    return [area for area in valid if shapely.get_dimensions(area) == 2]


def _parts(drawn: list[tuple[str, BaseGeometry | None]], role: str) -> _Parts:
    shapes = [shape for given, shape in drawn if given == role and shape is not None]
    return _Parts(
        lines=[shape for shape in shapes if shape.geom_type == "LineString"],
        areas=[shape for shape in shapes if shape.geom_type == "Polygon"],
    )


def _closed_areas(parts: _Parts) -> list[BaseGeometry]:
    # Each joined line is closed by itself: rings that only touch would otherwise become one.
    joined = shapely.get_parts(
        shapely.line_merge(shapely.multilinestrings(np.array(parts.lines, dtype=object)))
    )
    closed = [shapely.get_parts(shapely.polygonize([line])) for line in joined]
    return [*parts.areas, *(area for areas in closed for area in areas)]


def _cut_holes(outer: list[BaseGeometry], inner: list[BaseGeometry]) -> BaseGeometry:
    if inner:
        outer = [_cut(area, inner) for area in outer]
    geometry = shapely.union_all(outer)
    return geometry if geometry.geom_type in {"Polygon", "MultiPolygon"} else _NO_AREA


def _cut(area: BaseGeometry, inner: list[BaseGeometry]) -> BaseGeometry:
    shapely.prepare(area)
    holes = [hole for hole in inner if shapely.contains(area, hole)]
    return shapely.difference(area, shapely.union_all(holes))


def _explain(
    number: int, members: tuple[tuple[int, str], ...], ways: Mapping[int, BaseGeometry | None]
) -> Fault:
    outer = [ref for ref, role in members if role == "outer"]
    if not outer:
        said = f"relation {number} has {len(members)} member ways, none with the role outer"
        return Fault("no-outer-ring", said)
    undrawn = [ref for ref in outer if ways[ref] is None]
    if undrawn:
        said = f"relation {number} has outer ways that cannot be drawn: {name_ids(undrawn)}"
        return Fault("missing-nodes", said)
    lines = [ref for ref in outer if getattr(ways[ref], "geom_type", "") == "LineString"]
    if lines:
        said = f"the outer ways of relation {number} do not close a ring: {name_ids(lines)}"
        return Fault("open-ring", said)
    return Fault("empty", f"the outer ways of relation {number} bound no area: {name_ids(outer)}")
