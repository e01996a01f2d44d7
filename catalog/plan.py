"""Turn found scenes into a plan: one cube for each collection, solar day and radiometry, each with its id.

A plan is data. It can be printed, counted and hashed, and the same request gives the same plan.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from affine import Affine
from pyproj import Transformer

from catalog.coverage import covered_fraction
from catalog.product_ids import spell_id, spell_stem
from catalog.records import CUBE_PLAN, CubePlan, Grid, ReadOptions, Scene, SceneGroup
from infra.digests import canonical_json, sha256_of_json
from infra.errors import InputError

ALGORITHM = "cube"
ALGORITHM_VERSION = "2"
"""Raised whenever the same inputs would give other pixels or another layout."""
_DEGREES_PER_HOUR = 15.0


def plan_cubes(
    scenes: Sequence[Scene], grid: Grid, *, bands: Sequence[str] | None, options: ReadOptions
) -> list[CubePlan]:
    """Group scenes into cubes on one grid.

    Args:
        scenes: What the search found; those that do not reach the grid are left out.
        grid: The one grid of the plan.
        bands: Variables wanted, in order; None takes what each scene offers.
        options: Loader, resampling and mask.

    Returns:
        Plans sorted by collection, day and id.

    Raises:
        InputError: clouds are to be masked in a source without a quality band.
    """
    reaching = [scene for scene in scenes if covered_fraction([scene.geometry], grid.geobox) > 0]
    reduced = [_reduce_bands(scene, bands, options) for scene in reaching]
    groups = _group_scenes(reduced, _centre_longitude(grid))
    return [_identify(group, grid, _stored_names(group, bands), options) for group in groups]


def solar_day(instant: dt.datetime, longitude_deg: float) -> dt.date:
    """Return the local solar date of an instant at a longitude: the day one overpass belongs to."""
    return (instant.astimezone(dt.UTC) + dt.timedelta(hours=longitude_deg / _DEGREES_PER_HOUR)).date()


def plan_digest(plan: CubePlan) -> str:
    """Hash everything that decides a cube's bytes; 64 hexadecimal digits."""
    return sha256_of_json(
        {
            "algorithm": ALGORITHM,
            "version": ALGORITHM_VERSION,
            "inputs": [scene.digest for scene in plan.group.scenes],
            "grid": dataclasses.asdict(plan.grid),
            "bands": list(plan.bands),
            "options": dataclasses.asdict(plan.options),
        }
    )


def plan_to_json(plan: CubePlan) -> bytes:
    """Serialise a plan, bytes stable between runs."""
    return canonical_json(CUBE_PLAN.dump_python(plan, mode="json"))


def _reduce_bands(scene: Scene, names: Sequence[str] | None, options: ReadOptions) -> Scene:
    if options.mask != "none" and (scene.quality_band is None or scene.mask_rule is None):
        raise InputError(
            f"collection {scene.collection!r} has no quality band to mask clouds with; use --mask none"
        )
    wanted = set(names) if names is not None else {band.name for band in scene.bands}
    if options.mask != "none" and scene.quality_band is not None:
        wanted.add(scene.quality_band)
    return dataclasses.replace(scene, bands=tuple(band for band in scene.bands if band.name in wanted))


def _group_scenes(scenes: Sequence[Scene], longitude_deg: float) -> list[SceneGroup]:
    groups: dict[tuple[str, dt.date, str], list[Scene]] = defaultdict(list)
    for scene in scenes:
        day = solar_day(scene.datetime, longitude_deg)
        groups[scene.collection, day, _radiometry(scene)].append(scene)
    return [
        SceneGroup(
            collection=collection,
            day=day,
            scenes=tuple(sorted(members, key=lambda scene: (scene.datetime, scene.id))),
        )
        for (collection, day, _), members in sorted(groups.items())
    ]


def _radiometry(scene: Scene) -> str:
    # Numbers of different scale, offset or look direction must never meet in one mosaic.
    bands = [[b.name, b.dtype, b.nodata, b.scale, b.offset] for b in scene.bands]
    return sha256_of_json([bands, scene.properties.get("sat:orbit_state")])


def _stored_names(group: SceneGroup, names: Sequence[str] | None) -> tuple[str, ...]:
    offered = [band.name for band in group.scenes[0].bands]
    return tuple(name for name in names if name in offered) if names is not None else tuple(offered)


def _identify(group: SceneGroup, grid: Grid, names: tuple[str, ...], options: ReadOptions) -> CubePlan:
    plan = CubePlan(id="", group=group, grid=grid, bands=names, options=options)
    stem = f"{spell_stem(group.collection)}-{group.day:%Y%m%d}"
    return dataclasses.replace(plan, id=spell_id(stem, plan_digest(plan)))


def _centre_longitude(grid: Grid) -> float:
    rows, cols = grid.shape_yx
    x, y = Affine(*grid.transform) @ (cols / 2, rows / 2)
    return float(Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)[0])
