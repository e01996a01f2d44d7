"""Fill the blocks of a settlement: rows of houses, courtyards, slabs, halls, greens."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from catalog.sample.cover import Cover, Feature
from catalog.sample.landscape import Points
from catalog.sample.parcels import CutRule, cut_parcels, find_direction, iterate_polygons

ROOF_DARK, ROOF_TILE, ROOF_GREY, ROOF_BRIGHT, ROOF_METAL = range(5)
"""Values of ``Feature.style`` of buildings."""

_ROOF_ODDS = {
    "house": (0.14, 0.56, 0.24, 0.05, 0.01),
    "apartments": (0.22, 0.28, 0.36, 0.13, 0.01),
    "retail": (0.1, 0.1, 0.35, 0.35, 0.1),
    "industrial": (0.08, 0.03, 0.34, 0.35, 0.2),
}


def _pick_roof(rng: np.random.Generator, kind: str) -> int:
    return int(rng.choice(5, p=_ROOF_ODDS.get(kind, _ROOF_ODDS["house"])))


def fill_block(rng: np.random.Generator, block: Polygon, *, use: str) -> list[Feature]:
    """Put ground and buildings on one block.

    Args:
        rng: Source of randomness.
        block: The block between its streets' centre lines, metres.
        use: ``centre``, ``houses``, ``slabs``, ``industry``, ``retail``, ``park``, ``school`` or ``cemetery``.
    """
    lot = max(shapely.get_parts(block.buffer(-5.5, join_style="mitre")), key=lambda part: part.area, default=block)
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
        return [ground, *_stand_slabs(rng, lot, pitch_m=60, tags={"building": "school"}, floors=(2, 4))]
    if use == "slabs":
        ground = Feature(cover=Cover.GARDEN, geometry=block, tags={"landuse": "residential"}, style=1)
        return [ground, *_stand_slabs(rng, lot, pitch_m=42, tags={"building": "apartments"}, floors=(4, 9))]
    if use == "centre":
        ground = Feature(cover=Cover.CENTRE, geometry=block, tags={"landuse": "commercial"})
        return [ground, *_line_street(rng, lot, front_m=(13, 24), depth_m=(12, 16), gap_m=0.4, floors=(3, 6))]
    ground = Feature(cover=Cover.GARDEN, geometry=block, tags={"landuse": "residential"})
    return [ground, *_line_street(rng, lot, front_m=(9, 15), depth_m=(8.5, 12), gap_m=rng.uniform(4, 11), floors=(1, 3))]


def _line_street(
    rng: np.random.Generator,
    lot: Polygon,
    *,
    front_m: tuple[float, float],
    depth_m: tuple[float, float],
    gap_m: float,
    floors: tuple[int, int],
) -> list[Feature]:
    """Stand houses along the edge of a lot, fronts to the street."""
    back = depth_m[1] / 2 + (1.0 if gap_m < 1 else rng.uniform(2, 5))
    inner = lot.buffer(-back, join_style="mitre")
    kind = "apartments" if gap_m < 1 else "house"
    houses: list[Feature] = []
    for part in iterate_polygons(inner, min_m2=60):
        ring = part.exterior
        count = int(ring.length / (np.mean(front_m) + gap_m))
        if count < 1:
            continue
        fronts = rng.uniform(*front_m, count)
        gaps = gap_m * rng.uniform(0.6, 1.6, count)
        at = np.cumsum(fronts + gaps) - fronts / 2
        keep = (at + fronts / 2 < ring.length) & (rng.random(count) < (0.97 if gap_m < 1 else 0.9))
        at, fronts = at[keep], fronts[keep]
        spots = shapely.get_coordinates(shapely.line_interpolate_point(ring, at))
        ahead = shapely.get_coordinates(shapely.line_interpolate_point(ring, np.minimum(at + 2, ring.length)))
        behind = shapely.get_coordinates(shapely.line_interpolate_point(ring, np.maximum(at - 2, 0)))
        angle = np.arctan2(*(ahead - behind).T[::-1])
        size = np.column_stack([fronts, rng.uniform(*depth_m, len(fronts))])
        houses += _raise(rng, spots, size, angle, lot, {"building": kind}, floors)
    return houses


def _raise(
    rng: np.random.Generator,
    spots: Points,
    size_m: Points,
    angle_rad: np.ndarray,
    lot: BaseGeometry,
    tags: dict[str, str],
    floors: tuple[int, int],
) -> list[Feature]:
    """Build rectangles, drop those that leave the lot or stand in one another."""
    boxes = make_boxes(spots, size_m, angle_rad)
    inside = shapely.contains_properly(lot, boxes)
    centres = spots
    made: list[Feature] = []
    taken: list[int] = []
    for index in np.flatnonzero(inside):
        gap = np.hypot(*(centres[taken] - centres[index]).T) if taken else np.empty(0)
        close = [taken[k] for k in np.flatnonzero(gap < 0.75 * size_m.max())]
        if close and shapely.intersects(boxes[close], boxes[index].buffer(-0.6)).any():
            continue
        taken.append(int(index))
        levels = int(rng.integers(floors[0], floors[1] + 1))
        made.append(
            Feature(
                cover=Cover.BUILDING, geometry=boxes[index], height_m=3.0 * levels + 2.0,
                tags={**tags, "building:levels": str(levels)},
                style=_pick_roof(rng, tags["building"]), angle_rad=float(angle_rad[index]),
            )  # fmt: skip
        )
    return made


def make_boxes(spots: Points, size_m: Points, angle_rad: np.ndarray) -> np.ndarray:
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
    turned = np.stack([flat[..., 0] * cos - flat[..., 1] * sin, flat[..., 0] * sin + flat[..., 1] * cos], axis=-1)
    boxes: np.ndarray = shapely.polygons(turned + spots[:, None])
    return boxes


def _stand_slabs(
    rng: np.random.Generator, lot: Polygon, *, pitch_m: float, tags: dict[str, str], floors: tuple[int, int]
) -> list[Feature]:
    """Stand parallel slabs on a grid in the direction of the lot."""
    angle, long_m, short_m = find_direction(lot)
    centre = np.array(lot.centroid.coords[0])
    u = np.arange(-long_m / 2, long_m / 2 + 1, pitch_m * 1.55)
    v = np.arange(-short_m / 2, short_m / 2 + 1, pitch_m)
    grid = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2) + rng.uniform(-4, 4, (u.size * v.size, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    spots = centre + np.column_stack([grid[:, 0] * cos - grid[:, 1] * sin, grid[:, 0] * sin + grid[:, 1] * cos])
    size = np.column_stack([rng.uniform(30, 58, len(grid)), rng.uniform(11, 15, len(grid))])
    return _raise(rng, spots, size, np.full(len(grid), angle), lot, tags, floors)


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
        made += _raise(rng, spot, size, np.array([angle]), lot, {"building": "industrial"}, (2, 4))
    return made


def _fill_retail(rng: np.random.Generator, block: Polygon, lot: Polygon) -> list[Feature]:
    """Put big stores among car parks."""
    made = [Feature(cover=Cover.INDUSTRIAL, geometry=block, tags={"landuse": "retail"}, style=1)]
    angle, long_m, short_m = find_direction(lot)
    spot = np.array([lot.centroid.coords[0]])
    size = np.array([[0.6 * long_m, 0.45 * short_m]])
    return made + _raise(rng, spot, size, np.array([angle]), lot, {"building": "retail"}, (2, 3))


def _dot_trees(rng: np.random.Generator, lot: Polygon) -> list[Feature]:
    """Group trees in a park."""
    x0, y0, x1, y1 = lot.bounds
    spots = rng.uniform([x0, y0], [x1, y1], (max(int(lot.area / 900), 2), 2))
    discs = shapely.buffer(shapely.points(spots), rng.uniform(5, 16, len(spots)), quad_segs=3)
    inside = shapely.contains(lot, discs)
    return [Feature(cover=Cover.WOOD_BROAD, geometry=d, height_m=13, tags={"natural": "wood"}) for d in discs[inside]]
