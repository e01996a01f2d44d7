"""Find how map features meet: one pass over a spatial index instead of a loop over all pairs.

Each unordered pair whose bounding boxes meet is looked at once, from its larger feature. Cheap predicates on
prepared geometries settle most (boxes that meet where the features do not; a feature well inside a larger
one), dearer ones the rest. The prepared predicates are exact for valid geometries only, so pairs with an
invalid one get the full DE-9IM matrix of the geometries as they are.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray

from models.osm_graph.schema import COVERED_BY, COVERS, EQUALS, OVERLAPS, TOUCHES

_NONE = 0
_REVERSED = np.array([_NONE, TOUCHES, OVERLAPS, COVERED_BY, COVERS, EQUALS], dtype=np.uint8)
_WORTH_THREADS = 2000
_PIECES_PER_THREAD = 8  # one wood with many neighbours takes longer than a hundred houses


@dataclass(frozen=True, kw_only=True, eq=False)
class Contacts:
    """Hold the m pairs of features that meet; no pair twice, no two points.

    The first feature is of the higher dimension; where both have the same, it is the one that comes first.
    """

    first: NDArray[np.int64]
    """``(m,)`` index into the features."""
    second: NDArray[np.int64]
    """``(m,)`` index into the features."""
    relation: NDArray[np.uint8]
    """``(m,)`` touches, overlaps, covers, covered by or equals, said of the first."""


def find_contacts(
    geometries: NDArray[np.object_], dimensions: NDArray[np.integer], *, threads: int = 1
) -> Contacts:
    """Find every pair of features that meet, and how.

    Args:
        geometries: ``(n,)`` two-dimensional, not empty. They are prepared in place: pass copies of your own.
        dimensions: ``(n,)`` 0 for points, 1 for lines, 2 for polygons.
        threads: Threads to share the work; the answer is the same for any number.

    Returns:
        The pairs, sorted by (first, second).
    """
    large, small = _candidates(geometries, dimensions)
    sound = shapely.is_valid(geometries)
    usual = sound[large] & sound[small]
    parts = [
        _reorder(_compare_exactly(geometries, dimensions, large[~usual], small[~usual]), dimensions),
        *(
            _reorder(part, dimensions)
            for part in _compare_in_threads(geometries, dimensions, large[usual], small[usual], threads)
        ),
    ]
    first, second, relation = (np.concatenate([part[place] for part in parts]) for place in range(3))
    order = np.lexsort((second, first))
    order = order[relation[order] != _NONE]
    return Contacts(first=first[order], second=second[order], relation=relation[order])


_Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]


def _candidates(
    geometries: NDArray[np.object_], dimensions: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair features whose boxes meet, sorted by the larger: its preparation serves all its pairs."""
    askers = np.flatnonzero(dimensions > 0)
    asked = shapely.STRtree(geometries).query(geometries[askers])
    one, other = askers[asked[0]], asked[1]
    once = (dimensions[other] == 0) | (one < other)
    one, other = one[once], other[once]
    bounds = shapely.bounds(geometries)
    extent = (bounds[:, 2] - bounds[:, 0]) * (bounds[:, 3] - bounds[:, 1])
    rank = np.argsort(np.lexsort((extent, dimensions)))
    swap = rank[other] > rank[one]
    large, small = np.where(swap, other, one), np.where(swap, one, other)
    order = np.argsort(large, kind="stable")
    return large[order], small[order]


def _compare_exactly(
    geometries: NDArray[np.object_],
    dimensions: NDArray[np.integer],
    large: NDArray[np.int64],
    small: NDArray[np.int64],
) -> _Part:
    """Compare in the order that a caller of ``shapely.relate`` would: point, line, polygon; earlier first."""
    swap = (dimensions[small] < dimensions[large]) | (small < large)
    one, other = np.where(swap, small, large), np.where(swap, large, small)
    return one, other, classify_matrices(shapely.relate(geometries[one], geometries[other]))


def _compare_in_threads(
    geometries: NDArray[np.object_],
    dimensions: NDArray[np.integer],
    large: NDArray[np.int64],
    small: NDArray[np.int64],
    threads: int,
) -> list[_Part]:
    if threads <= 1 or large.size < _WORTH_THREADS:
        return [_compare_prepared(geometries, dimensions, large, small)]
    # A prepared geometry builds its index at first use, which is not safe in two threads at once: all pairs
    # of one large feature stay together.
    pieces = _PIECES_PER_THREAD * threads
    marks = large[np.arange(1, pieces) * large.size // pieces]
    cuts = np.unique([0, *np.searchsorted(large, marks), large.size])
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(_compare_prepared, geometries, dimensions, large[start:stop], small[start:stop])
            for start, stop in pairwise(cuts)
        ]
        return [job.result() for job in jobs]


def _compare_prepared(
    geometries: NDArray[np.object_],
    dimensions: NDArray[np.integer],
    large: NDArray[np.int64],
    small: NDArray[np.int64],
) -> _Part:
    relation = np.full(large.size, _NONE, dtype=np.uint8)
    shapely.prepare(geometries[large])
    one, other = geometries[large], geometries[small]
    meeting = np.flatnonzero(shapely.intersects(one, other))
    within = meeting[dimensions[large[meeting]] == 2]
    relation[within[shapely.contains_properly(one[within], other[within])]] = COVERS
    rest = meeting[relation[meeting] == _NONE]
    relation[rest] = _classify_meeting(one[rest], other[rest])
    return large, small, relation


def _classify_meeting(one: NDArray[np.object_], other: NDArray[np.object_]) -> NDArray[np.uint8]:
    """Classify pairs that meet, of which the first is prepared: one predicate after another on what is left.

    As fast as the matrix in one thread, and unlike ``shapely.relate`` it lets other threads work meanwhile.
    """
    kinds = np.full(len(one), TOUCHES, dtype=np.uint8)
    rest = np.flatnonzero(~shapely.touches(one, other))
    covers = shapely.covers(one[rest], other[rest])
    covered = shapely.covered_by(one[rest], other[rest])
    kinds[rest] = np.select([covers & covered, covers, covered], [EQUALS, COVERS, COVERED_BY], OVERLAPS)
    return kinds


def _reorder(part: _Part, dimensions: NDArray[np.integer]) -> _Part:
    one, other, relation = part
    swap = (dimensions[other] > dimensions[one]) | ((dimensions[other] == dimensions[one]) & (other < one))
    return (
        np.where(swap, other, one),
        np.where(swap, one, other),
        np.where(swap, _REVERSED[relation], relation),
    )


def classify_matrices(matrices: NDArray[np.object_]) -> NDArray[np.uint8]:
    """Classify DE-9IM matrices as said of the first of two geometries.

    Args:
        matrices: ``(m,)`` nine-letter texts of :func:`shapely.relate`.

    Returns:
        ``(m,)`` 0 where the two do not meet, else touches, overlaps (or crosses), covers, covered by, equals.
    """
    letters = np.asarray(matrices).astype("S9").view("S1").reshape(-1, 9)
    ii, ib, ie, bi, bb, be, ei, eb, _ = (letters != b"F").T
    covers, covered = ~ei & ~eb, ~ie & ~be
    kinds = np.select(
        [~ii & ~ib & ~bi & ~bb, ~ii, covers & covered, covers, covered],
        [_NONE, TOUCHES, EQUALS, COVERS, COVERED_BY],
        OVERLAPS,
    )
    return kinds.astype(np.uint8)
