"""Lay roads and rails: a ring, radials, villages joined to neighbours, a trunk road, a line with a yard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from scipy.spatial import Delaunay
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from catalog.sample.landscape import Landscape, Points, bend, draw_outline, wander
from catalog.sample.parcels import iterate_lines, iterate_polygons, move_aside, take_stretch

WIDTH_M = {
    "trunk": 26.0,
    "primary": 13.0,
    "secondary": 11.0,
    "tertiary": 8.5,
    "residential": 8.0,
    "service": 7.0,
    "track": 5.0,
}
"""Width drawn for each class of ``highway``, kerb to kerb with its verges, metres."""


@dataclass(frozen=True, kw_only=True)
class Road:
    """Hold one stretch of road."""

    kind: str
    """Value of ``highway``."""
    line: LineString


@dataclass(frozen=True, kw_only=True)
class Network:
    """Hold the traffic lines of the town and its country."""

    town: Polygon
    villages: tuple[Polygon, ...]
    village_centres: Points
    roads: tuple[Road, ...]
    rails: tuple[LineString, ...]
    yard: BaseGeometry
    yard_tracks: tuple[LineString, ...]
    station_xy: tuple[float, float]


def lay_network(seed: int, land: Landscape) -> Network:
    """Lay all the traffic lines of one seed."""
    rng = np.random.default_rng([seed, 2])
    centre = np.array(land.centre_xy)
    villages = _choose_villages(rng, land)
    ring, ring_nodes = _lay_ring(rng, land)
    roads = [Road(kind="primary", line=ring)] if ring is not None else []
    places = np.vstack([centre[None], ring_nodes, villages, _exits(rng, land)])
    roads += _join_places(rng, land, places, len(ring_nodes))
    core = Point(land.centre_xy).buffer(0.14 * land.radius_m)
    roads = [Road(kind=r.kind, line=line) for r in roads for line in iterate_lines(r.line.difference(core))]
    roads.append(Road(kind="secondary", line=LineString(core.exterior.coords)))
    roads.append(Road(kind="trunk", line=_lay_trunk(rng, land)))
    town = _outline_town(rng, land, roads)
    rail, yard, tracks, station = _lay_rail(rng, land)
    streets = shapely.union_all([road.line for road in roads])
    wet = shapely.union_all([land.river.buffer(15), land.sea.buffer(40), land.lake.buffer(20)])
    outlines = tuple(_outline_village(rng, xy, streets).difference(wet) for xy in villages)
    return Network(
        town=town,
        villages=tuple(max(iterate_polygons(o), key=lambda part: float(part.area)) for o in outlines),
        village_centres=villages,
        roads=tuple(roads),
        rails=rail,
        yard=yard,
        yard_tracks=tracks,
        station_xy=station,
    )


def _outline_town(rng: np.random.Generator, land: Landscape, roads: list[Road]) -> Polygon:
    """Let the town reach out along its roads."""
    blob = draw_outline(rng, land.centre_xy, 0.82 * land.radius_m, 0.4)
    reach = Point(land.centre_xy).buffer(rng.uniform(1.15, 1.4) * land.radius_m)
    fingers = shapely.union_all([road.line.intersection(reach) for road in roads[:-1]])
    blob = blob.union(fingers.buffer(0.07 * land.radius_m + 30)).buffer(45).buffer(-70)
    dry = blob.intersection(land.land.buffer(-25))
    return max(iterate_polygons(dry), key=lambda part: float(part.area))


def _outline_village(rng: np.random.Generator, xy: Points, streets: BaseGeometry) -> BaseGeometry:
    """Let a village sprawl along its streets."""
    core = draw_outline(rng, (xy[0], xy[1]), rng.uniform(100, 220), 0.5)
    along = streets.intersection(Point(xy).buffer(rng.uniform(240, 480))).buffer(rng.uniform(42, 60))
    return core.union(along).buffer(20).buffer(-25)


def _choose_villages(rng: np.random.Generator, land: Landscape) -> Points:
    """Scatter villages away from the town, from the water and from each other."""
    x0, y0, x1, y1 = land.world.bounds
    side = x1 - x0
    spacing = max(0.15 * side, 1000.0)
    wet = shapely.union_all([land.sea.buffer(350), land.river.buffer(110), land.lake.buffer(150)])
    chosen: list[Points] = []
    for _ in range(400):
        spot = rng.uniform([x0 + 0.08 * side, y0 + 0.08 * side], [x1 - 0.08 * side, y1 - 0.08 * side])
        far = np.hypot(*(spot - land.centre_xy)) > 1.55 * land.radius_m
        apart = all(np.hypot(*(spot - other)) > spacing for other in chosen)
        if far and apart and not wet.contains(Point(spot)):
            chosen.append(spot)
        if len(chosen) == 12:
            break
    return np.array(chosen).reshape(-1, 2)


def _lay_ring(rng: np.random.Generator, land: Landscape) -> tuple[LineString | None, Points]:
    angle = np.linspace(0, 2 * np.pi, 9)[:-1] + rng.uniform(0, 0.7)
    reach = land.radius_m * rng.uniform(0.62, 0.78, angle.size)
    nodes = np.array(land.centre_xy) + np.column_stack([np.cos(angle), np.sin(angle)]) * reach[:, None]
    closed = bend(np.vstack([nodes, nodes[:1]]))
    dry = closed.intersection(land.land.buffer(-90))
    lines = list(iterate_lines(shapely.line_merge(dry), min_m=300))
    inside = shapely.contains_xy(land.land.buffer(-90), nodes)
    return (max(lines, key=lambda line: line.length) if lines else None), nodes[inside]


def _exits(rng: np.random.Generator, land: Landscape) -> Points:
    """Choose where roads leave the world, on its three dry sides."""
    x0, y0, x1, y1 = land.world.bounds
    share = np.array([0.45, 0.68, 0.9]) + rng.uniform(-0.06, 0.06, 3)
    west = np.column_stack([np.full(3, x0), y0 + share * (y1 - y0)])
    east = np.column_stack([np.full(3, x1), y0 + (share - 0.05) * (y1 - y0)])
    across = np.array([0.15, 0.5, 0.82]) + rng.uniform(-0.08, 0.08, 3)
    north = np.column_stack([x0 + across * (x1 - x0), np.full(3, y1)])
    return np.vstack([west, north, east])


def _join_places(rng: np.random.Generator, land: Landscape, places: Points, ring_count: int) -> list[Road]:
    """Join each place to its Gabriel neighbours: no third place inside the circle over the two."""
    edges: set[tuple[int, int]] = set()
    for a, b, c in Delaunay(places).simplices.tolist():
        edges |= {(min(a, b), max(a, b)), (min(b, c), max(b, c)), (min(a, c), max(a, c))}
    dry = land.land.buffer(-30).difference(land.lake.buffer(20))
    roads = []
    for a, b in sorted(edges):
        start, end = places[a], places[b]
        length = float(np.hypot(*(end - start)))
        gap = np.hypot(*(places - (start + end) / 2).T)
        if (np.delete(gap, [a, b]) < 0.49 * length).any():
            continue
        line = bend(wander(rng, start, end, roughness=0.05, levels=4), step_m=25)
        if not dry.contains(line):
            continue
        kind = "primary" if a == 0 else "secondary" if a <= ring_count or rng.random() < 0.3 else "tertiary"
        roads.append(Road(kind=kind, line=line))
    return roads


def _lay_trunk(rng: np.random.Generator, land: Landscape) -> LineString:
    """Lead the trunk road round the landward side of the town."""
    x0, _, x1, _ = land.world.bounds
    cx, cy = land.centre_xy
    bow = land.radius_m * rng.uniform(1.55, 1.8)
    side = x1 - x0
    points = np.array(
        [
            (x0, cy + 0.35 * bow + 0.06 * side),
            (cx - bow, cy + 0.55 * bow),
            (cx, cy + bow),
            (cx + 1.3 * bow, cy + 1.15 * bow),
            (x1, cy + rng.uniform(1.0, 1.6) * bow),
        ]
    )
    return bend(points, step_m=30)


def _lay_rail(
    rng: np.random.Generator, land: Landscape
) -> tuple[tuple[LineString, ...], BaseGeometry, tuple[LineString, ...], tuple[float, float]]:
    """Lay the main line through the town, a yard beside it and a branch to the harbour."""
    x0, _, x1, _ = land.world.bounds
    cx, cy = land.centre_xy
    r = land.radius_m
    west, east = (cx - 0.55 * r, cy + 0.48 * r), (cx + 0.75 * r, cy + 0.42 * r)
    ends = (cy + r * rng.uniform(0.5, 1.4), cy + r * rng.uniform(0.2, 0.7))
    stops = [(x0, ends[0]), (cx - 1.8 * r, cy + 0.8 * r), west, east, (cx + 2.0 * r, cy + 0.5 * r)]
    line = bend(np.array([*stops, (x1, ends[1])]), step_m=30)
    start = line.project(Point(east)) - 0.25 * r
    end = start + min(0.85 * r, 1300.0)
    axis = take_stretch(line, start, end)
    tracks = tuple(
        take_stretch(move_aside(axis, -9.0 * k), 35.0 * k, axis.length - 35.0 * k) for k in range(1, 8)
    )
    yard = move_aside(axis, -32.0).buffer(48.0, cap_style="flat")
    harbour = (land.mouth_xy[0] + 0.75 * r, land.mouth_xy[1] + 0.12 * r)
    last = shapely.get_coordinates(axis)[-1]
    turns = [last, (last[0] + 0.28 * r, last[1] - 0.2 * r), (harbour[0] + 0.5 * r, harbour[1] + 0.1 * r)]
    branch = bend(np.array([*turns, harbour]), step_m=20)
    station = line.interpolate(line.project(Point(cx, cy + 0.45 * r)))
    return (line, branch), yard, tracks, (station.x, station.y)
