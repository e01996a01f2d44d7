"""Say where on Earth a product's data lie, as GeoJSON that every client can draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry as Shape

from catalog.grid import BoundsLonLat
from catalog.records import Grid

Points: TypeAlias = NDArray[np.float64]

_EDGE_POINTS = 33  # per side of the grid: its straight edges bend on the globe
_DECIMALS = 7  # of a degree, about a centimetre
_JUMP_DEG = 180.0  # a longer step between two vertices goes round the other side


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Hold where data lie, lon/lat degrees WGS 84."""

    geometry: dict[str, Any]
    """GeoJSON Polygon or MultiPolygon, valid, split at the antimeridian, exterior rings counter-clockwise."""
    bbox: tuple[float, float, float, float]
    """West, south, east, north; west > east where the footprint crosses the antimeridian."""
    weights: tuple[float, ...]
    """Per scene: area of its part of the grid (cosine-corrected square degrees), for averages."""


class Outlined(Protocol):
    """Knows where on Earth it is."""

    @property
    def geometry(self) -> dict[str, Any]:
        """GeoJSON footprint, lon/lat degrees WGS 84."""
        ...


def find_footprint(scenes: Sequence[Outlined], grid: Grid) -> Footprint:
    """Intersect the scenes' outlines with the grid's.

    The grid's outline stands in where the scenes' metadata do not reach it: the pixels are there anyway.

    Args:
        scenes: Their ``geometry`` is lon/lat; it may cross the antimeridian, split or not.
        grid: The grid the pixels lie on.

    Returns:
        The footprint of all scenes together.
    """
    outline, centre_lon = _outline_grid(grid)
    tolerance = _pixel_deg(outline, grid) / 4
    parts = [shapely.intersection(unwrap_footprint(scene.geometry, centre_lon), outline) for scene in scenes]
    covered = _only_polygons(shapely.union_all(parts)) if parts else shapely.Polygon()
    if covered.is_empty or covered.area < 1e-9 * outline.area:
        covered = outline
    simple = _only_polygons(shapely.make_valid(shapely.simplify(shapely.normalize(covered), tolerance)))
    split = _split(covered if simple.is_empty else simple)
    return Footprint(
        geometry=_to_geojson(split),
        bbox=_bound(split),
        weights=tuple(float(part.area) * _shrink(part) for part in parts),
    )


def find_box_footprint(bounds: BoundsLonLat) -> Footprint:
    """Outline a box; two polygons where it crosses the antimeridian (west > east)."""
    west, south, east, north = bounds
    split = _split(shapely.box(west, south, east + 360.0 if east < west else east, north))
    return Footprint(geometry=_to_geojson(split), bbox=_bound(split), weights=())


