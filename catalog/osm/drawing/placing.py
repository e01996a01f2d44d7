"""Put OpenStreetMap features on a pixel grid, as edges in pixel coordinates, all at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod, Transformer

from catalog.osm.records import OsmFeatures
from catalog.records import Grid
from infra.errors import InputError

Points = NDArray[np.float64]
_LATTICE = 33  # positions along each side of the grid that tell which part of the Earth it shows
_MARGIN_M = 300.0  # a road that runs beside the grid still reaches into it with half its width
_POLYGON, _LINES = 3, (1, 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Edges:
    """Hold m straight edges of lines or of polygon rings; pixel (0, 0)'s outer corner is (0, 0)."""

    xy: Points
    """``(m, 4)`` x0, y0, x1, y1: columns right and rows down. An exterior ring runs down on its left, a
    hole on its right, so that what lies to the right of an edge going down is inside."""
    owner: NDArray[np.intp]
    """``(m,)`` row of the feature; ascending."""
    along_px: Points
    """``(m,)`` distance from the start of the line or ring to the start of the edge, pixels."""

    def take(self, chosen: NDArray[np.bool_]) -> Edges:
        """Return some of the edges."""
        return Edges(xy=self.xy[chosen], owner=self.owner[chosen], along_px=self.along_px[chosen])


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """Say how a grid lies on the Earth."""

    pixel_from_world: Affine
    world_from_lonlat: Transformer
    centre_lon: float
    """Degrees; longitudes are taken on this side of the antimeridian."""
    bounds: tuple[float, float, float, float]
    """West, south, east, north of the grid with a margin; degrees, beyond ±180 where ``centre_lon`` asks."""
    metric: NDArray[np.float64]
    """``(2, 2)`` metres east and north on the ground per pixel right and down, at the grid's centre."""

    @property
    def gsd_m(self) -> float:
        """Side of a square as large as one pixel, metres on the ground."""
        return math.sqrt(abs(float(np.linalg.det(self.metric))))

    @property
    def shape(self) -> NDArray[np.float64]:
        """``(2, 2)`` the metric without its size: a rotation where pixels are square on the ground."""
        return np.asarray(self.metric / self.gsd_m, np.float64)

    def to_pixels(self, lonlat: Points) -> Points:
        """Convert ``(n, 2)`` degrees to columns and rows; not finite where the CRS cannot hold them."""
        x, y = self.world_from_lonlat.transform(lonlat[:, 0], lonlat[:, 1])
        a, b, c, d, e, f = self.pixel_from_world[:6]
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])


def survey_grid(grid: Grid) -> Ground:
    """Find out where on the Earth a grid lies and how large its pixels are there.

    Raises:
        InputError: the grid's centre is nowhere on Earth.
    """
    rows, cols = grid.shape_yx
    world = Affine(*grid.transform)
    across, down = np.meshgrid(np.linspace(0, cols, _LATTICE), np.linspace(0, rows, _LATTICE))
    x = np.append(across, cols / 2 + np.array([0, 1, 0]))  # the centre and its neighbours come last
    y = np.append(down, rows / 2 + np.array([0, 0, 1]))
    a, b, c, d, e, f = world[:6]
    to_world = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    lon, lat = to_world.transform(a * x + b * y + c, d * x + e * y + f, direction="INVERSE")
    if not np.isfinite([lon[-3:], lat[-3:]]).all():
        raise InputError(
            f"The centre of the grid {grid.crs} {grid.transform} is not on Earth; check its transform."
        )
    centre_lon = float(lon[-3])
    steps = [_measure_step(lon, lat, index) for index in (-2, -1)]
    return Ground(
        pixel_from_world=~world,
        world_from_lonlat=to_world,
        centre_lon=centre_lon,
        bounds=_bound(lon[:-3], lat[:-3], centre_lon),
        metric=np.array(steps, np.float64).T,
    )


def _measure_step(lon: Points, lat: Points, index: int) -> tuple[float, float]:
    """Measure the way from the centre to its neighbour: metres east and north."""
    azimuth, _, distance = Geod(ellps="WGS84").inv(lon[-3], lat[-3], lon[index], lat[index])
    return distance * math.sin(math.radians(azimuth)), distance * math.cos(math.radians(azimuth))


def _bound(lon: Points, lat: Points, centre_lon: float) -> tuple[float, float, float, float]:
    """Return the box around a lattice of positions, with a margin; everything round a pole."""
    seen = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = lon[seen] - 360 * np.rint((lon[seen] - centre_lon) / 360), lat[seen]
    margin = _MARGIN_M / 111_000 + 0.05 * float(np.ptp(lat))
    south, north = float(lat.min()) - margin, float(lat.max()) + margin
    widening = margin / max(0.02, math.cos(math.radians(min(89.0, max(abs(south), abs(north))))))
    west, east = float(lon.min()) - widening, float(lon.max()) + widening
    if east - west > 180:  # round a pole, or most of the Earth: longitude tells nothing
        west, east = centre_lon - 180, centre_lon + 180
        south, north = (south, 90.0) if north > -south else (-90.0, north)
    return west, south, east, north


