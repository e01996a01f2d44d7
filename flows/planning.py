"""Plan a request: free of Prefect, so that looking at a plan costs no more than searching does."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.grid import plan_grid
from catalog.plan import plan_cubes
from catalog.records import CubePlan, ReadOptions, Scene
from flows.params import MapAreaParams


def plan_request(params: MapAreaParams, scenes: Sequence[Scene]) -> list[CubePlan]:
    """Plan the cubes of a request; the same request and scenes give the same plan."""
    grid = plan_grid(params.bbox, resolution_m=params.resolution_m, crs=params.crs, shard_px=params.shard_px)
    options = ReadOptions(loader=params.loader, resampling=params.resampling, mask=params.mask)
    return plan_cubes(scenes, grid, bands=params.bands, options=options)
