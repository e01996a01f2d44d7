"""Find outlines that cross themselves so often that nobody could mend them, within any time."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

MOST_CROSSINGS = 1000
"""GEOS mends as many in half a second, and takes hours for the 100,000 that one way of 1,000 nodes can have.
Real mistakes cross a few times: at most once in the extracts that are tested."""
_PAIRS_AT_ONCE = 1_000_000


def is_tangled(area: BaseGeometry) -> bool:
    """Say whether the edges of an area cross each other more than ``MOST_CROSSINGS`` times."""
    edges = _edges(area)
    tree = shapely.STRtree(edges)
    step = max(1, _PAIRS_AT_ONCE // max(1, edges.size))  # all of them may cross all
    found = 0
    for start in range(0, edges.size, step):
        found += tree.query(edges[start : start + step], predicate="crosses").shape[1]
        if found > 2 * MOST_CROSSINGS:  # each crossing is found from both edges
            return True
    return False


def _edges(area: BaseGeometry) -> NDArray[np.object_]:
    coordinates, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(area)), return_index=True)
    pairs = np.stack([coordinates[:-1], coordinates[1:]], axis=1)
    return np.asarray(shapely.linestrings(pairs[ring[:-1] == ring[1:]]), dtype=object)
