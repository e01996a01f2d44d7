"""Describe a plan in rows, for people and scripts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from catalog.grid import list_tiles
from catalog.records import CubePlan


def plan_rows(plans: Sequence[CubePlan], *, reused: Collection[str]) -> list[dict[str, Any]]:
    """Describe a plan, one row for each cube."""
    return [
        {
            "cube": plan.id,
            "collection": plan.group.collection,
            "day": plan.group.day.isoformat(),
            "scenes": len(plan.group.scenes),
            "bands": ", ".join(plan.bands),
            "tiles": len(list_tiles(plan.grid)),
            "size": f"{plan.grid.shape_yx[1]} × {plan.grid.shape_yx[0]} px",
            "crs": plan.grid.crs if len(plan.grid.crs) < 20 else "custom",
            "state": "standing" if plan.id in reused else "to do",
        }
        for plan in plans
    ]
