"""Build the graph of map features: nodes, places, relations, tags, in one pass over arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from infra.errors import InputError
from models.osm_graph.coordinates import place_lines, place_points, place_polygons
from models.osm_graph.features import Shapes, check_box, check_features, shape_features
from models.osm_graph.labels import number_tags
from models.osm_graph.relations import Contacts, find_contacts
from models.osm_graph.schema import (
    COVERED_BY,
    COVERS,
    EDGE_TYPES,
    EQUALS,
    NODE_DIMENSIONS,
    NODE_TYPES,
    OVERLAPS,
    RELATIONS,
    SELF,
    TOUCHES,
    Box,
    EdgeType,
    GraphEdges,
    GraphNodes,
    GraphOptions,
    OsmGraph,
)
from models.osm_graph.triangulation import neighbour_pairs, neighbour_pairs_raw

DEFAULT_OPTIONS = GraphOptions()
_TYPE_OF = {dimension: name for name, dimension in NODE_DIMENSIONS.items()}


def build_graph(
    geometries: NDArray[np.object_],
    tags: Sequence[Mapping[str, str]],
    box: Box,
    *,
    options: GraphOptions = DEFAULT_OPTIONS,
) -> OsmGraph:
    """Turn the features of one box into a heterogeneous graph.

    Args:
        geometries: ``(n,)`` shapely points, lines, polygons, their multi forms, or collections; one node
            each. They are not changed.
        tags: Tags of each feature.
        box: West, south, east, north, in the unit of the geometries.
        options: How features become a graph.

    Returns:
        The graph; empty where no feature reaches the box.

    Raises:
        InputError: If the box has no extent, geometries and tags differ in number, or a geometry is
            missing, empty or not finite.
    """
    check_box(box)
    features = np.asarray(geometries, dtype=object).reshape(-1)
    if features.size != len(tags):
        raise InputError(
            f"{features.size} geometries came with tags of {len(tags)} features: expected as many"
        )
    shapes = shape_features(features, box, clip=options.clip)
    names, offsets, ids = number_tags([tags[row] for row in shapes.rows])
    return OsmGraph(
        box=box,
        nodes={name: _make_nodes(name, shapes, (offsets, ids), box, options) for name in NODE_TYPES},
        edges=make_edges(shapes, box, options),
        tag_names=names,
    )


def build_graphs(
    geometries: NDArray[np.object_],
    tags: Sequence[Mapping[str, str]],
    boxes: Sequence[Box],
    *,
    options: GraphOptions = DEFAULT_OPTIONS,
) -> list[OsmGraph]:
    """Build the graph of each of many boxes over the same features.

    One spatial index serves all boxes; ``rows`` count in the features given here. With ``options.clip``
    each graph equals that of :func:`build_graph` for its box; without it every box holds every feature.

    Args:
        geometries: ``(n,)`` shapely geometries.
        tags: Tags of each feature.
        boxes: West, south, east, north of each graph.
        options: How features become a graph.

    Raises:
        InputError: As :func:`build_graph`.
    """
    features = np.asarray(geometries, dtype=object).reshape(-1)
    if not options.clip or features.size != len(tags):
        return [build_graph(features, tags, box, options=options) for box in boxes]
    for box in boxes:
        check_box(box)
    check_features(features)  # the index passes over what has no place; one by one it would be refused
    tree = shapely.STRtree(features)
    return [
        _build_near(features, tags, box, np.sort(tree.query(shapely.box(*box))), options) for box in boxes
    ]


def _build_near(
    features: NDArray[np.object_],
    tags: Sequence[Mapping[str, str]],
    box: Box,
    near: NDArray[np.int64],
    options: GraphOptions,
) -> OsmGraph:
    graph = build_graph(features[near], [tags[row] for row in near], box, options=options)
    nodes = {
        name: GraphNodes(
            rows=near[kept.rows],
            coordinates=kept.coordinates,
            tag_offsets=kept.tag_offsets,
            tag_ids=kept.tag_ids,
        )
        for name, kept in graph.nodes.items()
    }
    return OsmGraph(box=box, nodes=nodes, edges=graph.edges, tag_names=graph.tag_names)


def _make_nodes(
    name: str,
    shapes: Shapes,
    numbered: tuple[NDArray[np.int64], NDArray[np.int32]],
    box: Box,
    options: GraphOptions,
) -> GraphNodes:
    chosen = np.flatnonzero(shapes.dimensions == NODE_DIMENSIONS[name])
    geometries, originals = shapes.geometries[chosen], shapes.originals[chosen]
    if name == "polygon":
        places = place_polygons(geometries, originals, box, compass=options.reference_compat)
    elif name == "line":
        places = place_lines(geometries, originals, box)
    else:
        places = place_points(geometries, box)
    offsets, ids = numbered
    mine = np.repeat(np.isin(np.arange(shapes.rows.size), chosen), np.diff(offsets))
    counts = np.diff(offsets)[chosen]
    return GraphNodes(
        rows=shapes.rows[chosen],
        coordinates=places.astype(np.float32),
        tag_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tag_ids=ids[mine],
    )


def make_edges(shapes: Shapes, box: Box, options: GraphOptions) -> dict[EdgeType, GraphEdges]:
    """Relate features to each other: the nine edge types, possibly empty.

    Args:
        shapes: From :func:`models.osm_graph.features.shape_features`; their geometries get prepared.
        box: West, south, east, north.
        options: How features become a graph.
    """
    contacts = find_contacts(shapes.geometries, shapes.dimensions, threads=options.threads)
    local = np.empty(shapes.rows.size, dtype=np.int64)
    for dimension in _TYPE_OF:
        mine = np.flatnonzero(shapes.dimensions == dimension)
        local[mine] = np.arange(mine.size)
    made: dict[EdgeType, GraphEdges] = {}
    kinds = shapes.dimensions[contacts.first], shapes.dimensions[contacts.second]
    for source, _, target in EDGE_TYPES:
        high, low = sorted((NODE_DIMENSIONS[source], NODE_DIMENSIONS[target]), reverse=True)
        chosen = (kinds[0] == high) & (kinds[1] == low)
        met = _select(contacts, chosen, local)
        kind = (source, "to", target)
        if high == low == 0:
            made[kind] = _join_points(shapes.geometries[shapes.dimensions == 0], box, options)
        elif high == low:
            made[kind] = _join_alike(met, int((shapes.dimensions == high).sum()), kind, options)
        else:
            made[kind] = _join_unlike(met, kind, down=NODE_DIMENSIONS[source] == high)
    return made


def _select(contacts: Contacts, chosen: NDArray[np.bool_], local: NDArray[np.int64]) -> Contacts:
    return Contacts(
        first=local[contacts.first[chosen]],
        second=local[contacts.second[chosen]],
        relation=contacts.relation[chosen],
    )


def _join_alike(met: Contacts, count: int, kind: EdgeType, options: GraphOptions) -> GraphEdges:
    """Join nodes of one type both ways, and each to itself."""
    equals = COVERED_BY if options.reference_compat else EQUALS
    there = np.array([SELF, TOUCHES, OVERLAPS, COVERS, COVERED_BY, equals], dtype=np.uint8)
    equals = COVERS if options.reference_compat else EQUALS
    back = np.array([SELF, TOUCHES, OVERLAPS, COVERED_BY, COVERS, equals], dtype=np.uint8)
    loops = np.arange(count)
    source = np.concatenate([met.first, met.second, loops])
    target = np.concatenate([met.second, met.first, loops])
    relation = np.concatenate([there[met.relation], back[met.relation], np.full(count, SELF, dtype=np.uint8)])
    return _sorted_edges(source, target, relation, kind)


def _join_unlike(met: Contacts, kind: EdgeType, *, down: bool) -> GraphEdges:
    """Join nodes of two types one way; *down* leads from the higher dimension to the lower."""
    covering = np.isin(met.relation, (COVERS, EQUALS))
    last = len(RELATIONS[kind]) - 1
    relation = np.where(met.relation == TOUCHES, 0, np.where(covering, last, 1)).astype(np.uint8)
    if down:
        return _sorted_edges(met.first, met.second, relation, kind)
    return _sorted_edges(met.second, met.first, relation, kind)


def _sorted_edges(
    source: NDArray[np.int64], target: NDArray[np.int64], relation: NDArray[np.uint8], kind: EdgeType
) -> GraphEdges:
    order = np.lexsort((target, source))
    return GraphEdges(
        index=np.stack([source[order], target[order]]), relation=relation[order], width=len(RELATIONS[kind])
    )


def _join_points(points: NDArray[np.object_], box: Box, options: GraphOptions) -> GraphEdges:
    """Join neighbouring points both ways; self loops come last."""
    if options.reference_compat:
        pairs = neighbour_pairs_raw(shapely.get_coordinates(points))
    else:
        pairs = neighbour_pairs(place_points(points, box))
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    loops = np.arange(points.size)
    return GraphEdges(
        index=np.concatenate([both.T, np.stack([loops, loops])], axis=1),
        relation=np.repeat(np.array([1, 0], dtype=np.uint8), [len(both), points.size]),
        width=len(RELATIONS["point", "to", "point"]),
    )
