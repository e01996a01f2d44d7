"""Turn GeoJSON into footprints that the database can decide on, the antimeridian included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity
from shapely.errors import GEOSException, ShapelyError
from shapely.geometry.base import BaseGeometry

from infra.errors import InputError

_KINDS = (
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
)
_SLACK_DEG = 1e-9  # what reprojection leaves beyond ±180 and ±90
BoundsXyxy = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Say where an item lies: exact bounds, and the shape where the bounds do not say it all."""

    bounds: BoundsXyxy
    """West, south, east, north, degrees; west > east when it crosses the antimeridian."""
    low: float | None
    high: float | None
    """Elevation range from a 3-D bbox, metres; None when unknown."""
    wkb: bytes | None
    """The shape in [-180, 180], cut at the antimeridian; None when it is exactly its bounds."""

    def boxes(self) -> list[BoundsXyxy]:
        """Give the bounds as one box, or as two, one on either side of the antimeridian."""
        return split_bounds(self.bounds)


def split_bounds(bounds: BoundsXyxy) -> list[BoundsXyxy]:
    """Cut bounds that cross the antimeridian (west > east) into two that do not."""
    west, south, east, north = bounds
    if west <= east:
        return [bounds]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def read_geometry(geojson: object, *, where: str) -> BaseGeometry:
    """Read a GeoJSON geometry, 2-D, with finite WGS 84 coordinates.

    Raises:
        InputError: not a GeoJSON geometry, empty, or beyond ±180 or ±90 degrees.
    """
    if not isinstance(geojson, dict) or geojson.get("type") not in _KINDS:
        raise InputError(f"{where} is not a GeoJSON geometry: expected one of {', '.join(_KINDS)}")
    try:
        geometry: BaseGeometry = shapely.force_2d(_to_shape(geojson))
    except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as exc:
        raise InputError(f"{where} is a malformed {geojson['type']}: {_one_line(exc)}") from exc
    if geometry.is_empty:
        raise InputError(f"{where} is an empty {geojson['type']}: expected coordinates")
    west, south, east, north = geometry.bounds
    if not (
        -180 - _SLACK_DEG <= west <= east <= 180 + _SLACK_DEG
        and -90 - _SLACK_DEG <= south <= north <= 90 + _SLACK_DEG
    ):
        raise InputError(
            f"{where} leaves longitude [-180, 180] or latitude [-90, 90] (bounds "
            f"{west:g}, {south:g}, {east:g}, {north:g}): expected WGS 84 degrees, cut at the antimeridian"
        )
    return geometry


def read_search_geometry(geojson: object) -> BaseGeometry:
    """Read the geometry of a search's ``intersects``, which must also be topologically valid."""
    geometry = read_geometry(geojson, where="intersects")
    if not geometry.is_valid:
        raise InputError(f"intersects is not a valid geometry: {shapely.is_valid_reason(geometry)}")
    return geometry


def read_bbox(values: Sequence[object], *, where: str) -> tuple[BoundsXyxy, tuple[float, float] | None]:
    """Read a bbox of 4 or 6 numbers; west > east means that it crosses the antimeridian.

    Returns:
        West, south, east, north in degrees; and the elevation range in metres when there are 6 numbers.

    Raises:
        InputError: other counts, not finite, out of range, or south above north.
    """
    shown = str(list(values))[:120]
    if len(values) not in (4, 6) or not all(_is_finite(value) for value in values):
        raise InputError(f"{where} {shown} must have 4 or 6 finite numbers: west, south, east, north")
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    half = len(numbers) // 2
    (west, south), (east, north) = numbers[:2], numbers[half : half + 2]
    if not all(-180 - _SLACK_DEG <= lon <= 180 + _SLACK_DEG for lon in (west, east)):
        raise InputError(f"{where} {shown} leaves longitude [-180, 180]: to cross it, let west be above east")
    if not -90 - _SLACK_DEG <= south <= north <= 90 + _SLACK_DEG:
        raise InputError(f"{where} {shown} needs -90 <= south <= north <= 90")
    if half == 2:
        return (west, south, east, north), None
    low, high = numbers[2], numbers[5]
    if low > high:
        raise InputError(f"{where} {shown} has its lower elevation above its upper one: swap the two")
    return (west, south, east, north), (low, high)


