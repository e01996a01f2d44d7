"""Say what a graph of map features is: node types, the nine edge types, relation codes, layouts.

The layout is GeoLink's (arXiv 2509.26016): polygons, lines and points as nodes with positions as fractions
of the box, and one directed edge type for every ordered pair of node types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""West, south, east, north; the unit is that of the geometries (degrees, as a rule)."""
EdgeType = tuple[str, str, str]
"""Source node type, ``"to"``, target node type."""

NODE_TYPES = ("polygon", "line", "point")
NODE_WIDTHS: Mapping[str, int] = {"polygon": 8, "line": 6, "point": 2}
"""Columns of ``coordinates``: (x, y) of three anchors and the centroid; of centroid, first and last vertex;
of the point itself."""
NODE_DIMENSIONS: Mapping[str, int] = {"polygon": 2, "line": 1, "point": 0}
EDGE_TYPES: tuple[EdgeType, ...] = tuple(
    (source, "to", target) for source in NODE_TYPES for target in NODE_TYPES
)

SELF, TOUCHES, OVERLAPS, COVERS, COVERED_BY, EQUALS = range(6)
"""Relation codes between nodes of one type, polygons or lines."""

_ALIKE = ("self", "touches", "overlaps", "covers", "covered_by", "equals")
RELATIONS: Mapping[EdgeType, tuple[str, ...]] = {
    ("polygon", "to", "polygon"): _ALIKE,
    ("line", "to", "line"): _ALIKE,
    ("line", "to", "polygon"): ("touches", "crosses", "covered_by"),
    ("polygon", "to", "line"): ("touches", "crosses", "covers"),
    ("point", "to", "line"): ("touches", "within"),
    ("line", "to", "point"): ("touches", "contains"),
    ("point", "to", "polygon"): ("touches", "within"),
    ("polygon", "to", "point"): ("touches", "contains"),
    ("point", "to", "point"): ("self", "neighbour"),
}
"""What an edge's code means: the name's place is the code and the one-hot column."""


@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """Choose how features become a graph.

    Attributes:
        reference_compat: Answer as the published converter does: equal geometries are *covered by* from the
            earlier to the later and *covers* back, polygon anchors lie at fixed compass angles, and points
            are joined by Delaunay on raw coordinates, coincident points by nothing.
        clip: Cut every feature to the box first and leave out those that do not reach it.
        threads: Threads that compare geometries; the graph is the same for any number.
    """

    reference_compat: bool = False
    clip: bool = True
    threads: int = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphNodes:
    """Hold the n nodes of one type, in the order of their features."""

    rows: NDArray[np.int64]
    """``(n,)`` index of the input feature, rising."""
    coordinates: NDArray[np.float32]
    """``(n, 8 | 6 | 2)`` x, y pairs as fractions of the box, y downwards: (0, 0) is its north-west corner."""
    tag_offsets: NDArray[np.int64]
    """``(n + 1,)`` node i has the tags ``tag_ids[tag_offsets[i]:tag_offsets[i + 1]]``."""
    tag_ids: NDArray[np.int32]
    """Places in the graph's ``tag_names``, by key within a node."""

    def __len__(self) -> int:
        """Return the number of nodes."""
        return int(self.rows.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphEdges:
    """Hold the E edges of one type."""

    index: NDArray[np.int64]
    """``(2, E)`` source and target, each counted within its node type."""
    relation: NDArray[np.uint8]
    """``(E,)`` place in :data:`RELATIONS` of the edge type."""
    width: int
    """Number of relations that the edge type knows."""

    def __len__(self) -> int:
        """Return the number of edges."""
        return int(self.relation.size)

    def edge_attr(self) -> NDArray[np.float32]:
        """Return the relations as one-hot rows ``(E, width)``."""
        return np.eye(self.width, dtype=np.float32)[self.relation]


@dataclass(frozen=True, kw_only=True, eq=False)
class OsmGraph:
    """Hold one heterogeneous graph: all three node types and all nine edge types, possibly empty."""

    box: Box
    nodes: Mapping[str, GraphNodes]
    edges: Mapping[EdgeType, GraphEdges]
    tag_names: tuple[str, ...]
    """Distinct ``key:value`` texts of the nodes, sorted."""

    def counts(self) -> dict[str, int]:
        """Return how many nodes and edges each type has, e.g. ``{"polygon": 3, "line-point": 0}``."""
        nodes = {kind: len(self.nodes[kind]) for kind in NODE_TYPES}
        return nodes | {
            f"{source}-{target}": len(self.edges[source, to, target]) for source, to, target in EDGE_TYPES
        }
