"""Answer how features meet the plain way: one scalar ``relate`` for every pair, patterns tried in turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count

import shapely

TYPES = ("point", "line", "polygon")
_NONE = re.compile("FF.FF....")
_TOUCHES = re.compile("F........")
_EQUALS = re.compile("[012].F..FFF.")
_COVERS = re.compile("......FF.")
_COVERED = re.compile("..F..F...")


def judge(matrix: str, *, equals: bool) -> str | None:
    """Name what a DE-9IM matrix says of the first of two geometries of one dimension."""
    if _NONE.fullmatch(matrix):
        return None
    if _TOUCHES.fullmatch(matrix):
        return "touches"
    if equals and _EQUALS.fullmatch(matrix):
        return "equals"
    if _COVERED.fullmatch(matrix):
        return "covered_by"
    if _COVERS.fullmatch(matrix):
        return "covers"
    return "overlaps"


def judge_across(matrix: str, *, crosses: str | None) -> str | None:
    """Name what a matrix says of the first of two geometries, the one of the lower dimension."""
    word = judge(matrix, equals=False)
    if word in (None, "touches"):
        return word
    if _COVERED.fullmatch(matrix):
        return "covered_by" if crosses else "within"
    return crosses or "within"


REVERSE = {"covers": "covered_by", "covered_by": "covers", "within": "contains"}


def pairwise_edges(
    geometries: Sequence[shapely.Geometry], *, equals: bool
) -> dict[tuple[str, str, str], dict[tuple[int, int], str]]:
    """Relate every pair but points with points; edges by type, then by (source, target), self loops too."""
    types = [TYPES[dimension] for dimension in shapely.get_dimensions(list(geometries))]
    counters = {name: count() for name in TYPES}
    local = [next(counters[name]) for name in types]
    edges: dict[tuple[str, str, str], dict[tuple[int, int], str]] = {
        (one, "to", other): {} for one in TYPES for other in TYPES
    }
    for i, one in enumerate(types):
        if one != "point":
            edges[one, "to", one][local[i], local[i]] = "self"
        for j, other in enumerate(types[i + 1 :], i + 1):
            if one == other == "point":
                continue
            low, high = (i, j) if TYPES.index(one) <= TYPES.index(other) else (j, i)
            matrix = geometries[low].relate(geometries[high])
            if one == other:
                word = judge(matrix, equals=equals)
            else:
                word = judge_across(matrix, crosses=None if "point" in (one, other) else "crosses")
            if word:
                there, back = (types[low], "to", types[high]), (types[high], "to", types[low])
                edges[there][local[low], local[high]] = word
                edges[back][local[high], local[low]] = REVERSE.get(word, word)
    return edges
