"""Assemble the sample town: everything on its ground, as vectors, from one seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from catalog.sample.countryside import farm_country
from catalog.sample.cover import LAYER, Cover, Feature
from catalog.sample.frame import FloatArray, Frame
from catalog.sample.harbour import Harbour, build_harbour
from catalog.sample.landscape import Landscape, shape_landscape
from catalog.sample.network import WIDTH_M, Network, Road, lay_network
from catalog.sample.parcels import CutRule, cut_parcels, move_aside, take_stretch
from catalog.sample.settlement import build_estate, clip_lines, settle


@dataclass(frozen=True, kw_only=True)
class Town:
    """Hold the finished town in local metres."""

    frame: Frame
    seed: int
    features: tuple[Feature, ...]
    """In painting order."""
    relief_m: FloatArray
    """``(y, x)`` ground height on the padded canvas, north up, metres; coarser than the canvas."""
    berths: tuple[BaseGeometry, ...]
    """Lines along which ships lie."""


def build_town(seed: int, frame: Frame) -> Town:
    """Build the town of one seed on one frame; the same arguments give the same town."""
    land = shape_landscape(seed, frame)
    net = lay_network(seed, land)
    harbour = build_harbour(seed, land)
    sea = land.sea.difference(harbour.ground).union(harbour.water)
    water = shapely.union_all([sea, land.river, land.lake])
    estate = _place_estate(land, net, water)
    shore = sea.buffer(22)
    taken = shapely.union_all(
        [water.buffer(6), shore, harbour.ground, harbour.industry, net.yard.buffer(6), estate]
    )
    built, streets = settle(seed, land, net, taken)
    rng = np.random.default_rng([seed, 6])
    for ground in (harbour.industry.difference(water.buffer(10)).difference(net.yard), estate):
        halls, lanes = build_estate(rng, ground)
        built, streets = built + halls, streets + lanes
    settled = shapely.union_all([taken, net.town, *net.villages, *(wood.buffer(0) for wood in land.woods)])
    farmed, tracks = farm_country(seed, land, net, settled.buffer(2))
    open_water = shapely.union_all([sea.buffer(8), harbour.water])
    wet = shapely.union_all([water, settled])
    roads = clip_lines([*net.roads, *streets], open_water) + clip_lines(tracks, wet)
    features = [
        *_paint_nature(rng, land, sea, harbour),
        *farmed,
        *built,
        *harbour.features,
        *_paint_lines(net, roads),
    ]
    features.sort(key=lambda feature: LAYER[feature.cover])
    return _turn(
        Town(frame=frame, seed=seed, features=tuple(features), relief_m=land.relief_m, berths=harbour.berths)
    )


def _place_estate(land: Landscape, net: Network, water: BaseGeometry) -> BaseGeometry:
    """Place an industrial estate where the trunk road passes north-east of the town."""
    trunk = net.roads[-1].line
    cx, cy = land.centre_xy
    r = land.radius_m
    at = trunk.project(shapely.Point(cx + 1.25 * r, cy + 1.2 * r))
    strip = move_aside(take_stretch(trunk, at - 0.4 * r, at + 0.4 * r), -0.16 * r)
    return strip.buffer(0.12 * r, cap_style="flat").difference(water.buffer(30)).difference(net.town)


def _paint_nature(
    rng: np.random.Generator, land: Landscape, sea: BaseGeometry, harbour: Harbour
) -> Iterable[Feature]:
    """Yield water, beach, woods and the grass below everything."""
    yield Feature(cover=Cover.MEADOW, geometry=land.world, style=1)
    for wood in land.woods:
        stands, _ = cut_parcels(rng, wood, CutRule(target_m2=160000, tilt_rad=0.3, jitter=0.3, spread=0.7))
        habit = rng.random()
        for stand in stands:
            needle = bool(rng.random() < (0.12 if habit < 0.55 else 0.8))
            cover = Cover.WOOD_NEEDLE if needle else Cover.WOOD_BROAD
            tags = {"landuse": "forest", "leaf_type": "needleleaved" if needle else "broadleaved"}
            yield Feature(cover=cover, geometry=stand, tags=tags, height_m=float(rng.uniform(12, 22)))
    shore = _lay_beach(rng, sea).difference(shapely.union_all([harbour.ground, harbour.water.buffer(70)]))
    scrub = shore.buffer(28).intersection(land.world)
    yield Feature(cover=Cover.SCRUB, geometry=scrub, tags={"natural": "heath"}, height_m=1.0)
    yield Feature(
        cover=Cover.BEACH, geometry=shore.difference(sea).intersection(land.world), tags={"natural": "beach"}
    )
    bank = land.river.buffer(14).difference(land.river)
    yield Feature(cover=Cover.SCRUB, geometry=bank, height_m=2.0)
    yield Feature(cover=Cover.SEA, geometry=sea, tags={"natural": "water", "water": "sea"})
    yield Feature(cover=Cover.RIVER, geometry=land.river, tags={"natural": "water", "water": "river"})
    yield Feature(
        cover=Cover.RIVER, geometry=land.river_line, tags={"waterway": "river", "name": "Weft"}, width_m=4
    )
    yield Feature(cover=Cover.LAKE, geometry=land.lake, tags={"natural": "water", "water": "lake"})


def _lay_beach(rng: np.random.Generator, sea: BaseGeometry) -> BaseGeometry:
    """Lay sand along the shore, wide in some places, hardly any in others."""
    line = np.full(60, sea.boundary, dtype=object)
    spots = shapely.line_interpolate_point(line, rng.random(60), normalized=True)
    wide = shapely.union_all(shapely.buffer(spots[:30], rng.uniform(120, 520, 30)))
    wider = shapely.union_all(shapely.buffer(spots[30:], rng.uniform(60, 260, 30)))
    strip = sea.buffer(9).union(sea.buffer(26).intersection(wide)).union(sea.buffer(48).intersection(wider))
    return strip.buffer(14).buffer(-14)


def _paint_lines(net: Network, roads: list[Road]) -> Iterable[Feature]:
    """Yield roads and rails as ribbons with their tags."""
    for road in sorted(roads, key=lambda r: WIDTH_M[r.kind]):
        cover = Cover.TRACK if road.kind == "track" else Cover.ROAD
        yield Feature(
            cover=cover, geometry=road.line, tags={"highway": road.kind}, width_m=WIDTH_M[road.kind]
        )
    yield Feature(cover=Cover.RAIL, geometry=net.yard, tags={"landuse": "railway"}, style=1)
    for line in net.rails:
        yield Feature(cover=Cover.RAIL, geometry=line, tags={"railway": "rail", "usage": "main"}, width_m=11)
    for track in net.yard_tracks:
        yield Feature(
            cover=Cover.RAIL,
            geometry=track,
            tags={"railway": "rail", "service": "yard"},
            width_m=4.5,
            style=2,
        )


def _turn(town: Town) -> Town:
    """Turn and mirror the whole world, so that the sea is not always to the south."""
    rng = np.random.default_rng([town.seed, 7])
    quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    side = town.frame.extent_m

    def move(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = points.T
        x = side - x if mirrored else x
        for _ in range(quarters):
            x, y = side - y, x
        return np.column_stack([x, y])

    def angle(value: float) -> float:
        return (np.pi - value if mirrored else value) + quarters * np.pi / 2

    shapes = np.array([f.geometry for f in town.features], dtype=object)
    moved = shapely.transform(shapes, move)
    broken = ~shapely.is_valid(moved)
    moved[broken] = shapely.make_valid(moved[broken])
    features = tuple(
        replace(feature, geometry=geometry, angle_rad=angle(feature.angle_rad))
        for feature, geometry in zip(town.features, moved, strict=True)
    )
    relief = np.rot90(np.fliplr(town.relief_m) if mirrored else town.relief_m, quarters)
    berths = tuple(shapely.transform(np.array(town.berths, dtype=object), move))
    return replace(town, features=features, relief_m=np.ascontiguousarray(relief), berths=berths)
