"""Divide the open country: fields, meadows, orchards, copses, hedges, farms, tracks."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from catalog.sample.cover import Cover, Feature
from catalog.sample.crops import CROP_NAMES, CROP_ODDS
from catalog.sample.landscape import Landscape
from catalog.sample.network import Network, Road
from catalog.sample.parcels import (
    CutRule,
    cut_parcels,
    find_direction,
    iterate_lines,
    iterate_polygons,
    take_stretch,
)


def farm_country(
    seed: int, land: Landscape, net: Network, blocked: BaseGeometry
) -> tuple[list[Feature], list[Road]]:
    """Divide everything that is not blocked into parcels.

    Returns:
        Features and the farm tracks between large pieces of land.
    """
    rng = np.random.default_rng([seed, 5])
    lines = [road.line for road in net.roads] + [*net.rails[:1], land.river_line]
    cells = shapely.get_parts(
        shapely.polygonize([shapely.union_all([land.world.boundary, land.sea.boundary, *lines])])
    )
    features: list[Feature] = []
    tracks: list[Road] = []
    shapely.prepare(blocked)
    for cell in cells:
        large = CutRule(target_m2=rng.uniform(2.5e5, 6e5), max_aspect=1.8, tilt_rad=0.28, jitter=0.25)
        pieces, cuts = cut_parcels(rng, cell, large)
        tracks += [Road(kind="track", line=cut) for cut in cuts]
        for piece in pieces:
            open_land = piece.difference(blocked) if blocked.intersects(piece) else piece
            for part in iterate_polygons(open_land, min_m2=600):
                features += _farm_piece(rng, part)
    features += _build_farms(rng, tracks, blocked)
    return features, tracks


def _farm_piece(rng: np.random.Generator, piece: Polygon) -> list[Feature]:
    """Cut one piece of land into fields of one custom: size, shape and favourite use."""
    strips = rng.random() < 0.45
    rule = CutRule(
        target_m2=float(np.exp(rng.normal(10.85, 0.6))),
        max_aspect=rng.uniform(3.0, 6.0) if strips else rng.uniform(1.5, 2.2),
        tilt_rad=0.025,
        jitter=0.28,
        spread=0.5,
    )
    fields, _ = cut_parcels(rng, piece, rule)
    grassy = rng.beta(0.8, 2.2)
    made: list[Feature] = []
    for parcel in fields:
        made += _use_parcel(rng, parcel, grassy)
    return made


def _use_parcel(rng: np.random.Generator, parcel: Polygon, grassy: float) -> list[Feature]:
    angle, _, short_m = find_direction(parcel)
    draw = rng.random()
    kind = int(rng.integers(2))
    if draw < 0.009 and parcel.area < 40000:
        tags = {"natural": "wood", "leaf_type": ("broadleaved", "needleleaved")[kind]}
        return [
            Feature(
                cover=(Cover.WOOD_BROAD, Cover.WOOD_NEEDLE)[kind], geometry=parcel, tags=tags, height_m=15
            )
        ]
    if draw < 0.05:
        return [
            Feature(
                cover=Cover.ORCHARD, geometry=parcel, tags={"landuse": "orchard"}, height_m=4, angle_rad=angle
            )
        ]
    if draw < 0.055 and 12000 < parcel.area < 90000:
        tags = {"power": "plant", "plant:source": "solar"}
        return [
            Feature(cover=Cover.SOLAR, geometry=parcel.buffer(-8), tags=tags, height_m=2, angle_rad=angle)
        ]
    if short_m < 22 or rng.random() < 0.12 + 0.75 * grassy:
        tags = {"landuse": "meadow"}
        meadow = Feature(cover=Cover.MEADOW, geometry=parcel, tags=tags, angle_rad=angle, style=kind)
        return [meadow, *_hedge(rng, parcel, 0.16)]
    crop = int(rng.choice(len(CROP_NAMES), p=CROP_ODDS))
    tags = {"landuse": "farmland", "crop": CROP_NAMES[crop]}
    turned = angle + rng.normal(0, 0.02)
    field = Feature(cover=Cover.FIELD, geometry=parcel, tags=tags, style=crop, angle_rad=turned)
    return [field, *_hedge(rng, parcel, 0.09)]


def _hedge(rng: np.random.Generator, parcel: Polygon, odds: float) -> list[Feature]:
    """Plant a hedge or a row of trees along one stretch of a parcel's border."""
    if rng.random() > odds:
        return []
    ring = parcel.exterior
    start = rng.uniform(0, ring.length)
    line = take_stretch(ring, start, min(start + rng.uniform(80, 400), ring.length))
    tall = bool(rng.random() < 0.4)
    tags = {"natural": "tree_row"} if tall else {"barrier": "hedge"}
    return [
        Feature(
            cover=Cover.WOOD_BROAD,
            geometry=part,
            tags=tags,
            width_m=7 if tall else 5,
            height_m=11 if tall else 3,
        )
        for part in iterate_lines(line, min_m=40)
    ]


def _build_farms(rng: np.random.Generator, tracks: list[Road], blocked: BaseGeometry) -> list[Feature]:
    """Build a farmstead beside some tracks: a yard, a barn or two and a house."""
    made: list[Feature] = []
    for road in tracks:
        if rng.random() > 0.22 or road.line.length < 150:
            continue
        at = road.line.length * rng.uniform(0.2, 0.8)
        p, q = (np.array(road.line.interpolate(at + d).coords[0]) for d in (0, 5))
        u = (q - p) / max(float(np.hypot(*(q - p))), 1e-6)
        v = np.array([-u[1], u[0]])
        yard = Polygon([p + v * 5, p + v * 5 + u * 80, p + v * 70 + u * 80, p + v * 70])
        if blocked.intersects(yard):
            continue
        angle = float(np.arctan2(u[1], u[0]))
        made.append(Feature(cover=Cover.GARDEN, geometry=yard, tags={"landuse": "farmyard"}, style=2))
        for x, y, w, d, kind in (
            (8, 12, 38, 17, "barn"),
            (8, 42, 28, 15, "farm_auxiliary"),
            (56, 14, 15, 11, "house"),
        ):
            o = p + u * x + v * y
            ring = [o, o + u * w, o + u * w + v * d, o + v * d]
            roof = int(rng.choice(5, p=(0.2, 0.35, 0.25, 0.12, 0.08)))
            tags = {"building": kind}
            made.append(
                Feature(
                    cover=Cover.BUILDING,
                    geometry=Polygon(ring),
                    tags=tags,
                    height_m=7,
                    style=roof,
                    angle_rad=angle,
                )
            )
    return made
