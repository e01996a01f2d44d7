"""List the operators and functions of CQL2 that are understood."""

from __future__ import annotations

import difflib
from typing import Any

from catalog.database.expressions.limits import shorten
from infra.errors import InputError

COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
CALCULATIONS = ("+", "-", "*", "/", "%", "^", "div")
FOLDS = ("casei", "accenti")
SPATIAL = (
    "s_intersects",
    "s_disjoint",
    "s_equals",
    "s_touches",
    "s_within",
    "s_overlaps",
    "s_crosses",
    "s_contains",
)
TEMPORAL = (
    "t_after",
    "t_before",
    "t_contains",
    "t_disjoint",
    "t_during",
    "t_equals",
    "t_finishedBy",
    "t_finishes",
    "t_intersects",
    "t_meets",
    "t_metBy",
    "t_overlappedBy",
    "t_overlaps",
    "t_startedBy",
    "t_starts",
)
ARRAYS = ("a_equals", "a_contains", "a_containedBy", "a_overlaps")
CONDITIONS = (
    "and",
    "or",
    "not",
    "between",
    "in",
    "like",
    "isNull",
    *COMPARISONS,
    *SPATIAL,
    *TEMPORAL,
    *ARRAYS,
)
"""Operators whose result is a condition; those of CALCULATIONS and FOLDS give values."""
_BY_LOWER = {name.lower(): name for name in (*CONDITIONS, *CALCULATIONS, *FOLDS)}


def name_operator(node: dict[str, Any]) -> str:
    """Give the operator of a CQL2 JSON object as it is spelt here; capitals do not count.

    Raises:
        InputError: none of those above.
    """
    op = node["op"]
    if not isinstance(op, str) or op.lower() not in _BY_LOWER:
        raise _unknown(op)
    return _BY_LOWER[op.lower()]


def _unknown(op: object) -> InputError:
    known = list(_BY_LOWER.values())
    near = difflib.get_close_matches(op[:40], known, n=1) if isinstance(op, str) else []
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(
        f"filter: operator or function {shorten(op)} is not known: {hint}expected one of {', '.join(known)}"
    )