def _outline_grid(grid: Grid) -> tuple[Shape, float]:
    """Project the grid's outline to lon/lat, longitudes continuous around the grid's centre."""
    rows, cols = grid.shape_yx
    steps = np.linspace(0.0, 1.0, _EDGE_POINTS)[:-1]
    across = np.concatenate([0 * steps, steps, 0 * steps + 1, 1 - steps]) * cols
    down = np.concatenate([steps, 0 * steps + 1, 1 - steps, 0 * steps]) * rows
    to_lonlat = Transformer.from_crs(CRS.from_user_input(grid.crs), "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform(*_to_map(grid, across, down))
    centre = to_lonlat.transform(*_to_map(grid, np.array([cols / 2]), np.array([rows / 2])))
    centre_lon = float(centre[0][0])
    pole = _find_pole(grid, to_lonlat)
    finite = np.isfinite(lon) & np.isfinite(lat)
    if pole is not None or not np.isfinite(centre_lon):
        edge = float(np.min(np.abs(lat[finite]))) if finite.any() else 0.0
        south, north = (-90.0, -edge) if pole == -90.0 else (edge if pole else -90.0, 90.0)
        return shapely.box(-180.0, south, 180.0, north), 0.0
    near = _wrap_near(lon[finite], centre_lon)
    outline = shapely.make_valid(shapely.Polygon(np.column_stack([near, lat[finite]])))
    return _only_polygons(outline), centre_lon


def _to_map(grid: Grid, cols: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b, c, d, e, f = grid.transform
    return a * cols + b * rows + c, d * cols + e * rows + f


def _find_pole(grid: Grid, to_lonlat: Transformer) -> float | None:
    """Return the latitude of the pole that lies inside the grid; there is no outline around it in lon/lat."""
    if to_lonlat.source_crs is None or to_lonlat.source_crs.is_geographic:
        return None
    for pole in (90.0, -90.0):
        x, y = to_lonlat.transform(0.0, pole, direction="INVERSE")
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        col, row = ~Affine(*grid.transform) @ (x, y)
        back = to_lonlat.transform(x, y)[1]
        if 0 < row < grid.shape_yx[0] and 0 < col < grid.shape_yx[1] and abs(back - pole) < 1e-6:
            return pole
    return None


def _wrap_near(lon: Points, centre_lon: float) -> Points:
    return np.asarray(centre_lon + (lon - centre_lon + 180.0) % 360.0 - 180.0, np.float64)


def unwrap_footprint(geometry: Mapping[str, Any], centre_lon: float) -> Shape:
    """Lay a footprint out around a longitude, whichever side of the antimeridian it was written on."""
    shape = shapely.make_valid(shapely.force_2d(_join_rings(shapely.geometry.shape(dict(geometry)))))
    turns = [shapely.transform(shape, _shift(turn + _turn_of(centre_lon))) for turn in (-360.0, 0.0, 360.0)]
    return shapely.union_all([_only_polygons(turn) for turn in turns])


def _turn_of(centre_lon: float) -> float:
    return 360.0 * round(centre_lon / 360.0)


def _shift(lon: float) -> Callable[[Points], Points]:
    def move(points: Points) -> Points:
        return np.asarray(points + np.array([lon, 0.0]))

    return move


def _join_rings(shape: Shape) -> Shape:
    """Make longitudes continuous along rings that step over the antimeridian; ±180 exactly is an edge."""

    def unwind(points: Points) -> Points:
        steps = np.abs(np.diff(points[:, 0]))
        if not ((steps > _JUMP_DEG) & (steps < 360.0)).any():
            return points
        lon = np.where(points[:, 0] < 0, points[:, 0] + 360.0, points[:, 0])
        return np.column_stack([lon, points[:, 1]])

    polygons = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    flat = [shapely.force_2d(polygon) for polygon in polygons]
    return shapely.MultiPolygon([shapely.Polygon(unwind(shapely.get_coordinates(p.exterior))) for p in flat])


def _split(shape: Shape) -> Shape:
    """Cut at the antimeridian and bring every part into −180 … 180."""
    pieces = []
    for turn in (-360.0, 0.0, 360.0):
        piece = shapely.intersection(shapely.transform(shape, _shift(turn)), shapely.box(-180, -90, 180, 90))
        pieces.append(_only_polygons(piece))
    rounded = shapely.set_precision(shapely.union_all(pieces), 10.0**-_DECIMALS)
    return _only_polygons(rounded) if not rounded.is_empty else shapely.union_all(pieces)


def _bound(shape: Shape) -> tuple[float, float, float, float]:
    """Bound a split footprint; parts that touch both ends of the world make west > east."""
    west, south, east, north = (round(float(value), _DECIMALS) for value in shape.bounds)
    if west == -180.0 and east == 180.0:
        boxes = shapely.bounds(shapely.get_parts(shape))
        whole_turn = bool(((boxes[:, 0] <= -180.0) & (boxes[:, 2] >= 180.0)).any())
        if not whole_turn:
            middle = (boxes[:, 0] + boxes[:, 2]) / 2
            west = round(float(boxes[middle > 0, 0].min()), _DECIMALS)
            east = round(float(boxes[middle <= 0, 2].max()), _DECIMALS)
    return west, south, east, north


def _only_polygons(shape: shapely.Geometry) -> Shape:
    """Drop the points and lines that intersections and repairs leave behind."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    polygons = [part for part in parts if part.geom_type == "Polygon" and part.area > 0]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def _to_geojson(shape: Shape) -> dict[str, Any]:
    polygons = [shapely.geometry.polygon.orient(part) for part in shapely.get_parts(shape)]
    polygons.sort(key=lambda polygon: polygon.bounds)
    rings = [[_round_ring(ring) for ring in (p.exterior, *p.interiors)] for p in polygons]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _round_ring(ring: shapely.LinearRing) -> list[list[float]]:
    return [[round(float(x), _DECIMALS) + 0.0, round(float(y), _DECIMALS) + 0.0] for x, y in ring.coords]


def _pixel_deg(outline: Shape, grid: Grid) -> float:
    west, south, east, north = outline.bounds
    return float(min((east - west) / grid.shape_yx[1], (north - south) / grid.shape_yx[0]))


def _shrink(part: Shape) -> float:
    """Return the cosine of a part's latitude: how much shorter a degree of longitude is there."""
    return 0.0 if part.is_empty else float(np.cos(np.radians(part.centroid.y)))
