"""Shape the ground before people came: coast, river, lake, hills and woods."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio import features
from scipy import ndimage
from scipy.interpolate import CubicSpline
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from catalog.sample.frame import FloatArray, Frame
from catalog.sample.noise import draw_noise, smooth_step
from catalog.sample.parcels import iterate_polygons

RELIEF_M = 20.0
"""Grid step of the relief, metres."""

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """Hold the natural ground in local metres; the sea lies to the south."""

    world: Polygon
    """Everything drawn, with a margin beyond the scenes."""
    land: BaseGeometry
    sea: BaseGeometry
    river: BaseGeometry
    river_line: LineString
    lake: Polygon
    woods: tuple[Polygon, ...]
    relief_m: FloatArray
    """``(y, x)`` ground height, metres, on the canvas at ``RELIEF_M``."""
    centre_xy: tuple[float, float]
    """Where the town hall stands."""
    radius_m: float
    """Radius of the town."""
    mouth_xy: tuple[float, float]
    coast_deg: float
    """Direction of the coast east of the mouth, counter-clockwise from east."""


def bend(points: Points, *, step_m: float = 40.0) -> LineString:
    """Lay a smooth curve through points, sampled every ``step_m``."""
    chord = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    count = max(int(chord[-1] / step_m), 2)
    spline = CubicSpline(chord, points, bc_type="natural")
    return LineString(spline(np.linspace(0, chord[-1], count + 1)))


def wander(rng: np.random.Generator, start: Points, end: Points, *, roughness: float, levels: int) -> Points:
    """Displace midpoints of a segment: coasts and country roads.

    Args:
        rng: Source of randomness.
        start: ``(2,)`` first point, metres.
        end: ``(2,)`` last point, metres.
        roughness: Sideways displacement as a share of the segment's length.
        levels: Number of halvings.

    Returns:
        ``(2**levels + 1, 2)`` points.
    """
    points = np.array([start, end], np.float64)
    for level in range(levels):
        ahead = np.diff(points, axis=0)
        normal = np.column_stack([-ahead[:, 1], ahead[:, 0]])
        scale = roughness * 0.92**level
        middle = points[:-1] + 0.5 * ahead + normal * scale * rng.standard_normal((len(ahead), 1))
        woven = np.empty((2 * len(points) - 1, 2))
        woven[0::2], woven[1::2] = points, middle
        points = woven
    return points


def shape_landscape(seed: int, frame: Frame) -> Landscape:
    """Make the natural ground of one seed."""
    rng = np.random.default_rng([seed, 1])
    side = frame.extent_m
    margin = 0.03 * side + 2 * frame.pad_m
    world = box(-margin, -margin, side + margin, side + margin)
    coast_y = side * rng.uniform(0.2, 0.25)
    left = np.array([-2 * margin, coast_y + side * rng.uniform(-0.06, 0.1)])
    right = np.array([side + 2 * margin, coast_y + side * rng.uniform(-0.06, 0.1)])
    coast = wander(rng, left, right, roughness=0.11, levels=9)
    below = [(right[0], -9 * margin), (left[0], -9 * margin)]
    sea = Polygon([*coast, *below]).buffer(0).intersection(world)
    mouth_x = side * rng.uniform(0.34, 0.48)
    mouth = np.array([mouth_x, _height_of_coast(coast, mouth_x)])
    line = _meander(rng, mouth, np.array([side * rng.uniform(0.3, 0.75), side + 1.6 * margin]), side)
    river = _widen(line, narrow_m=26.0, wide_m=30.0 + 0.004 * side).intersection(world)
    radius = 0.155 * side
    centre = (mouth[0] + 0.35 * radius, mouth[1] + 0.62 * radius)
    relief = _raise_relief(rng, frame, sea, line)
    lake = _blob(rng, (side * rng.uniform(0.72, 0.86), side * rng.uniform(0.62, 0.8)), 0.036 * side, 0.16)
    town = Point(centre).buffer(1.05 * radius)
    blocked = shapely.union_all([sea.buffer(60), river.buffer(12), lake.buffer(15), town])
    woods = _grow_woods(rng, frame, relief, blocked)
    return Landscape(
        world=world, land=world.difference(sea), sea=sea, river=river, river_line=line, lake=lake,
        woods=woods, relief_m=relief, centre_xy=centre, radius_m=radius, mouth_xy=(mouth[0], mouth[1]),
        coast_deg=_slope_of_coast(coast, mouth_x, 1.6 * radius),
    )  # fmt: skip


def _height_of_coast(coast: Points, x: float) -> float:
    """Return the most inland y where the coast passes x."""
    near = coast[np.abs(coast[:, 0] - x) < np.ptp(coast[:, 0]) / 100]
    return float(near[:, 1].max())


def _slope_of_coast(coast: Points, x: float, reach: float) -> float:
    """Return the mean direction of the coast over a stretch, degrees, at most 32 either way."""
    near = coast[(coast[:, 0] > x) & (coast[:, 0] < x + reach)]
    slope = float(np.polyfit(near[:, 0], near[:, 1], 1)[0])
    return float(np.clip(np.rad2deg(np.arctan(slope)), -32, 32))


def _meander(rng: np.random.Generator, mouth: Points, source: Points, side: float) -> LineString:
    """Follow a sine-generated curve: the heading swings, loops are longer downstream."""
    count = 1600
    s = np.linspace(0, 1, count)
    loops = max(side / 1150.0, 2.5)
    phase = 2 * np.pi * loops * (s + 0.05 * np.sin(2 * np.pi * 1.7 * s + rng.uniform(0, 6)))
    swing = 1.0 + 0.35 * np.sin(2 * np.pi * 2.3 * s + rng.uniform(0, 6))
    heading = swing * smooth_step(s.astype(np.float32), 0.08, 0.25) * np.sin(phase)
    heading += 0.5 * np.sin(2 * np.pi * 1.1 * s + rng.uniform(0, 6))
    path = np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]), axis=0)
    path -= path[0]
    # turn and stretch the curve so that it runs from mouth to source
    turn = complex(*(source - mouth)) / complex(*path[-1])
    laid = (path[:, 0] + 1j * path[:, 1]) * turn
    points = mouth + np.column_stack([laid.real, laid.imag])
    outfall = mouth + np.array([0.0, -0.05 * side])
    return LineString([outfall, *points[2::4]])


def _widen(line: LineString, *, narrow_m: float, wide_m: float) -> BaseGeometry:
    """Give a line a width that grows towards its start."""
    points = shapely.get_coordinates(line)
    pieces = []
    for part in np.array_split(np.arange(len(points)), 14):
        run = points[part[0] : part[-1] + 2]
        share = (part[0] / len(points)) ** 0.6
        pieces.append(LineString(run).buffer((wide_m + (narrow_m - wide_m) * share) / 2))
    return shapely.union_all(pieces)


def _blob(rng: np.random.Generator, centre_xy: tuple[float, float], radius: float, rough: float) -> Polygon:
    """Draw a rounded lobed outline."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    reach = np.ones_like(angle)
    for wave in range(2, 7):
        reach += rough / wave * rng.standard_normal() * np.cos(wave * angle + rng.uniform(0, 6.28))
    reach = np.clip(reach, 0.35, 1.8) * radius
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) * reach[:, None] + np.array(centre_xy)
    return Polygon(ring).buffer(0)


