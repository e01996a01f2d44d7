"""Reduce many simple footprints at once: one ring, two dimensions, no antimeridian, as nearly all are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from catalog.database.footprints import Footprint

_MAX_POINTS = 256


def plain_footprints(items: Sequence[Mapping[str, Any]]) -> list[Footprint | None]:
    """Give the footprints of the items that are simple and sound; None for all others.

    The outcome is that of ``footprints.make_footprint``, at a tenth of its time for 500 items.
    """
    rings = [_plain_ring(item) for item in items]
    numbers = [number for number, ring in enumerate(rings) if ring is not None]
    found: list[Footprint | None] = [None] * len(items)
    if not numbers:
        return found
    lengths = np.array([len(rings[number] or ()) for number in numbers])
    try:
        points = np.array([point for number in numbers for point in rings[number] or ()], dtype=float)
    except OverflowError:  # a whole number that no double holds: who has it is found one by one
        return found
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    ends = starts + lengths - 1
    sound = (
        (points[starts] == points[ends]).all(axis=1)
        & (low >= (-180, -90)).all(axis=1)  # NaN compares as false
        & (high <= (180, 90)).all(axis=1)
    )
    numbers = [number for number, good in zip(numbers, sound, strict=True) if good]
    members = np.repeat(sound, lengths)
    points, lengths, low, high = points[members], lengths[sound], low[sound], high[sound]
    shapes = shapely.polygons(
        shapely.linearrings(points, indices=np.repeat(np.arange(len(lengths)), lengths))
    )
    valid, boxes = shapely.is_valid(shapes), _are_boxes(shapes, points, lengths, low, high)
    for index, (number, wkb) in enumerate(zip(numbers, shapely.to_wkb(shapes), strict=True)):
        if valid[index]:
            bounds = (*low[index].tolist(), *high[index].tolist())
            found[number] = Footprint(bounds=bounds, low=None, high=None, wkb=None if boxes[index] else wkb)
    return found


def _plain_ring(item: Mapping[str, Any]) -> list[Sequence[float]] | None:
    """Give the one ring of a polygon whose bbox is four numbers and does not cross the antimeridian."""
    geometry, bbox = item.get("geometry"), item.get("bbox")
    if not isinstance(geometry, dict) or geometry.get("type") != "Polygon" or type(bbox) is not list:
        return None
    rings = geometry.get("coordinates")
    if type(rings) is not list or len(rings) != 1 or type(rings[0]) is not list:
        return None
    ring: list[Sequence[float]] = rings[0]
    if not 4 <= len(ring) <= _MAX_POINTS or any(type(point) is not list or len(point) != 2 for point in ring):
        return None
    kinds = set(map(type, itertools.chain(bbox, *ring)))
    if not kinds <= {int, float} or len(bbox) != 4:
        return None
    west, south, east, north = bbox
    return ring if -180 <= west <= east <= 180 and -90 <= south <= north <= 90 else None


def _are_boxes(
    shapes: NDArray[Any],
    points: NDArray[np.float64],
    lengths: NDArray[np.int64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tell which polygons are exactly their bounds: five points, all at corners, and not half of the box."""
    low_of, high_of = np.repeat(low, lengths, axis=0), np.repeat(high, lengths, axis=0)
    at_corner = ((points == low_of) | (points == high_of)).all(axis=1)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
    all_corners = np.logical_and.reduceat(at_corner, starts) if len(lengths) else np.zeros(0, dtype=bool)
    half_area = np.prod(high - low, axis=1) / 2
    answer: NDArray[np.bool_] = (lengths == 5) & all_corners & (shapely.area(shapes) > half_area * 1.5)
    return answer
