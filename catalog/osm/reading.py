"""Read the features of an OSM extract, as osmnx would, and say of the rest why it is none.

A feature is a node with tags, a way with tags, or a relation of type multipolygon or boundary. Every such
element of the area becomes a row or a quarantined entry; ``catalog.osm.reasons`` lists the reasons. With
an area, an element counts when it touches the area; its geometry is not cut. One that has no place at all
(none of its nodes is in the file) belongs to no area, and only counts when the whole file is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from catalog.grid import BoundsLonLat, check_bounds
from catalog.osm.area_filter import Reached, area_polygon, find_nodes, find_ways
from catalog.osm.assembly import assemble_relation, draw_shapes
from catalog.osm.extract import telling_broken_texts
from catalog.osm.passes import (
    RawElement,
    RawRelation,
    index_locations,
    list_members,
    read_nodes,
    read_relations,
    read_ways,
)
from catalog.osm.polygon_rules import is_area
from catalog.osm.reasons import Fault
from catalog.osm.records import ELEMENTS, ExtractFacts, OsmFeatures, OsmReading, QuarantinedFeature
from catalog.osm.repair import Mended, mend_geometries
from infra.errors import InputError

_NODE, _WAY, _RELATION = range(3)
_UNCUT = Fault("antimeridian", "it crosses both 180° and the Greenwich meridian")
_TANGLED = Fault("tangled", "its outline crosses itself too often to be mended")
_NOTHING_LEFT = Fault("empty", "nothing is left of its geometry once it is made valid")


class _Raw(NamedTuple):
    """What the passes over the file kept."""

    nodes: dict[int, RawElement]
    ways: dict[int, RawElement]
    relations: dict[int, RawRelation]
    reached_ways: set[int] | None
    """Ways to judge; others are there for relations only. None: all that have tags."""


class _Rows(NamedTuple):
    """Elements of one type, sorted by id, that ought to be features."""

    element: int
    ids: list[int]
    items: Sequence[RawElement | RawRelation]
    shapes: NDArray[np.object_]
    """As drawn; None where there is a fault."""
    faults: list[Fault | None]
    repaired: NDArray[np.bool_]


def read_features(
    extract: ExtractFacts, area: BoundsLonLat | None = None, *, max_features: int = 2_000_000
) -> OsmReading:
    """Read the features of an extract that touch an area.

    The file is read as a stream, several times; what is held is what the area holds, and the places of all
    nodes, which for a big file lie in a temporary file.

    Args:
        extract: From :func:`catalog.osm.extract.describe_extract`.
        area: Box in degrees; west > east crosses the antimeridian. None reads all.
        max_features: Most features to hold.

    Raises:
        InputError: the area is no box, or outside the extract; the extract has no features; there are more
            than ``max_features``.
        DataError: the file is cut short or garbled.
        ConfigError: no room for the temporary file.
    """
    polygon = area_polygon(check_bounds(area)) if area is not None else None
    raw, total = _read_raw(extract, polygon, max_features)
    tables = [_node_rows(raw), *_way_and_relation_rows(raw)]
    parts = [_settle(rows, polygon) for rows in tables]
    reading = OsmReading(
        features=_join_features([part.features for part in parts]),
        quarantined=tuple(entry for part in parts for entry in part.quarantined),
        repaired=sum(part.repaired for part in parts),
    )
    if reading.found == 0:
        raise _nothing_found(extract, area, total)
    if reading.found > max_features:
        raise InputError(
            f"the area holds {reading.found} OSM features, more than {max_features}; give a smaller --bbox"
        )
    return reading


def _read_raw(
    extract: ExtractFacts, area: BaseGeometry | None, limit: int
) -> tuple[_Raw, BoundsLonLat | None]:
    path = extract.path
    with index_locations(extract) as locations, telling_broken_texts(path):
        if area is None:
            find_nodes(path, locations, None)
            nodes = read_nodes(path, None, limit)
            relations = read_relations(path, None, limit)
            needed = _member_ids(relations)
            ways = read_ways(path, locations, None, needed, limit + len(needed))
            return _Raw(nodes, ways, relations, None), None
        members = list_members(path)
        near_nodes = find_nodes(path, locations, area)
        near_ways, near_relations = find_ways(path, locations, area, members)
        del members
        nodes = read_nodes(path, near_nodes.ids, limit)
        relations = read_relations(path, near_relations, limit)
        needed = _member_ids(relations)
        ways = read_ways(path, locations, near_ways.ids, needed, limit + len(needed))
    return _Raw(nodes, ways, relations, near_ways.ids), _outer_bounds(near_nodes, near_ways)


def _member_ids(relations: dict[int, RawRelation]) -> set[int]:
    return {ref for relation in relations.values() for ref, _ in relation.members}


def _node_rows(raw: _Raw) -> _Rows:
    ids = sorted(raw.nodes)
    items = [raw.nodes[number] for number in ids]
    shapes = draw_shapes([item.wkb for item in items], np.zeros(len(ids), dtype=bool))
    return _Rows(_NODE, ids, items, shapes, [item.fault for item in items], np.zeros(len(ids), dtype=bool))


def _way_and_relation_rows(raw: _Raw) -> tuple[_Rows, _Rows]:
    ids = sorted(raw.ways)
    items = [raw.ways[number] for number in ids]
    areal = np.array([item.closed and is_area(item.tags) for item in items], dtype=bool)
    shapes = draw_shapes([item.wkb for item in items], areal)
    relations = _relation_rows(raw.relations, dict(zip(ids, shapes.tolist(), strict=True)))
    judged = [
        row
        for row, number in enumerate(ids)
        if items[row].tags and (raw.reached_ways is None or number in raw.reached_ways)
    ]
    ways = _Rows(
        element=_WAY,
        ids=[ids[row] for row in judged],
        items=[items[row] for row in judged],
        shapes=shapes[judged] if judged else np.empty(0, dtype=object),
        faults=[items[row].fault or _too_few(ids[row], shapes[row]) for row in judged],
        repaired=np.zeros(len(judged), dtype=bool),
    )
    return ways, relations


def _too_few(number: int, shape: BaseGeometry) -> Fault | None:
    if not shapely.is_empty(shape):
        return None
    return Fault("too-few-nodes", f"way {number} is an area of 2 nodes, and an area needs 3")


def _relation_rows(relations: dict[int, RawRelation], ways: dict[int, BaseGeometry | None]) -> _Rows:
    ids = sorted(relations)
    items = [relations[number] for number in ids]
    built = [assemble_relation(number, relations[number].members, ways) for number in ids]
    shapes = np.empty(len(ids), dtype=object)
    shapes[:] = [one.geometry for one in built]
    repaired = np.array([one.repaired for one in built], dtype=bool)
    return _Rows(_RELATION, ids, items, shapes, [one.fault for one in built], repaired)


def _settle(rows: _Rows, area: BaseGeometry | None) -> OsmReading:
    """Mend the shapes, drop what misses the area, and part features from the quarantined."""
    mended = mend_geometries(rows.shapes)
    empty = shapely.is_missing(mended.geometries) | shapely.is_empty(mended.geometries)
    faults = [
        fault or (_of(rows, row, _why_empty(mended, row)) if empty[row] else None)
        for row, fault in enumerate(rows.faults)
    ]
    faulty = np.array([fault is not None for fault in faults], dtype=bool)
    kept = ~faulty if area is None else ~faulty & shapely.intersects(mended.geometries, area)
    return OsmReading(
        features=_take_features(rows, mended.geometries, np.flatnonzero(kept)),
        quarantined=tuple(
            QuarantinedFeature(
                element=ELEMENTS[rows.element],
                id=rows.ids[row],
                reason=fault.reason,
                detail=fault.detail,
                tags=rows.items[row].tags,
            )
            for row, fault in enumerate(faults)
            if fault is not None
        ),
        repaired=int(((mended.repaired | rows.repaired) & kept).sum()),
    )


def _why_empty(mended: Mended, row: int) -> Fault:
    if mended.tangled[row]:
        return _TANGLED
    return _UNCUT if mended.uncut[row] else _NOTHING_LEFT


def _of(rows: _Rows, row: int, fault: Fault) -> Fault:
    return fault._replace(detail=f"{ELEMENTS[rows.element]} {rows.ids[row]}: {fault.detail}")


def _take_features(rows: _Rows, geometries: NDArray[np.object_], kept: NDArray[np.intp]) -> OsmFeatures:
    chosen = kept.tolist()
    seconds = np.array([rows.items[row].time_s for row in chosen], dtype=np.int64)
    stamps = seconds.astype("datetime64[s]")
    stamps[seconds == 0] = np.datetime64("NaT")
    return OsmFeatures(
        elements=np.full(kept.size, rows.element, dtype=np.uint8),
        ids=np.array([rows.ids[row] for row in chosen], dtype=np.int64),
        geometries=geometries[kept],
        tags=tuple(rows.items[row].tags for row in chosen),
        timestamps=stamps,
    )


def _join_features(parts: list[OsmFeatures]) -> OsmFeatures:
    return OsmFeatures(
        elements=np.concatenate([part.elements for part in parts]),
        ids=np.concatenate([part.ids for part in parts]),
        geometries=np.concatenate([part.geometries for part in parts]),
        tags=tuple(tags for part in parts for tags in part.tags),
        timestamps=np.concatenate([part.timestamps for part in parts]),
    )


def _outer_bounds(*reached: Reached) -> BoundsLonLat | None:
    totals = np.array([one.total for one in reached if one.total is not None])
    if not totals.size:
        return None
    west, south = totals[:, :2].min(axis=0).tolist()
    east, north = totals[:, 2:].max(axis=0).tolist()
    return west, south, east, north


def _nothing_found(
    extract: ExtractFacts, area: BoundsLonLat | None, total: BoundsLonLat | None
) -> InputError:
    if area is None or total is None:
        return InputError(f"OSM extract {extract.path} holds no features: no tagged node, way or area in it")
    asked, covered = (",".join(f"{value:g}" for value in box) for box in (area, extract.bounds or total))
    return InputError(
        f"bbox {asked} holds no feature of OSM extract {extract.path}, which covers {covered}; "
        "give a bbox inside it"
    )
