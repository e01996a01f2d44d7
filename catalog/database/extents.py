"""Widen a collection's extent to hold its items."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from catalog.database.footprints import BoundsXyxy, read_bbox
from catalog.database.times import format_moment, parse_moment
from infra.errors import InputError

_WORLD = [-180, -90, 180, 90]
Interval = tuple[int, int]
"""First and last microsecond since 1970."""


def join_bounds(held: BoundsXyxy, added: BoundsXyxy) -> BoundsXyxy:
    """Give bounds that hold both; the outcome of many does not depend on their order.

    Longitudes grow as plain numbers. Bounds across the antimeridian (west > east) stay as they are while
    they hold what is added, and become [-180, 180] otherwise.
    """
    south, north = min(held[1], added[1]), max(held[3], added[3])
    if _holds_longitudes(held, added):
        return held[0], south, held[2], north
    if held[0] > held[2] or added[0] > added[2]:
        return -180.0, south, 180.0, north
    return min(held[0], added[0]), south, max(held[2], added[2]), north


def widen(
    collection: dict[str, Any],
    boxes: Iterable[BoundsXyxy],
    intervals: Iterable[Interval],
    *,
    all_items: bool = False,
) -> dict[str, Any]:
    """Return the collection with its overall bbox and interval widened to hold all of these.

    Args:
        collection: STAC collection.
        boxes: Bounds of items.
        intervals: Their first and last moments.
        all_items: True when these are all its items: a bbox of the whole world, or an interval open at both
            ends, then gives way to theirs, because it said no more than "somewhere, some time".
    """
    extent = collection["extent"]
    spatial, temporal = list(extent["spatial"]["bbox"]), list(extent["temporal"]["interval"])
    for number, box in enumerate(sorted(set(boxes))):
        unstated = all_items and number == 0 and spatial[0] == _WORLD
        spatial[0] = list(box) if unstated else _widen_bbox(spatial[0], box)
    moments = [moment for interval in intervals for moment in interval]
    if moments:
        ends = (min(moments), max(moments))
        unstated = all_items and temporal[0] == [None, None]
        temporal[0] = [format_moment(end) for end in ends] if unstated else _widen_interval(temporal[0], ends)
    widened = {
        "spatial": {**extent["spatial"], "bbox": spatial},
        "temporal": {**extent["temporal"], "interval": temporal},
    }
    return {**collection, "extent": {**extent, **widened}}


def _holds_longitudes(held: BoundsXyxy, added: BoundsXyxy) -> bool:
    (west, _, east, _), (added_west, _, added_east, _) = held, added
    if (west, east) == (-180, 180):
        return True
    if west <= east:
        return added_west <= added_east and west <= added_west and added_east <= east
    if added_west > added_east:
        return west <= added_west and added_east <= east
    return added_west >= west or added_east <= east


def check_extent(collection: dict[str, Any], *, where: str) -> None:
    """Refuse a collection without the two extents that STAC requires.

    Raises:
        InputError: ``extent.spatial.bbox`` or ``extent.temporal.interval`` missing or malformed.
    """
    try:
        bbox = collection["extent"]["spatial"]["bbox"][0]
        start, end = collection["extent"]["temporal"]["interval"][0]
    except (KeyError, IndexError, TypeError, ValueError) as exc:
        raise InputError(
            f"{where}: extent must hold spatial.bbox [[west, south, east, north]] "
            "and temporal.interval [[start or null, end or null]]"
        ) from exc
    if not isinstance(bbox, list):
        raise InputError(f"{where}: extent.spatial.bbox must be a list of lists of numbers")
    read_bbox(bbox, where=f"{where}: extent.spatial.bbox")
    for moment in (start, end):
        if moment is not None:
            parse_moment(moment, where=f"{where}: extent.temporal.interval")


def _widen_bbox(bbox: list[float], bounds: BoundsXyxy) -> list[float]:
    half = len(bbox) // 2
    declared = (bbox[0], bbox[1], bbox[half], bbox[half + 1])
    west, south, east, north = join_bounds(declared, bounds)
    if (west, south, east, north) == declared:
        return bbox
    if half == 2:
        return [west, south, east, north]
    return [west, south, bbox[2], east, north, bbox[5]]


def _widen_interval(stated: list[str | None], interval: Interval) -> list[str | None]:
    start, end = stated
    if start is not None and interval[0] < parse_moment(start, where="extent"):
        start = format_moment(interval[0])
    if end is not None and interval[1] > parse_moment(end, where="extent"):
        end = format_moment(interval[1])
    return [start, end]
