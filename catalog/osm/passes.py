"""Stream through an extract and keep the elements that are wanted, each id once.

What costs here is Python's work per object (about 2 µs to see one, 12 µs to copy its tags), so an area is
first reduced to ids by bounds alone, and only then are whole elements read.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from array import array
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import osmium
from osmium.osm import NODE, RELATION, WAY

from catalog.osm.extract import read_objects
from catalog.osm.reasons import Fault, name_ids
from catalog.osm.records import ExtractFacts, Tags
from infra.errors import ConfigError, InputError

RELATION_TYPES = ("multipolygon", "boundary")
"""Values of the tag ``type`` that make a relation an area."""

_INDEX_IN_MEMORY_BYTES = 48 << 20
_INDEX_BYTES_PER_FILE_BYTE = 4  # 16 bytes for a node that takes 4 or more in the file
_UNDEFINED = (1 << 31) - 1
_BITMAP_IDS = 1 << 32  # 512 MiB if every part of the bitmap is touched
_MAX_X, _MAX_Y = 1_800_000_000, 900_000_000  # libosmium keeps 1e-7 degrees
WKB_HEADER_BYTES = 9
"""Before the coordinates of a line, in the form that :func:`line_of` gives."""
_FACTORY = osmium.geom.WKBFactory()


class RawElement(NamedTuple):
    """Hold a node or a way as the file has it: the line through its nodes, not yet made valid."""

    version: int
    time_s: int
    """Last edit, seconds since 1970 UTC; 0 when the file does not say."""
    tags: Tags
    closed: bool
    """Whether a way ends at the node where it begins."""
    wkb: bytes | None
    """Point, or line through all nodes, lon/lat degrees; None when there is a fault."""
    fault: Fault | None


class RawRelation(NamedTuple):
    """Hold a relation as the file has it."""

    version: int
    time_s: int
    tags: Tags
    members: tuple[tuple[int, str], ...]
    """Id and role of each member that is a way, in the file's order."""


_Object = osmium.osm.Node | osmium.osm.Way | osmium.osm.Relation
_Versioned = TypeVar("_Versioned", RawElement, RawRelation)


@contextmanager
def index_locations(extract: ExtractFacts) -> Iterator[osmium.NodeLocationsForWays]:
    """Give a pyosmium handler that keeps the nodes' places, in memory or, for a big file, in a file.

    The file lies in the folder for temporary files, takes 16 bytes a node, and is removed at the end. Its
    pages are mapped, not owned: the system takes them back when memory is short.

    Raises:
        ConfigError: that folder has too little room.
    """
    if extract.size < _INDEX_IN_MEMORY_BYTES:
        yield _location_handler("flex_mem")
        return
    with tempfile.TemporaryDirectory(prefix="terraloom-osm-") as folder:
        _check_room(Path(folder), extract)
        yield _location_handler(f"sparse_file_array,{folder}/locations")


def read_nodes(path: str, wanted: Container[int] | None, limit: int) -> dict[int, RawElement]:
    """Read tagged nodes by id; of several versions the highest, of equals the first.

    Args:
        path: The extract.
        wanted: Ids to keep; None keeps all.
        limit: Most nodes to hold.

    Raises:
        InputError: there are more than ``limit``.
        DataError: as ``read_objects``.
    """
    rows: dict[int, RawElement] = {}
    for node in read_objects(path, NODE, osmium.filter.EmptyTagFilter()):
        if (wanted is None or node.id in wanted) and _is_newer(node, rows):
            rows[node.id] = _raw_node(node)
            _check_count(rows, limit)
    return rows


def read_ways(
    path: str,
    locations: osmium.NodeLocationsForWays,
    wanted: set[int] | None,
    members: set[int],
    limit: int,
) -> dict[int, RawElement]:
    """Read ways by id: the tagged ones that are wanted, and all that relations need.

    Args:
        path: The extract.
        locations: Handler that has seen the nodes.
        wanted: Ids of tagged ways to keep; None keeps all that have tags.
        members: Ids to keep with or without tags.
        limit: Most ways to hold.

    Raises:
        InputError: there are more than ``limit``.
        DataError: as ``read_objects``.
    """
    rows: dict[int, RawElement] = {}
    chosen = None if wanted is None else wanted | members
    for way in read_objects(path, WAY, *_id_filter(chosen), locations):
        if chosen is not None and way.id not in chosen:
            continue
        if (len(way.tags) or way.id in members) and _is_newer(way, rows):
            rows[way.id] = _raw_way(way)
            _check_count(rows, limit)
    return rows


def read_relations(path: str, wanted: Container[int] | None, limit: int) -> dict[int, RawRelation]:
    """Read the relations that are areas by id; parameters and errors as :func:`read_nodes`."""
    rows: dict[int, RawRelation] = {}
    for relation in _areal_relations(path):
        if (wanted is None or relation.id in wanted) and _is_newer(relation, rows):
            members = tuple((member.ref, member.role) for member in relation.members if member.type == "w")
            rows[relation.id] = RawRelation(relation.version, _seconds(relation), _tags(relation), members)
            _check_count(rows, limit)
    return rows