def make_footprint(geojson: object, bbox: Sequence[object], *, where: str, mend: bool = False) -> Footprint:
    """Reduce an item's geometry and bbox to what searches decide on.

    Bounds come from the geometry, which is what a search matches; the bbox tells elevation and whether a
    polygon as wide as the world in fact crosses the antimeridian (west > east).

    Args:
        geojson: GeoJSON geometry.
        bbox: 4 or 6 numbers.
        where: Whose geometry it is, for messages.
        mend: Repair a geometry that crosses itself: for documents stored before such were refused.

    Raises:
        InputError: malformed geometry or bbox, or a geometry that crosses itself.
    """
    geometry = read_geometry(geojson, where=f"{where}: geometry")
    (west, _, east, _), elevation = read_bbox(bbox, where=f"{where}: bbox")
    low, high = elevation or (None, None)
    if not geometry.is_valid:
        if not mend:
            raise InputError(
                f"{where}: geometry is not valid ({shapely.is_valid_reason(geometry)}): repair it, "
                "for example with shapely.make_valid"
            )
        geometry = shapely.make_valid(geometry)
    if west > east:
        geometry = _cut_at_antimeridian(geometry)
        bounds = _crossing_bounds(geometry)
    else:
        bounds = geometry.bounds
    wkb = None if is_box(geometry) else shapely.to_wkb(geometry)
    return Footprint(bounds=bounds, low=low, high=high, wkb=wkb)


def search_shape(boxes: Sequence[BoundsXyxy]) -> BaseGeometry:
    """Join search boxes into one shape; boxes without width or height stay points or lines."""
    return shapely.union_all([_box(bounds) for bounds in boxes])


def _box(bounds: BoundsXyxy) -> BaseGeometry:
    west, south, east, north = bounds
    if west == east and south == north:
        return shapely.Point(west, south)
    if west == east or south == north:
        return shapely.LineString([(west, south), (east, north)])
    return shapely.box(*bounds)


def _to_shape(geojson: dict[str, Any]) -> BaseGeometry:
    if geojson["type"] == "GeometryCollection":
        return shapely.GeometryCollection([_to_shape(member) for member in geojson["geometries"]])
    if not all(map(_is_finite, _flatten(geojson["coordinates"]))):
        raise ValueError("a coordinate is not a finite number")
    shape: BaseGeometry = shapely.geometry.shape(geojson)
    return shape


def _flatten(coordinates: object) -> list[object]:
    if not isinstance(coordinates, list | tuple):
        return [coordinates]
    return [number for member in coordinates for number in _flatten(member)]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _cut_at_antimeridian(geometry: BaseGeometry) -> BaseGeometry:
    """Cut parts wider than half the world, which a west > east bbox says go the other way round."""
    parts: list[BaseGeometry] = []
    for part in getattr(geometry, "geoms", [geometry]):
        west, _, east, _ = part.bounds
        if east - west <= 180:
            parts.append(part)
            continue
        unwrapped = shapely.transform(part, _unwrap)
        unwrapped = unwrapped if unwrapped.is_valid else shapely.make_valid(unwrapped)
        parts.append(shapely.intersection(unwrapped, shapely.box(0, -90, 180, 90)))
        beyond = shapely.intersection(unwrapped, shapely.box(180, -90, 360, 90))
        parts.append(affinity.translate(beyond, xoff=-360))
    try:
        return shapely.union_all([part for part in parts if not part.is_empty])
    except GEOSException as exc:
        raise InputError(f"geometry cannot be cut at the antimeridian: {_one_line(exc)}") from exc


def _unwrap(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    unwrapped = coordinates.copy()
    unwrapped[unwrapped[:, 0] < 0, 0] += 360
    return unwrapped


def _crossing_bounds(geometry: BaseGeometry) -> BoundsXyxy:
    parts = [part.bounds for part in getattr(geometry, "geoms", [geometry])]
    eastern = [bounds for bounds in parts if bounds[0] + bounds[2] >= 0]
    western = [bounds for bounds in parts if bounds[0] + bounds[2] < 0]
    _, south, _, north = geometry.bounds
    if not eastern or not western:  # the bbox was wrong: nothing lies on the other side
        return geometry.bounds
    return min(bounds[0] for bounds in eastern), south, max(bounds[2] for bounds in western), north


def is_box(geometry: BaseGeometry) -> bool:
    """Tell whether a valid geometry is exactly its bounds."""
    if geometry.geom_type != "Polygon" or shapely.get_num_coordinates(geometry) != 5:
        return False
    west, south, east, north = geometry.bounds
    corners = {(west, south), (east, south), (east, north), (west, north)}
    return set(map(tuple, shapely.get_coordinates(geometry).tolist())) == corners


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:200] or type(exc).__name__
