"""Read how wide a line is on the ground from its feature's tags."""

from __future__ import annotations

import re

from catalog.osm.records import Tags

_METRES = re.compile(r"(\d+(?:\.\d+)?)\s*m?")
_LANES = re.compile(r"[1-9]|1[0-2]")
_LANE_M = 3.2
_LIMITS_M = (0.3, 120.0)  # what is outside is a slip of the pen, or not a width


def read_width(tags: Tags, otherwise_m: float) -> float:
    """Return a line's width in metres: as tagged, else from its lanes, else as its class has it.

    A tag that is no plain number of metres (``12'``, ``narrow``) or not plausible is passed over.

    Args:
        tags: Of the feature.
        otherwise_m: Width of its class, metres.
    """
    stated = _METRES.fullmatch(tags.get("width", "").strip())
    if stated and _LIMITS_M[0] <= float(stated[1]) <= _LIMITS_M[1]:
        return float(stated[1])
    lanes = _LANES.fullmatch(tags.get("lanes", ""))
    if lanes and "highway" in tags:
        return int(lanes[0]) * _LANE_M
    return otherwise_m