def list_members(path: str) -> dict[int, array[int]]:
    """List the ids of the member ways of every relation that is an area: 8 bytes each."""
    rows: dict[int, tuple[int, array[int]]] = {}
    for relation in _areal_relations(path):
        if relation.id not in rows or relation.version > rows[relation.id][0]:
            refs = array("q", (member.ref for member in relation.members if member.type == "w"))
            rows[relation.id] = relation.version, refs
    return {number: refs for number, (_, refs) in rows.items()}


def line_of(way: osmium.osm.Way) -> bytes | None:
    """Return the line through all nodes of a way as WKB; None when one has no place on Earth."""
    try:
        return bytes.fromhex(_FACTORY.create_linestring(way, osmium.geom.ALL))
    except osmium.InvalidLocationError:  # the caller looks which node it is
        return None


def known_places(way: osmium.osm.Way) -> list[tuple[int, int]]:
    """Return the places of the nodes that have one, 1e-7 degrees lon/lat."""
    places = [(node.x, node.y) for node in way.nodes]
    return [place for place in places if on_earth(*place)]


def on_earth(x: int, y: int) -> bool:
    """Say whether a place in 1e-7 degrees is one on Earth."""
    return -_MAX_X <= x <= _MAX_X and -_MAX_Y <= y <= _MAX_Y


def _location_handler(storage: str) -> osmium.NodeLocationsForWays:
    handler = osmium.NodeLocationsForWays(osmium.index.create_map(storage))
    handler.ignore_errors()
    return handler


def _check_room(folder: Path, extract: ExtractFacts) -> None:
    # A full disk would end the process by a signal, when a mapped page finds no place.
    need, free = extract.size * _INDEX_BYTES_PER_FILE_BYTE, shutil.disk_usage(folder).free
    if free < need:
        raise ConfigError(
            f"reading {extract.path} may need {need >> 20} MiB for an index of its nodes, and {folder} has "
            f"{free >> 20} MiB; free some, or name another folder in TMPDIR"
        )


def _id_filter(ids: set[int] | None) -> tuple[osmium.filter.IdFilter, ...]:
    # A bitmap over all ids up to the highest: 180 MB at most for today's ways. For nodes it would be 1.5 GB.
    # Libosmium takes no negative ids, which editors give to what is not uploaded yet; and for forged ones
    # up to 2**63 no machine has the memory.
    if ids is None or any(not 0 <= number < _BITMAP_IDS for number in ids):
        return ()
    return (osmium.filter.IdFilter(ids),)


def _areal_relations(path: str) -> Iterator[osmium.osm.Relation]:
    kinds = osmium.filter.TagFilter(*(("type", value) for value in RELATION_TYPES))
    return read_objects(path, RELATION, kinds)


def _is_newer(item: _Object, rows: dict[int, _Versioned]) -> bool:
    known = rows.get(item.id)
    return known is None or item.version > known.version


def _check_count(rows: dict[int, Any], limit: int) -> None:
    if len(rows) > limit:
        raise InputError(f"the area holds more than {limit} OSM features; give a smaller --bbox")


def _raw_node(node: osmium.osm.Node) -> RawElement:
    place = node.location
    if on_earth(place.x, place.y):
        wkb, fault = struct.pack("<BIdd", 1, 1, place.x / 1e7, place.y / 1e7), None
    elif place.x == _UNDEFINED:
        wkb, fault = None, Fault("no-location", f"node {node.id} states no coordinates")
    else:
        said = f"node {node.id} is at lon {place.x / 1e7:g}, lat {place.y / 1e7:g}"
        wkb, fault = None, Fault("off-earth", said)
    return RawElement(node.version, _seconds(node), _tags(node), False, wkb, fault)


def _raw_way(way: osmium.osm.Way) -> RawElement:
    count = len(way.nodes)
    wkb: bytes | None
    fault: Fault | None
    if count < 2:
        wkb, fault = None, Fault("too-few-nodes", f"way {way.id} has {count} nodes, and a line needs 2")
    else:
        wkb = line_of(way)
        fault = None if wkb is not None else _find_fault(way)
    closed = count > 0 and way.is_closed()
    return RawElement(way.version, _seconds(way), _tags(way), closed, wkb, fault)


def _find_fault(way: osmium.osm.Way) -> Fault:
    missing = [node.ref for node in way.nodes if node.x == _UNDEFINED]
    if missing:
        said = f"way {way.id} refers to nodes that have no place in the file: {name_ids(missing)}"
        return Fault("missing-nodes", said)
    strange = [node.ref for node in way.nodes if not on_earth(node.x, node.y)]
    return Fault("off-earth", f"way {way.id} has nodes outside ±180° and ±90°: {name_ids(strange)}")


def _tags(item: _Object) -> Tags:
    return dict(item.tags)


def _seconds(item: _Object) -> int:
    return int(item.timestamp.timestamp())
