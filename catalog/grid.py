"""Choose one explicit pixel grid for an area and cut it into shards."""

from __future__ import annotations

import dataclasses
import math

from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from catalog.records import Grid, Tile
from infra.errors import InputError

BoundsLonLat = tuple[float, float, float, float]
"""West, south, east, north in degrees WGS 84; west > east crosses the antimeridian."""

_METRES_PER_DEGREE = 111_320.0  # of latitude, and of longitude at the equator
_MAX_PIXELS = 40_000_000_000
_SHARD_PX = 4096
_CHUNK_PX = 1024
_SMALL_CHUNK_PX = 256
_EDGE_SAMPLES = 65
_UTM_LATITUDE_LIMIT_DEG = 84.0


def check_bounds(bounds: BoundsLonLat) -> BoundsLonLat:
    """Refuse a box that is not one on Earth.

    Raises:
        InputError: not finite, out of range, empty or upside down.
    """
    west, south, east, north = bounds
    text = ",".join(f"{value:g}" for value in bounds)
    if not all(math.isfinite(value) for value in bounds):
        raise InputError(f"bbox {text} holds a value that is no number; give W,S,E,N in degrees")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise InputError(f"bbox {text} is not in degrees lon/lat; give W,S,E,N, e.g. 13.0,52.3,13.2,52.5")
    if south >= north:
        raise InputError(f"bbox {text} has south ≥ north; the order is W,S,E,N")
    if west == east:
        raise InputError(f"bbox {text} has no width; the order is W,S,E,N")
    return bounds