def place_features(features: OsmFeatures, ground: Ground) -> tuple[Edges, Edges]:
    """Put the polygons and the lines of features on a grid; points are left out.

    Parts that the grid's CRS cannot hold (too far away) are left out too.

    Args:
        features: Lon/lat geometries; a feature may have parts of both kinds.
        ground: From :func:`survey_grid`.

    Returns:
        Edges of the polygons' rings, and edges of the lines.
    """
    parts, owner = _list_parts(features.geometries)
    kinds = shapely.get_type_id(parts)
    areas, lines = kinds == _POLYGON, np.isin(kinds, _LINES)
    return place_areas(parts[areas], owner[areas], ground), _place_lines(parts[lines], owner[lines], ground)


def _list_parts(geometries: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Take collections apart; twice, because a collection may hold multipolygons."""
    parts, first = shapely.get_parts(geometries, return_index=True)
    parts, second = shapely.get_parts(parts, return_index=True)
    return parts, first[second]


def place_areas(polygons: NDArray[np.object_], owner: NDArray[np.intp], ground: Ground) -> Edges:
    """Put polygons on a grid.

    Args:
        polygons: ``(k,)`` polygons, lon/lat.
        owner: ``(k,)`` row of the feature each belongs to, ascending.
        ground: From :func:`survey_grid`.
    """
    near, shift = _find_near(polygons, ground)
    polygons, owner, shift = polygons[near], owner[near], shift[near]
    _, polygon, points, ring = _list_rings(polygons)
    points[:, 0] += shift[polygon[ring]]
    return trace_rings(polygons, owner, ground.to_pixels(points))


def trace_rings(
    polygons: NDArray[np.object_], owner: NDArray[np.intp], points_px: Points | None = None
) -> Edges:
    """Join the rings of polygons, each turned as :class:`Edges` wants it.

    Args:
        polygons: ``(k,)`` polygons.
        owner: ``(k,)`` row of the feature each belongs to, ascending.
        points_px: Where their coordinates lie on the grid; None when they are pixels themselves.
    """
    rings, polygon, points, ring = _list_rings(polygons)
    outer = np.diff(polygon, prepend=-1) > 0
    edges = _join_points(points if points_px is None else points_px, ring)
    x0, y0, x1, y1 = edges.xy.T
    size = np.bincount(edges.owner, x0 * y1 - x1 * y0, minlength=len(rings))
    wrong = ((size > 0) == outer)[edges.owner]
    xy = np.where(wrong[:, None], edges.xy[:, [2, 3, 0, 1]], edges.xy)
    return Edges(xy=xy, owner=owner[polygon[edges.owner]], along_px=edges.along_px)


def _list_rings(
    polygons: NDArray[np.object_],
) -> tuple[NDArray[np.object_], NDArray[np.intp], Points, NDArray[np.intp]]:
    """List rings with their polygon, and points with their ring; exteriors come first."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    return rings, polygon, points, ring


def _place_lines(lines: NDArray[np.object_], owner: NDArray[np.intp], ground: Ground) -> Edges:
    near, shift = _find_near(lines, ground)
    lines, owner, shift = lines[near], owner[near], shift[near]
    points, line = shapely.get_coordinates(lines, return_index=True)
    points[:, 0] += shift[line]
    edges = _join_points(ground.to_pixels(points), line)
    return Edges(xy=edges.xy, owner=owner[edges.owner], along_px=edges.along_px)


def _find_near(parts: NDArray[np.object_], ground: Ground) -> tuple[NDArray[np.bool_], Points]:
    """Tell which parts reach the grid, and by how many degrees each must move to its side of ±180°."""
    west, south, east, north = shapely.bounds(parts).reshape(-1, 4).T
    shift = 360 * np.rint((ground.centre_lon - (west + east) / 2) / 360)
    left, bottom, right, top = ground.bounds
    near = (east + shift >= left) & (west + shift <= right) & (north >= bottom) & (south <= top)
    return near, shift


def _join_points(points: Points, line: NDArray[np.intp]) -> Edges:
    """Join the successive points of each line; a line with a point nowhere on the map is left out."""
    lost = np.unique(line[~np.isfinite(points).all(axis=1)])
    if lost.size:
        kept = ~np.isin(line, lost)
        points, line = points[kept], line[kept]
    joined = line[1:] == line[:-1]
    xy = np.column_stack([points[:-1], points[1:]])[joined]
    owner = line[1:][joined]
    length = np.hypot(xy[:, 2] - xy[:, 0], xy[:, 3] - xy[:, 1])
    end = np.cumsum(length)
    start = end - length
    first = np.flatnonzero(np.diff(owner, prepend=-1) != 0)
    along = start - np.repeat(start[first], np.diff(np.append(first, owner.size)))
    return Edges(xy=xy, owner=owner, along_px=along)
