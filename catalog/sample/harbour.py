"""Build the harbour: quays, basins, moles, a tank farm and its sheds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from catalog.sample.blocks import ROOF_BLUE, ROOF_RUST, make_boxes
from catalog.sample.cover import Cover, Feature
from catalog.sample.landscape import Landscape, bend
from catalog.sample.parcels import CutRule, cut_parcels, find_direction, iterate_polygons

Placer = Callable[[BaseGeometry], BaseGeometry]


@dataclass(frozen=True, kw_only=True)
class Harbour:
    """Hold the harbour; ``ground`` is all of its land, ``water`` its basins."""

    ground: BaseGeometry
    water: BaseGeometry
    industry: BaseGeometry
    """Land behind the quays where halls may stand."""
    berths: tuple[BaseGeometry, ...]
    """Lines along which ships lie."""
    features: tuple[Feature, ...]


def build_harbour(seed: int, land: Landscape) -> Harbour:
    """Build the harbour east of the river's mouth."""
    rng = np.random.default_rng([seed, 3])
    r = land.radius_m
    x, y = land.mouth_xy
    turn = land.coast_deg + float(rng.uniform(-4, 4))

    def place(geometry: BaseGeometry) -> BaseGeometry:
        return affinity.rotate(affinity.translate(geometry, x, y), turn, origin=(x, y))

    plate = place(box(0.14 * r, -0.22 * r, 1.62 * r, 0.2 * r))
    slots = _share_front(rng, 0.26 * r, 1.04 * r)
    basins = [place(box(left, -0.4 * r, right, rng.uniform(-0.06, 0.12) * r)) for left, right in slots]
    outer = place(box(0.14 * r, -0.5 * r, 1.62 * r, -0.22 * r))
    water = shapely.union_all([*basins, outer])
    ground = plate.difference(shapely.union_all([*basins, land.river.buffer(8)]))
    farm = place(box(1.1 * r, -0.15 * r, 1.55 * r, 0.16 * r))
    features = [
        Feature(cover=Cover.QUAY, geometry=ground, tags={"landuse": "industrial", "industrial": "port"}),
        *_build_moles(place, r),
        Feature(cover=Cover.INDUSTRIAL, geometry=farm, tags={"landuse": "industrial", "name": "Tank farm"}),
        *_pave(rng, ground.difference(farm)),
        *_stand_tanks(rng, farm, np.deg2rad(turn)),
        *_stand_sheds(rng, [place(box(a, -0.18 * r, b, 0.0)) for a, b in _find_piers(slots, 1.08 * r)]),
    ]
    berths = tuple(_berths(place, slots, r))
    behind = place(box(0.75 * r, 0.2 * r, 1.75 * r, 0.42 * r)).difference(land.sea.buffer(30))
    return Harbour(
        ground=ground,
        water=water.difference(ground),
        industry=behind,
        berths=berths,
        features=tuple(features),
    )


def _build_moles(place: Placer, r: float) -> list[Feature]:
    """Embrace the outer harbour with two curved moles."""
    west = [(0.1, -0.12), (0.12, -0.45), (0.3, -0.66), (0.55, -0.74)]
    east = [(1.6, -0.18), (1.55, -0.42), (1.3, -0.62), (0.82, -0.66)]
    made = []
    for course in (west, east):
        line = bend(shapely.get_coordinates(place(LineString(np.array(course) * r))), step_m=20)
        tags = {"man_made": "breakwater"}
        made.append(Feature(cover=Cover.MOLE, geometry=line, tags=tags, width_m=17, height_m=2.5))
    return made


def _share_front(rng: np.random.Generator, start: float, end: float) -> list[tuple[float, float]]:
    """Share the water front between one to three basins; return left and right of each."""
    count = int(rng.integers(1, 4))
    pitch = (end - start) / count
    widths = pitch * rng.uniform(0.36, 0.56, count)
    lefts = start + pitch * (np.arange(count) + rng.uniform(0.0, 0.14, count))
    return [(float(left), float(left + wide)) for left, wide in zip(lefts, widths, strict=True)]


