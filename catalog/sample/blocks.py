"""Fill the blocks of a settlement: rows of houses, courtyards, slabs, halls, greens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import Polygon

from catalog.sample.cover import Cover, Feature
from catalog.sample.landscape import Points
from catalog.sample.parcels import CutRule, cut_parcels, find_direction, iterate_polygons

Numbers = npt.NDArray[np.float64]
Shapes = npt.NDArray[Any]
"""Object array of geometries."""

ROOF_DARK, ROOF_TILE, ROOF_GREY, ROOF_BRIGHT, ROOF_METAL, ROOF_BLUE, ROOF_RUST = range(7)
"""Values of ``Feature.style`` of buildings."""

_ROOF_ODDS = {
    "house": (0.12, 0.63, 0.19, 0.05, 0.01),
    "apartments": (0.14, 0.42, 0.31, 0.12, 0.01),
    "school": (0.20, 0.20, 0.45, 0.14, 0.01),
    "retail": (0.12, 0.10, 0.42, 0.24, 0.12),
    "industrial": (0.14, 0.06, 0.44, 0.17, 0.19),
}


@dataclass(frozen=True, kw_only=True)
class HouseRule:
    """Say what is built along a street or on a lot."""

    kind: str
    """Value of ``building``."""
    floors: tuple[int, int]
    """Fewest and most."""
    front_m: tuple[float, float] = (9.0, 15.0)
    depth_m: tuple[float, float] = (8.5, 12.0)
    gap_m: float = 6.0
    """Mean gap between neighbours; under 1 m the street is closed."""


_COURTYARD = HouseRule(kind="apartments", floors=(2, 5), front_m=(13, 24), depth_m=(12, 16), gap_m=0.4)
_SCHOOL = HouseRule(kind="school", floors=(2, 4))
_SLAB = HouseRule(kind="apartments", floors=(4, 9))
_HALL = HouseRule(kind="industrial", floors=(2, 4))
_STORE = HouseRule(kind="retail", floors=(2, 3))


def fill_block(rng: np.random.Generator, block: Polygon, *, use: str) -> list[Feature]:
    """Put ground and buildings on one block.

    Args:
        rng: Source of randomness.
        block: The block between its streets' centre lines, metres.
        use: ``centre``, ``houses``, ``slabs``, ``industry``, ``retail``, ``park``, ``school``,
            ``cemetery``.
    """
    inner = shapely.get_parts(block.buffer(-5.5, join_style="mitre"))
    lot = max(inner, key=lambda part: float(part.area), default=block)
    if lot.is_empty or lot.area < 250:
        return [Feature(cover=Cover.GARDEN, geometry=block)]
    if use == "park":
        return [Feature(cover=Cover.PARK, geometry=lot, tags={"leisure": "park"}), *_dot_trees(rng, lot)]
    if use == "cemetery":
        return [Feature(cover=Cover.PARK, geometry=lot, tags={"landuse": "cemetery"})]
    if use == "industry":
        return _fill_industry(rng, block, lot)
    if use == "retail":
        return _fill_retail(rng, block, lot)
    if use == "school":
        ground = Feature(cover=Cover.PARK, geometry=lot, tags={"amenity": "school"})
        return [ground, *_stand_slabs(rng, lot, _SCHOOL, pitch_m=60)]
    return _fill_homes(rng, block, lot, use)


def _fill_homes(rng: np.random.Generator, block: Polygon, lot: Polygon, use: str) -> list[Feature]:
    """Build slabs, closed streets or houses in gardens."""
    if use == "slabs":
        ground = Feature(cover=Cover.GARDEN, geometry=block, tags={"landuse": "residential"}, style=1)
        return [ground, *_stand_slabs(rng, lot, _SLAB, pitch_m=42)]
    if use == "centre":
        ground = Feature(cover=Cover.CENTRE, geometry=block, tags={"landuse": "commercial"})
        return [ground, *_line_street(rng, lot, _COURTYARD)]
    ground = Feature(cover=Cover.GARDEN, geometry=block, tags={"landuse": "residential"})
    rule = HouseRule(kind="house", floors=(1, 3), gap_m=float(rng.uniform(3, 9)))
    return [ground, *_line_street(rng, lot, rule)]


def _line_street(rng: np.random.Generator, lot: Polygon, rule: HouseRule) -> list[Feature]:
    """Stand houses along the edge of a lot, fronts to the street."""
    closed = rule.gap_m < 1
    back = rule.depth_m[1] / 2 + (1.0 if closed else rng.uniform(2, 5))
    houses: list[Feature] = []
    for part in iterate_polygons(lot.buffer(-back, join_style="mitre"), min_m2=60):
        ring = part.exterior
        count = int(ring.length / (np.mean(rule.front_m) + rule.gap_m))
        if count < 1:
            continue
        fronts = rng.uniform(*rule.front_m, count)
        at = np.cumsum(fronts + rule.gap_m * rng.uniform(0.6, 1.6, count)) - fronts / 2
        keep = (at + fronts / 2 < ring.length) & (rng.random(count) < (0.97 if closed else 0.9))
        at, fronts = at[keep], fronts[keep]
        spots, ahead, behind = (
            shapely.get_coordinates(shapely.line_interpolate_point(ring, np.clip(at + step, 0, ring.length)))
            for step in (0, 2, -2)
        )
        angle = np.arctan2(ahead[:, 1] - behind[:, 1], ahead[:, 0] - behind[:, 0])
        size = np.column_stack([fronts, rng.uniform(*rule.depth_m, len(fronts))])
        houses += _raise(rng, make_boxes(spots, size, angle), angle, lot, rule)
    return houses


def _raise(
    rng: np.random.Generator, boxes: Shapes, angle_rad: Numbers, lot: Polygon, rule: HouseRule
) -> list[Feature]:
    """Build on footprints; drop those that leave the lot or stand in an earlier one."""
    inside = np.flatnonzero(shapely.contains_properly(lot, boxes))
    slim = shapely.buffer(boxes, -0.3, join_style="mitre")
    pairs = shapely.STRtree(slim).query(slim, predicate="intersects").T.tolist()
    rivals: dict[int, list[int]] = {}
    for one, other in pairs:
        rivals.setdefault(one, []).append(other)
    taken: set[int] = set()
    made: list[Feature] = []
    odds = _ROOF_ODDS[rule.kind]
    for index in inside.tolist():
        if taken.intersection(rivals.get(index, ())):
            continue
        taken.add(index)
        levels = int(rng.integers(rule.floors[0], rule.floors[1] + 1))
        tags = {"building": rule.kind, "building:levels": str(levels)}
        roof = int(np.searchsorted(np.cumsum(odds), rng.random() * 0.9999))
        house = Feature(
            cover=Cover.BUILDING,
            geometry=boxes[index],
            tags=tags,
            height_m=3.0 * levels + 2.0,
            style=roof,
            angle_rad=float(angle_rad[index]),
        )
        made.append(house)
    return made


def make_boxes(spots: Points, size_m: Points, angle_rad: Numbers) -> Shapes:
    """Make rectangles.

    Args:
        spots: ``(box, 2)`` centres, metres.
        size_m: ``(box, 2)`` length along the angle and across it.
        angle_rad: ``(box,)`` directions.

    Returns:
        ``(box,)`` object array of polygons.
    """
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
    flat = corners[None] * size_m[:, None]
    cos, sin = np.cos(angle_rad)[:, None], np.sin(angle_rad)[:, None]
    turned = np.stack(
        [flat[..., 0] * cos - flat[..., 1] * sin, flat[..., 0] * sin + flat[..., 1] * cos], axis=-1
    )
    return np.asarray(shapely.polygons(turned + spots[:, None]), dtype=object)


def _stand_slabs(rng: np.random.Generator, lot: Polygon, rule: HouseRule, *, pitch_m: float) -> list[Feature]:
    """Stand parallel slabs on a grid in the direction of the lot."""
    angle, long_m, short_m = find_direction(lot)
    centre = np.array(lot.centroid.coords[0])
    u = np.arange(-long_m / 2, long_m / 2 + 1, pitch_m * 1.55)
    v = np.arange(-short_m / 2, short_m / 2 + 1, pitch_m)
    grid = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2) + rng.uniform(-4, 4, (u.size * v.size, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    spots = centre + np.column_stack(
        [grid[:, 0] * cos - grid[:, 1] * sin, grid[:, 0] * sin + grid[:, 1] * cos]
    )
    size = np.column_stack([rng.uniform(30, 58, len(grid)), rng.uniform(11, 15, len(grid))])
    turned = np.full(len(grid), angle)
    return _raise(rng, make_boxes(spots, size, turned), turned, lot, rule)


def _fill_industry(rng: np.random.Generator, block: Polygon, lot: Polygon) -> list[Feature]:
    """Cut a block into yards and put one hall on most of them."""
    made = [Feature(cover=Cover.INDUSTRIAL, geometry=block, tags={"landuse": "industrial"})]
    yards, _ = cut_parcels(rng, lot, CutRule(target_m2=9000, max_aspect=1.8, tilt_rad=0.0))
    for yard in yards:
        angle, long_m, short_m = find_direction(yard)
        if yard.area < 900 or rng.random() < 0.15:
            continue
        size = np.array([[long_m * rng.uniform(0.5, 0.85), short_m * rng.uniform(0.4, 0.75)]])
        spot = np.array([yard.centroid.coords[0]]) + rng.uniform(-4, 4, 2)
        turned = np.array([angle])
        made += _raise(rng, make_boxes(spot, size, turned), turned, lot, _HALL)
    return made


def _fill_retail(rng: np.random.Generator, block: Polygon, lot: Polygon) -> list[Feature]:
    """Put a big store among car parks."""
    ground = Feature(cover=Cover.INDUSTRIAL, geometry=block, tags={"landuse": "retail"}, style=1)
    angle, long_m, short_m = find_direction(lot)
    spot, turned = np.array([lot.centroid.coords[0]]), np.array([angle])
    store = make_boxes(spot, np.array([[0.6 * long_m, 0.45 * short_m]]), turned)
    return [ground, *_raise(rng, store, turned, lot, _STORE)]


def _dot_trees(rng: np.random.Generator, lot: Polygon) -> list[Feature]:
    """Group trees in a park."""
    x0, y0, x1, y1 = lot.bounds
    spots = rng.uniform([x0, y0], [x1, y1], (max(int(lot.area / 900), 2), 2))
    discs = shapely.buffer(shapely.points(spots), rng.uniform(5, 16, len(spots)), quad_segs=3)
    inside = shapely.contains(lot, discs)
    return [
        Feature(cover=Cover.WOOD_BROAD, geometry=d, height_m=13, tags={"natural": "wood"})
        for d in discs[inside]
    ]
