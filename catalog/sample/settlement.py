"""Turn the outlines of town and villages into streets, blocks and buildings."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from catalog.sample.blocks import fill_block
from catalog.sample.cover import Cover, Feature
from catalog.sample.landscape import Landscape
from catalog.sample.network import Network, Road
from catalog.sample.parcels import (
    CutRule,
    cut_parcels,
    iterate_lines,
    iterate_polygons,
    move_aside,
    take_stretch,
)


def settle(
    seed: int, land: Landscape, net: Network, blocked: BaseGeometry
) -> tuple[list[Feature], list[Road]]:
    """Build up the town and its villages.

    Args:
        seed: Seed of the world.
        land: Natural ground.
        net: Roads and rails.
        blocked: Ground already in use (harbour, yard, water).

    Returns:
        Features and the new streets.
    """
    rng = np.random.default_rng([seed, 4])
    features: list[Feature] = []
    streets: list[Road] = []
    lines = [road.line for road in net.roads] + [*net.rails, land.river_line]
    for cell in _cut_cells(net.town.difference(blocked), lines):
        distance = _far(cell, land) / land.radius_m
        target = float(np.interp(distance, [0.1, 0.5, 1.0], [6500, 13000, 17000])) * rng.uniform(0.8, 1.3)
        rule = CutRule(target_m2=target, max_aspect=1.9, tilt_rad=0.05)
        blocks, cuts = cut_parcels(rng, cell, rule)
        streets += [Road(kind="residential", line=cut) for cut in cuts]
        mood = _choose_mood(rng, cell, distance, net)
        for block in blocks:
            features += fill_block(rng, block, use=_choose_use(rng, block, mood, land))
    for outline in net.villages:
        for cell in _cut_cells(outline.difference(blocked), lines):
            blocks, cuts = cut_parcels(rng, cell, CutRule(target_m2=12000, max_aspect=2.0, tilt_rad=0.12))
            streets += [Road(kind="residential", line=cut) for cut in cuts]
            for block in blocks:
                features += fill_block(rng, block, use="park" if rng.random() < 0.06 else "houses")
        features += _build_church(rng, outline)
    features += [*_build_station(net), *_name_places(land, net)]
    return features, streets


def build_estate(rng: np.random.Generator, ground: BaseGeometry) -> tuple[list[Feature], list[Road]]:
    """Build an industrial estate with its service roads on one piece of ground."""
    features: list[Feature] = []
    roads: list[Road] = []
    for cell in iterate_polygons(ground, min_m2=3000):
        blocks, cuts = cut_parcels(rng, cell, CutRule(target_m2=42000, max_aspect=2.0, tilt_rad=0.0))
        roads += [Road(kind="service", line=cut) for cut in cuts]
        for block in blocks:
            features += fill_block(rng, block, use="industry" if rng.random() < 0.85 else "retail")
    return features, roads


def _far(cell: Polygon, land: Landscape) -> float:
    return float(cell.representative_point().distance(Point(land.centre_xy)))


def _cut_cells(ground: BaseGeometry, lines: list[LineString]) -> list[Polygon]:
    """Cut ground along lines into the cells between them."""
    near = [line for line in lines if line.intersects(ground)]
    cells = shapely.polygonize([shapely.union_all([ground.boundary, *near])])
    inside = shapely.get_parts(cells)
    points = shapely.point_on_surface(inside)
    return [cell for cell in inside[shapely.contains(ground, points)] if cell.area > 400]


def _choose_mood(rng: np.random.Generator, cell: Polygon, distance: float, net: Network) -> str:
    """Choose the character of a quarter."""
    if distance < 0.3:
        return "centre"
    station = Point(net.station_xy)
    if distance > 0.45 and _is_roomy(cell) and cell.distance(net.yard) < 150 and rng.random() < 0.7:
        return "industry"
    if distance < 0.5 and cell.distance(station) < 500 and rng.random() < 0.5:
        return "centre"
    return (
        str(rng.choice(["houses", "slabs", "industry"], p=[0.8, 0.13, 0.07])) if _is_roomy(cell) else "houses"
    )


def _is_roomy(cell: Polygon) -> bool:
    """Tell whether a quarter is large and compact enough for halls."""
    return cell.area > 50000 and 4 * np.pi * cell.area / cell.length**2 > 0.42


def _choose_use(rng: np.random.Generator, block: Polygon, mood: str, land: Landscape) -> str:
    draw = rng.random()
    if mood == "industry":
        return "industry" if draw < 0.85 else "retail"
    if _far(block, land) < 0.16 * land.radius_m or (mood == "centre" and draw < 0.8):
        return "park" if draw < 0.05 else "centre"
    rare = {0.045: "park", 0.065: "school", 0.075: "cemetery", 0.095: "retail", 0.16: "slabs"}
    for share, use in rare.items():
        if draw < share:
            return use
    return "slabs" if mood == "slabs" and draw < 0.75 else "houses"


def _build_church(rng: np.random.Generator, outline: Polygon) -> list[Feature]:
    spot = np.array(outline.centroid.coords[0])
    angle = rng.uniform(-0.2, 0.2)
    along, across = (
        np.array([np.cos(angle), np.sin(angle)]) * 15,
        np.array([-np.sin(angle), np.cos(angle)]) * 7,
    )
    ring = [spot - along - across, spot + along - across, spot + along + across, spot - along + across]
    tags = {"building": "church", "amenity": "place_of_worship"}
    return [Feature(cover=Cover.BUILDING, geometry=Polygon(ring), tags=tags, height_m=16, angle_rad=angle)]


def _build_station(net: Network) -> list[Feature]:
    """Put the station hall beside the line, and its name on the line."""
    spot = Point(net.station_xy)
    line = net.rails[0]
    at = line.project(spot)
    hall = move_aside(take_stretch(line, at - 45, at + 45), -22).buffer(8, cap_style="flat")
    platform = move_aside(take_stretch(line, at - 110, at + 110), -9).buffer(3.5, cap_style="flat")
    found = [
        Feature(cover=Cover.BUILDING, geometry=hall, tags={"building": "train_station"}, height_m=12, style=2)
    ]
    tags = {"railway": "platform", "public_transport": "platform"}
    found.append(Feature(cover=Cover.QUAY, geometry=platform, tags=tags))
    found.append(Feature(cover=Cover.RAIL, geometry=spot, tags={"railway": "station", "name": "Loomhaven"}))
    return [
        f for f in found if f.geometry.geom_type == "Point" or any(True for _ in iterate_polygons(f.geometry))
    ]


def _name_places(land: Landscape, net: Network) -> list[Feature]:
    """Name the town and its villages, as points on the map."""
    names = (
        "Warpby",
        "Bobbinholm",
        "Heddle",
        "Reedham Ferry",
        "Shuttlewick",
        "Twill",
        "Selvage End",
        "Carding",
    )
    spots = [Point(land.centre_xy), *(Point(xy) for xy in net.village_centres)]
    made = []
    for number, spot in enumerate(spots):
        name = names[(number - 1) % len(names)] + (" Parva" if number > len(names) else "")
        tags = {"place": "village", "name": name} if number else {"place": "town", "name": "Loomhaven"}
        made.append(Feature(cover=Cover.GARDEN, geometry=spot, tags=tags))
    return made


def clip_lines(roads: list[Road], blocked: BaseGeometry) -> list[Road]:
    """Cut roads back where they would cross blocked ground."""
    shapely.prepare(blocked)
    kept: list[Road] = []
    for road in roads:
        if not blocked.intersects(road.line):
            kept.append(road)
            continue
        kept += [
            Road(kind=road.kind, line=line) for line in iterate_lines(road.line.difference(blocked), min_m=25)
        ]
    return kept