def _find_piers(slots: list[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """Return left and right of each pier between and beside the basins where sheds can stand."""
    rights = [left for left, _ in slots[1:]] + [end]
    piers = [(right + 22, next_left - 22) for (_, right), next_left in zip(slots, rights, strict=True)]
    return [(left, right) for left, right in piers if right - left > 40]


def _stand_tanks(rng: np.random.Generator, farm: BaseGeometry, angle_rad: float) -> list[Feature]:
    """Stand round tanks on a loose grid inside the farm, each size in rows of its own."""
    corner = shapely.get_coordinates(affinity.rotate(farm, -np.rad2deg(angle_rad), origin=(0, 0)))
    (x0, y0), (x1, y1) = corner.min(axis=0), corner.max(axis=0)
    tanks: list[Feature] = []
    sizes = np.array([6.0, 9.0, 14.0, 21.0, 27.0])
    sizes = sizes[sizes <= max((y1 - y0) / 9, 6.0)]
    y = y0 + 10.0
    while y < y1 - 2 * sizes[0] - 6:
        radius = float(rng.choice(sizes[-4:]))
        pitch = 2 * radius + rng.uniform(12, 20)
        y += radius
        for x in np.arange(x0 + 14 + radius, x1 - radius - 8, pitch):
            if rng.random() < 0.86 and y + radius < y1 - 6:
                spot = affinity.rotate(Point(x, y), np.rad2deg(angle_rad), origin=(0, 0))
                disc = spot.buffer(radius, quad_segs=6)
                tags = {
                    "man_made": "storage_tank",
                    "content": "oil" if radius > 15 else "fuel",
                    "building": "yes",
                }
                tanks.append(Feature(cover=Cover.TANK, geometry=disc, tags=tags, height_m=radius * 0.45 + 6))
        y += radius + rng.uniform(10, 16)
    return tanks


def _stand_sheds(rng: np.random.Generator, plots: list[BaseGeometry]) -> list[Feature]:
    """Stand long sheds along the piers."""
    sheds = []
    for plot in plots:
        corners = shapely.get_coordinates(plot)
        # the box's ring runs counter-clockwise from its lower right corner
        a, b, d = corners[2], corners[1], corners[3]
        along, across = b - a, d - a
        lanes = max(int(np.hypot(*across) / 75), 1)
        for lane in range(lanes):
            for share in np.arange(0.03, 0.9, 0.36):
                p = a + along * share + across * ((lane + 0.15) / lanes)
                u, v = along * rng.uniform(0.24, 0.31), across * (rng.uniform(0.45, 0.6) / lanes)
                hall = Polygon([p, p + u, p + u + v, p + v])
                angle = float(np.arctan2(along[1], along[0]))
                tags = {"building": "warehouse"}
                sheds.append(
                    Feature(
                        cover=Cover.BUILDING, geometry=hall, tags=tags, height_m=11, style=4, angle_rad=angle
                    )
                )
    return [shed for shed in sheds if any(True for _ in iterate_polygons(shed.geometry, min_m2=250))]


def _pave(rng: np.random.Generator, ground: BaseGeometry) -> list[Feature]:
    """Pave the quays slab by slab, and stack containers on some slabs."""
    made: list[Feature] = []
    for part in iterate_polygons(ground, min_m2=500):
        slabs, _ = cut_parcels(rng, part, CutRule(target_m2=11000, max_aspect=2.5, tilt_rad=0.0))
        made += [Feature(cover=Cover.QUAY, geometry=slab) for slab in slabs]
        for slab in slabs:
            if rng.random() < 0.22:
                made += _stack_containers(rng, slab)
    return made


def _stack_containers(rng: np.random.Generator, slab: Polygon) -> list[Feature]:
    """Stack containers in parallel rows."""
    angle, long_m, short_m = find_direction(slab)
    across = np.arange(-short_m / 2 + 12, short_m / 2 - 12, 21.0)
    along = np.arange(-long_m / 2 + 25, long_m / 2 - 25, 36.0)
    u, v = (axis.ravel() for axis in np.meshgrid(along, across))
    cos, sin = np.cos(angle), np.sin(angle)
    spots = np.array(slab.centroid.coords[0]) + np.column_stack([u * cos - v * sin, u * sin + v * cos])
    size = np.column_stack([np.full(len(u), 31.0), np.full(len(u), 12.5)])
    stacks = make_boxes(spots, size, np.full(len(u), angle))
    tags = {"building": "container"}
    return [
        Feature(
            cover=Cover.BUILDING,
            geometry=stack,
            tags=tags,
            height_m=8,
            style=int(rng.integers(ROOF_BLUE, ROOF_RUST + 1)),
            angle_rad=angle,
        )
        for stack in stacks[shapely.contains(slab, stacks)]
        if rng.random() < 0.8
    ]


def _berths(place: Placer, slots: list[tuple[float, float]], r: float) -> list[BaseGeometry]:
    """Return lines on the water along the quays where ships lie."""
    lines = []
    for left, right in slots:
        lines += [place(LineString([(x, -0.2 * r), (x, -0.07 * r)])) for x in (left + 14, right - 14)]
    lines.append(place(LineString([(1.08 * r, -0.22 * r - 16), (1.55 * r, -0.22 * r - 16)])))
    return lines
