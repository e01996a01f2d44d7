"""Name every reason for which an element of an extract cannot become a feature."""

from __future__ import annotations

from typing import NamedTuple

REASONS = {
    "no-location": "A tagged node states no coordinates.",
    "off-earth": "A coordinate lies outside ±180° of longitude or ±90° of latitude.",
    "missing-nodes": "A way, or every ring of a relation, refers to nodes that the file does not hold.",
    "too-few-nodes": "A way has fewer than two nodes, or an area fewer than three.",
    "missing-members": "A relation refers to member ways that the file does not hold.",
    "no-outer-ring": "A relation has no member way with the role outer.",
    "open-ring": "The outer members of a relation do not join to closed rings.",
    "antimeridian": "The geometry crosses both 180° and the Greenwich meridian: a cut cannot part it.",
    "tangled": "The outline of an area crosses itself over a thousand times: mending it could take days.",
    "empty": "Nothing is left of the geometry once it is made valid.",
}
"""Code → what it means."""


class Fault(NamedTuple):
    """Say why one element is no feature."""

    reason: str
    """A key of :data:`REASONS`."""
    detail: str
    """One sentence, with the ids concerned."""


def name_ids(ids: list[int], limit: int = 5) -> str:
    """Write ids for a sentence: the first few, and how many more there are."""
    shown = ", ".join(str(number) for number in ids[:limit])
    return shown if len(ids) <= limit else f"{shown} and {len(ids) - limit} more"