def draw_outline(
    rng: np.random.Generator, centre_xy: tuple[float, float], radius_m: float, rough: float
) -> Polygon:
    """Draw the outline of a settlement or a pond around a centre."""
    return max(iterate_polygons(_blob(rng, centre_xy, radius_m, rough)), key=lambda part: part.area)


def _relief_grid(frame: Frame) -> tuple[tuple[int, int], Affine]:
    side = round((frame.extent_m + 2 * frame.pad_m) / RELIEF_M)
    corner = (-frame.pad_m, frame.extent_m + frame.pad_m)
    return (side, side), Affine(RELIEF_M, 0, corner[0], 0, -RELIEF_M, corner[1])


def _raise_relief(rng: np.random.Generator, frame: Frame, sea: BaseGeometry, river: LineString) -> FloatArray:
    """Raise hills inland and carve the river's valley into them."""
    shape, transform = _relief_grid(frame)
    wet = features.rasterize([sea], out_shape=shape, transform=transform, dtype="uint8", all_touched=True)
    bed = features.rasterize([river], out_shape=shape, transform=transform, dtype="uint8", all_touched=True)
    inland = (ndimage.distance_transform_edt(wet == 0) * RELIEF_M).astype(np.float32)
    aside = (ndimage.distance_transform_edt(bed == 0) * RELIEF_M).astype(np.float32)
    hills = draw_noise(rng, shape, cell_px=2600 / RELIEF_M, octaves=6, persistence=0.45)
    rough = 18 + 26 * np.clip(hills, -1.3, 3.0)
    valley = 0.22 + 0.78 * smooth_step(aside, 60.0, 1100.0)
    height = (0.006 * inland + rough * smooth_step(inland, 100.0, 3200.0)) * valley
    return np.where(wet > 0, 0.0, np.maximum(height, 0.5 + 0.002 * inland)).astype(np.float32)


def _grow_woods(
    rng: np.random.Generator, frame: Frame, relief: FloatArray, blocked: BaseGeometry
) -> tuple[Polygon, ...]:
    """Let woods stand where the ground is high or steep, with lobed edges."""
    _, transform = _relief_grid(frame)
    steep = np.hypot(*np.gradient(cv2.GaussianBlur(relief, (0, 0), 3.0), RELIEF_M)).astype(np.float32)
    wish = draw_noise(rng, relief.shape, cell_px=900 / RELIEF_M, octaves=4, persistence=0.55)
    wish += 0.018 * (relief - 30) + 6.0 * steep
    wooded = wish > np.quantile(wish, 0.83)
    wooded = ndimage.binary_opening(wooded, iterations=1)
    shapes = features.shapes(wooded.astype(np.uint8), mask=wooded, transform=transform)
    grown: list[Polygon] = []
    for geometry, _ in shapes:
        rounded = (
            shapely.geometry.shape(geometry).simplify(24).buffer(18, quad_segs=3).buffer(-18, quad_segs=3)
        )
        grown.extend(iterate_polygons(rounded.difference(blocked), min_m2=8000))
    return tuple(grown)
