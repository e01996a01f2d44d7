"""Find what of an extract reaches an area, by bounds alone and without keeping the elements."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import osmium
import shapely
from numpy.typing import NDArray
from osmium.osm import NODE, WAY
from shapely.geometry.base import BaseGeometry

from catalog.grid import BoundsLonLat
from catalog.osm.extract import read_objects
from catalog.osm.passes import WKB_HEADER_BYTES, known_places, line_of, on_earth

_BATCH = 50_000
_Batch = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ids ``(n,)`` and bounds ``(n, 4)``, degrees."""


class Reached(NamedTuple):
    """Hold the ids that reach an area, and the bounds of everything that was looked at."""

    ids: set[int]
    total: BoundsLonLat | None
    """Of all tagged nodes, or of all ways; None when there is none."""


def area_polygon(area: BoundsLonLat) -> BaseGeometry:
    """Return an area as a polygon, or as two where it crosses the antimeridian."""
    west, south, east, north = area
    if west <= east:
        return shapely.box(west, south, east, north)
    halves = [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
    return shapely.MultiPolygon(halves)


def bounds_reach(bounds: NDArray[np.float64], area: BaseGeometry) -> NDArray[np.bool_]:
    """Say which bounds ``(n, 4)`` touch one of the boxes of an area; NaN never does."""
    boxes = shapely.bounds(shapely.get_parts(area))
    west, south, east, north = (bounds[:, [column]] for column in range(4))
    # What is wider than half the world may cross the antimeridian, and then its bounds are the rest of it.
    lon = ((west <= boxes[:, 2]) & (east >= boxes[:, 0])) | (east - west > 180)
    lat = (south <= boxes[:, 3]) & (north >= boxes[:, 1])
    return np.asarray((lon & lat).any(axis=1))


def find_nodes(path: str, locations: osmium.NodeLocationsForWays, area: BaseGeometry | None) -> Reached:
    """Remember the places of all nodes, and find the tagged ones in an area.

    Args:
        path: The extract.
        locations: Handler that keeps the places.
        area: Polygon; None remembers only.

    Raises:
        DataError: as ``read_objects``.
    """
    reached: set[int] = set()
    totals: list[BoundsLonLat] = []
    for ids, bounds in _node_bounds(path, locations):
        if area is not None:
            reached.update(ids[bounds_reach(bounds, area)].tolist())
            totals.append(_total(bounds))
    return Reached(reached, _total(np.array(totals)) if totals else None)


def find_ways(
    path: str, locations: osmium.NodeLocationsForWays, area: BaseGeometry, members: dict[int, array[int]]
) -> tuple[Reached, set[int]]:
    """Find the ways and the relations that reach an area.

    Args:
        path: The extract.
        locations: Handler that has seen the nodes.
        area: Polygon.
        members: Relation id → ids of its member ways.

    Returns:
        The ways, tagged or not, and the ids of the relations.

    Raises:
        DataError: as ``read_objects``.
    """
    needed = _distinct(members)
    spans = np.full((needed.size, 4), np.nan)
    reached: set[int] = set()
    totals: list[BoundsLonLat] = []
    for ids, bounds in _way_bounds(path, locations):
        reached.update(ids[bounds_reach(bounds, area)].tolist())
        totals.append(_total(bounds))
        place = np.searchsorted(needed, ids)
        hit = needed[np.minimum(place, needed.size - 1)] == ids if needed.size else np.zeros(ids.size, bool)
        spans[place[hit]] = bounds[hit]
    relations = {
        number
        for number, refs in members.items()
        if _relation_reaches(spans[np.searchsorted(needed, np.frombuffer(refs, np.int64))], area)
    }
    return Reached(reached, _total(np.array(totals)) if totals else None), relations


def _distinct(members: dict[int, array[int]]) -> NDArray[np.int64]:
    parts = [np.frombuffer(refs, np.int64) for refs in members.values()]
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def _relation_reaches(spans: NDArray[np.float64], area: BaseGeometry) -> bool:
    # An area may lie inside a relation without touching the bounds of any member alone.
    known = spans[~np.isnan(spans[:, 0])]
    return bool(len(known)) and bool(bounds_reach(np.array([_total(known)]), area)[0])


def _node_bounds(path: str, locations: osmium.NodeLocationsForWays) -> Iterator[_Batch]:
    # The filter comes after the handler: all places are kept, and only tagged nodes come up to Python.
    ids, places = array("q"), array("d")
    for node in read_objects(path, NODE, locations, osmium.filter.EmptyTagFilter()):
        place = node.location
        if on_earth(place.x, place.y):
            ids.append(node.id)
            places.extend((place.x / 1e7, place.y / 1e7))
        if len(ids) == _BATCH:
            yield np.array(ids), np.tile(np.array(places).reshape(-1, 2), 2)
            ids, places = array("q"), array("d")
    if ids:
        yield np.array(ids), np.tile(np.array(places).reshape(-1, 2), 2)


def _way_bounds(path: str, locations: osmium.NodeLocationsForWays) -> Iterator[_Batch]:
    ids, lines = array("q"), list[bytes]()
    for way in read_objects(path, WAY, locations):
        line = line_of(way) if len(way.nodes) > 1 else None
        if line is not None:
            line = line[WKB_HEADER_BYTES:]
        elif not (line := _pack_places(known_places(way))):
            continue
        ids.append(way.id)
        lines.append(line)
        if len(lines) == _BATCH:
            yield np.array(ids), _bounds_of_lines(lines)
            ids, lines = array("q"), []
    if lines:
        yield np.array(ids), _bounds_of_lines(lines)


def _bounds_of_lines(lines: list[bytes]) -> NDArray[np.float64]:
    # Straight from the bytes: six times as fast as to make geometries first.
    places = np.frombuffer(b"".join(lines), dtype="<f8").reshape(-1, 2)
    starts = np.cumsum([0, *(len(line) // 16 for line in lines[:-1])])
    return np.column_stack([np.minimum.reduceat(places, starts), np.maximum.reduceat(places, starts)])


def _pack_places(places: list[tuple[int, int]]) -> bytes:
    return (np.array(places, dtype="<f8").reshape(-1, 2) / 1e7).tobytes()


def _total(bounds: NDArray[np.float64]) -> BoundsLonLat:
    west, south = bounds[:, :2].min(axis=0).tolist()
    east, north = bounds[:, 2:].max(axis=0).tolist()
    return west, south, east, north
