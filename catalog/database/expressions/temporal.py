"""Spell the temporal relations as comparisons of the ends of their two spans.

A moment is a span whose ends are the same. A relation is unknown only as far as the ends it compares are.
Source: OGC 21-065r2, requirement class "Temporal Functions".
"""

from __future__ import annotations

from collections.abc import Mapping

from catalog.database.expressions.nodes import And, Comparison, Instant, Moment, Not, Order, Predicate

Span = tuple[Moment | Instant, Moment | Instant]
_START, _END = 0, 1
_Rule = tuple[int, Order, int]
"""An end of the left span, how it compares, and to which end of the right span."""

_ALL_OF: Mapping[str, tuple[_Rule, ...]] = {
    "t_after": ((_START, ">", _END),),
    "t_before": ((_END, "<", _START),),
    "t_contains": ((_START, "<", _START), (_END, ">", _END)),
    "t_during": ((_START, ">", _START), (_END, "<", _END)),
    "t_equals": ((_START, "=", _START), (_END, "=", _END)),
    "t_finishedBy": ((_START, "<", _START), (_END, "=", _END)),
    "t_finishes": ((_START, ">", _START), (_END, "=", _END)),
    "t_intersects": ((_START, "<=", _END), (_END, ">=", _START)),
    "t_meets": ((_END, "=", _START),),
    "t_metBy": ((_START, "=", _END),),
    "t_overlappedBy": ((_START, ">", _START), (_START, "<", _END), (_END, ">", _END)),
    "t_overlaps": ((_START, "<", _START), (_END, ">", _START), (_END, "<", _END)),
    "t_startedBy": ((_START, "=", _START), (_END, ">", _END)),
    "t_starts": ((_START, "=", _START), (_END, "<", _END)),
}


def relate_spans(relation: str, left: Span, right: Span) -> Predicate:
    """Spell a temporal relation as comparisons."""
    if relation == "t_disjoint":
        return Not(relate_spans("t_intersects", left, right))
    comparisons = tuple(
        Comparison(order, left[left_end], right[right_end])
        for left_end, order, right_end in _ALL_OF[relation]
    )
    return comparisons[0] if len(comparisons) == 1 else And(comparisons)