def utm_crs(bounds: BoundsLonLat) -> str:
    """Return the EPSG code of the UTM zone (UPS near the poles) at the box's centre.

    The exceptions for Norway and Svalbard are not applied: a cube's grid needs one regular zone.
    """
    west, south, east, north = bounds
    lon = (west + _unwrapped_east(west, east)) / 2
    lat = (south + north) / 2
    if abs(lat) > _UTM_LATITUDE_LIMIT_DEG:
        return "EPSG:5041" if lat > 0 else "EPSG:5042"
    zone = int(((lon + 180) % 360) // 6) + 1
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"


def plan_grid(
    bounds: BoundsLonLat, *, resolution_m: float, crs: str | None = None, shard_px: int = _SHARD_PX
) -> Grid:
    """Choose the grid that covers a lon/lat box, snapped to multiples of the pixel size.

    Args:
        bounds: Box in degrees; west > east crosses the antimeridian.
        resolution_m: Pixel edge, metres; in a geographic CRS it becomes degrees of latitude.
        crs: Anything PROJ knows; None chooses the UTM zone of the box's centre.
        shard_px: Largest shard edge, pixels; smaller grids get smaller shards.

    Raises:
        InputError: unknown CRS, a box outside its reach, or more pixels than one product should have.
    """
    check_bounds(bounds)
    if not (math.isfinite(resolution_m) and resolution_m > 0):
        raise InputError(f"resolution {resolution_m:g} m must be a positive number of metres")
    parsed = parse_crs(crs or utm_crs(bounds))
    _check_reach(bounds, parsed)
    step = resolution_m / _METRES_PER_DEGREE if parsed.is_geographic else float(resolution_m)
    left, bottom, right, top = _project_bounds(bounds, parsed)
    col0, col1 = math.floor(left / step + 1e-6), math.ceil(right / step - 1e-6)
    row0, row1 = math.floor(-top / step + 1e-6), math.ceil(-bottom / step - 1e-6)
    cols, rows = max(1, col1 - col0), max(1, row1 - row0)
    if rows * cols > _MAX_PIXELS:
        raise InputError(
            f"the grid would have {cols} × {rows} pixels at {resolution_m:g} m; "
            "choose a smaller bbox or a coarser --resolution-m"
        )
    shard, chunk = _choose_chunks(max(rows, cols), shard_px)
    return Grid(
        crs=_crs_text(parsed),
        transform=(step, 0.0, col0 * step, 0.0, -step, -row0 * step),
        shape_yx=(rows, cols),
        shard_px=shard,
        chunk_px=chunk,
    )


def parse_crs(text: str) -> CRS:
    """Parse a CRS, or say in one line that it is none.

    Raises:
        InputError: PROJ does not know it, or it is neither projected nor geographic.
    """
    try:
        crs = CRS.from_user_input(text)
    except CRSError as exc:
        raise InputError(f"CRS {text!r} is not known to PROJ; give e.g. EPSG:32633") from exc
    if not (crs.is_projected or crs.is_geographic):
        raise InputError(f"CRS {text!r} ({crs.name}) is not a map CRS; give e.g. EPSG:32633")
    return crs


def list_tiles(grid: Grid) -> list[Tile]:
    """List the shards of a grid, row by row."""
    rows, cols = grid.tiles_yx
    return [Tile(row=row, col=col) for row in range(rows) for col in range(cols)]


def tile_window(grid: Grid, tile: Tile, level: int = 0) -> tuple[slice, slice]:
    """Return the rows and columns that a shard covers at a pyramid level, clipped at the grid's end."""
    edge = grid.shard_px >> level
    rows, cols = level_shape(grid, level)
    return (
        slice(tile.row * edge, min((tile.row + 1) * edge, rows)),
        slice(tile.col * edge, min((tile.col + 1) * edge, cols)),
    )


def tile_geobox(grid: Grid, tile: Tile) -> GeoBox:
    """Return the GeoBox of one shard at full resolution."""
    return grid.geobox[tile_window(grid, tile)]


def level_shape(grid: Grid, level: int) -> tuple[int, int]:
    """Return the shape ``(rows, cols)`` of a pyramid level: halved, rounded up."""
    rows, cols = grid.shape_yx
    return -(-rows // (1 << level)), -(-cols // (1 << level))


def level_transform(grid: Grid, level: int) -> Affine:
    """Return the world-from-pixel transform of a pyramid level; the upper-left corner stays."""
    return Affine(*grid.transform) @ Affine.scale(1 << level)


def _choose_chunks(longest_px: int, shard_px: int) -> tuple[int, int]:
    chunk = _CHUNK_PX if longest_px > _CHUNK_PX else _SMALL_CHUNK_PX
    chunk = min(chunk, shard_px)
    # Power-of-two shards, so that every pyramid level of a shard is whole shards too; at least two along
    # the longer side of anything but a small grid, so that one scene keeps several workers busy.
    shard = chunk
    while shard < min(longest_px / 2, shard_px):
        shard *= 2
    return shard, chunk


def level_grid(grid: Grid, level: int) -> Grid:
    """Return the grid of a pyramid level."""
    return dataclasses.replace(
        grid,
        transform=tuple(level_transform(grid, level)[:6]),
        shape_yx=level_shape(grid, level),
        shard_px=grid.shard_px >> level,
        chunk_px=min(grid.chunk_px, grid.shard_px >> level),
    )


def _check_reach(bounds: BoundsLonLat, crs: CRS) -> None:
    reach = crs.area_of_use
    if reach is None or crs.is_geographic or _is_utm(crs):
        return
    west, south, east, north = bounds
    wraps = east < west or reach.west > reach.east
    apart_ns = north < reach.south or south > reach.north
    if apart_ns or (not wraps and (east < reach.west or west > reach.east)):
        raise InputError(
            f"bbox {west:g},{south:g},{east:g},{north:g} lies outside the area of CRS {crs.name} "
            f"({reach.name}); choose another --crs or leave it out"
        )


def _is_utm(crs: CRS) -> bool:
    return crs.utm_zone is not None


def _project_bounds(bounds: BoundsLonLat, crs: CRS) -> tuple[float, float, float, float]:
    west, south, east, north = bounds
    try:
        to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
        projected = to_map.transform_bounds(
            west, south, _unwrapped_east(west, east), north, densify_pts=_EDGE_SAMPLES
        )
    except ProjError as exc:
        raise InputError(f"bbox {bounds} lies outside what CRS {crs.name} can hold: {exc}") from exc
    left, bottom, right, top = (float(value) for value in projected)
    if not all(math.isfinite(value) for value in (left, bottom, right, top)) or left >= right:
        raise InputError(f"bbox {bounds} lies outside what CRS {crs.name} can hold; choose another --crs")
    return left, bottom, right, top


def _unwrapped_east(west: float, east: float) -> float:
    return east + 360 if east < west else east


def _crs_text(crs: CRS) -> str:
    authority = crs.to_authority(min_confidence=100)
    return f"{authority[0]}:{authority[1]}" if authority else str(crs.to_wkt("WKT2_2019"))
