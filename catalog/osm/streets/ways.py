"""Choose the ways of an extract that are streets of a kind, and write them for osmnx."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import quoteattr

import osmium
from osmium.osm import NODE, WAY

from catalog.grid import BoundsLonLat
from catalog.osm.area_filter import find_nodes
from catalog.osm.extract import read_objects, telling_broken_texts
from catalog.osm.passes import index_locations
from catalog.osm.plan import NetworkKind
from catalog.osm.records import ExtractFacts, Tags

_log = logging.getLogger(__name__)

_NOT_IN_USE = ("abandoned", "construction", "no", "planned", "platform", "proposed", "raceway", "razed")
_NO_STREET = (*_NOT_IN_USE, "rest_area", "services")
_NO_CAR = (
    *("bridleway", "bus_guideway", "corridor", "cycleway", "elevator", "escalator", "footway", "path"),
    *("pedestrian", "service", "steps", "track"),
)
_BESIDE_A_STREET = ("alley", "driveway", "emergency_access", "parking", "parking_aisle", "private")
_SIDEWALKS = ("sidewalk", "sidewalk:both", "sidewalk:left", "sidewalk:right")

EXCLUSIONS: Mapping[NetworkKind, Mapping[str, tuple[str, ...]]] = {
    "all": {"area": ("yes",), "highway": _NO_STREET},
    "drive": {
        "area": ("yes",),
        "access": ("private",),
        "highway": (*_NO_STREET, *_NO_CAR),
        "motor_vehicle": ("no",),
        "motorcar": ("no",),
        "service": _BESIDE_A_STREET,
    },
    "walk": {
        "area": ("yes",),
        "access": ("private",),
        "highway": (*_NO_STREET, "bus_guideway", "cycleway", "motor"),
        "foot": ("no",),
        "service": ("private",),
        **dict.fromkeys(_SIDEWALKS, ("separate",)),  # the sidewalk is a way of its own then
    },
    "bike": {
        "area": ("yes",),
        "access": ("private",),
        "highway": (
            *(*_NO_STREET, "bus_guideway", "motor"),
            *("corridor", "elevator", "escalator", "footway", "steps"),
        ),
        "bicycle": ("no",),
        "service": ("private",),
    },
}
"""For each kind of network: a way with ``highway`` is out when one of these keys' values *contains* one of
these words (so that ``motor`` stands for ``motorway`` and ``motorway_link``). Same choice as osmnx 2.1."""

_WAY_TAGS = (
    *("access", "bridge", "highway", "junction", "lanes", "maxspeed", "name", "oneway", "ref"),
    *("service", "tunnel", "width"),
)
_NODE_TAGS = ("highway", "junction", "railway", "ref")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class _Street:
    id: int
    nodes: tuple[int, ...]
    tags: Tags


def is_street(tags: Tags, kind: NetworkKind) -> bool:
    """Say whether a way with these tags belongs to a network."""
    if "highway" not in tags:
        return False
    return not any(word in tags.get(key, "") for key, words in EXCLUSIONS[kind].items() for word in words)


def write_streets(extract: ExtractFacts, area: BoundsLonLat | None, kind: NetworkKind, target: Path) -> int:
    """Write the streets that have a node in the area as OSM XML, whole, with all their nodes.

    Args:
        extract: Any OSM file, in any order.
        area: Degrees; west > east crosses the antimeridian; None takes all.
        kind: Whose streets.
        target: XML file to write.

    Returns:
        How many streets; with none the file holds none.

    Raises:
        DataError: the extract cannot be read to its end.
        ConfigError: no room for the temporary file that holds the places of a big extract's nodes.
    """
    places: dict[int, tuple[float, float]] = {}
    with telling_broken_texts(extract.path):
        streets = sorted(_find_streets(extract, area, kind, places), key=lambda street: street.id)
        node_tags = _find_node_tags(extract.path, places)
    with target.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<osm version="0.6" generator="terraloom">\n')
        for number, (lon, lat) in sorted(places.items()):
            file.write(f'<node id="{number}" lon="{lon:.7f}" lat="{lat:.7f}">')
            _write_tags(file, node_tags.get(number, {}), "</node>\n")
        for street in streets:
            file.write(f'<way id="{street.id}">' + "".join(f'<nd ref="{node}"/>' for node in street.nodes))
            _write_tags(file, street.tags, "</way>\n")
        file.write("</osm>\n")
    return len(streets)


def _find_streets(
    extract: ExtractFacts,
    area: BoundsLonLat | None,
    kind: NetworkKind,
    places: dict[int, tuple[float, float]],
) -> Iterator[_Street]:
    """Yield the streets, and note where their nodes are."""
    with index_locations(extract) as locations:
        find_nodes(extract.path, locations, None)
        # The filter runs before Python sees an object: only ways with a highway tag come through.
        for way in read_objects(extract.path, WAY, osmium.filter.KeyFilter("highway"), locations):
            tags = dict(way.tags)
            if not is_street(tags, kind):
                continue
            run = _longest_run(way)
            if len(run) < 2 or not (area is None or any(_contains(area, lon, lat) for _, lon, lat in run)):
                continue
            places.update({number: (lon, lat) for number, lon, lat in run})
            yield _Street(way.id, tuple(number for number, _, _ in run), _pick(tags, _WAY_TAGS))


def _longest_run(way: Any) -> list[tuple[int, float, float]]:  # noqa: ANN401 - pyosmium has no types
    """Return a way's nodes as (id, lon, lat); where some are lacking, the longest stretch without gap."""
    runs: list[list[tuple[int, float, float]]] = [[]]
    for node in way.nodes:
        if not node.location.valid():
            runs.append([])
        elif not (runs[-1] and runs[-1][-1][0] == node.ref):  # a node after itself is no stretch of street
            runs[-1].append((node.ref, node.lon, node.lat))
    if len(runs) > 1:
        _log.info("way %d lacks %d nodes in the extract; its longest stretch is used", way.id, len(runs) - 1)
    return max(runs, key=len)


def _find_node_tags(path: str, places: Mapping[int, object]) -> dict[int, Tags]:
    nodes = read_objects(path, NODE, osmium.filter.KeyFilter(*_NODE_TAGS))
    return {node.id: _pick(dict(node.tags), _NODE_TAGS) for node in nodes if node.id in places}


def _pick(tags: Tags, keys: tuple[str, ...]) -> Tags:
    return {key: tags[key] for key in keys if key in tags}


def _write_tags(file: TextIO, tags: Tags, end: str) -> None:
    for key, value in tags.items():
        file.write(f'<tag k="{key}" v={quoteattr(_NOT_XML.sub("", value))}/>')
    file.write(end)


def _contains(area: BoundsLonLat, lon: float, lat: float) -> bool:
    west, south, east, north = area
    inside = west <= lon <= east if west < east else lon >= west or lon <= east
    return inside and south <= lat <= north
