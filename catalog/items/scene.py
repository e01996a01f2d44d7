"""Build the STAC 1.1 Item of a finished cube: pure, from plan and receipt alone, the same every time."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from catalog.footprints import Footprint, find_footprint
from catalog.items.assets import (
    CUBE_FOLDER,
    PREVIEW_NAME,
    cube_bands,
    data_fields,
    pixel_size_m,
    scene_assets,
    to_number,
)
from catalog.items.collections import SCENES, ZARR_TYPE, provider
from catalog.items.fields import (
    build_item,
    grid_bounds,
    list_links,
    projection_fields,
    software_fields,
    spell_day,
    spell_reference_system,
    to_rfc3339,
)
from catalog.pictures.previews import RgbChoice, choose_rgb
from catalog.records import Band, CubePlan, CubeReceipt, Scene

_LICENSE = re.compile(r"[\w.+-]+")
_LEVEL = "L3"  # mapped on a uniform grid, whatever the level of the source


def scene_item(
    plan: CubePlan, receipt: CubeReceipt, *, root_href: str, execution_href: str | None = None
) -> dict[str, Any]:
    """Build the item that publishes a cube.

    ``created`` and ``updated`` are the catalogue's to set.

    Args:
        plan: What the cube was to be.
        receipt: What was written.
        root_href: Absolute path or URL of the store's root.
        execution_href: URL of the run that made it. It becomes part of the item, so give one only where it is
            the same for every run of the plan.

    Returns:
        A STAC 1.1 Item, JSON-serialisable without NaN. Its ``collection`` link is relative; a server puts
        its own in place of it and adds ``self``, ``parent`` and ``root``.
    """
    root = root_href.rstrip("/")
    footprint = find_footprint(plan.group.scenes, plan.grid)
    properties = {
        **_describe(plan, receipt),
        **_time_fields(plan.group.scenes),
        **_source_fields(plan.group.scenes, footprint),
        **projection_fields(plan.grid),
        **_cube_fields(plan),
        **_processing_fields(plan, receipt),
        "renders": _renders(plan, receipt),
    }
    return build_item(
        plan.id,
        SCENES,
        footprint,
        properties=properties,
        assets=scene_assets(plan, receipt, root_href=root),
        links=list_links(SCENES, _own_links(plan, root), execution_href),
    )


def _describe(plan: CubePlan, receipt: CubeReceipt) -> dict[str, Any]:
    """Say in words what the product is."""
    name = _source_title(plan)
    day = spell_day(plan.group.day)
    size = f"{pixel_size_m(plan.grid):g} m"
    bands = f"{len(plan.bands)} bands" if len(plan.bands) > 1 else plan.bands[0]
    count = len(plan.group.scenes)
    rows, cols = plan.grid.shape_yx
    valid = max(
        (receipt.statistics[b].valid_percent for b in plan.bands if b in receipt.statistics), default=None
    )
    facts = [f"{'A scene' if count == 1 else f'{count} scenes'} of {name} from {day} on a {size} grid"]
    facts += [f"{cols} × {rows} pixels", "bands " + ", ".join(plan.bands)]
    facts += (
        [f"{_spell_percent(valid)} % of the area with data"]
        if valid is not None and math.isfinite(valid)
        else []
    )
    facts += ["clouds and their shadows taken out"] if plan.options.mask == "clouds" else []
    terms = _license_terms(plan.group.scenes)
    return {
        "title": f"{name} · {day} · {bands} at {size}",
        "description": "; ".join(facts) + "." + (f" Source licence: {', '.join(terms)}." if terms else ""),
        "license": _license_id(terms),
        "providers": _providers(plan.group.scenes),
        "keywords": _keywords(plan, choose_rgb(cube_bands(plan))),
    }


def _spell_percent(percent: float) -> str:
    """Round down, so that only a full cube is called 100 %."""
    return f"{math.floor(percent * 10) / 10:g}"


def _source_title(plan: CubePlan) -> str:
    return plan.group.scenes[0].title or plan.group.collection


def _license_terms(scenes: Sequence[Scene]) -> list[str]:
    return sorted({scene.license for scene in scenes if scene.license})


def _license_id(terms: Sequence[str]) -> str:
    """Return the one SPDX id that holds for all; STAC 1.1 calls everything else ``other``."""
    named = len(terms) == 1 and _LICENSE.fullmatch(terms[0]) and terms[0] not in ("proprietary", "various")
    return terms[0] if named else "other"


def _keywords(plan: CubePlan, shown: RgbChoice) -> list[str]:
    kind = {"radar": "radar", "true_colour": "optical", "false_colour": "optical"}.get(shown.kind)
    source = [plan.group.collection, _uniform(plan.group.scenes, "constellation"), kind]
    words = [*source, "analysis-ready", "Zarr"]
    return list(dict.fromkeys(word for word in words if isinstance(word, str)))


def _providers(scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """List the sources' providers, once each, and this project as the last processor."""
    stated = [entry for scene in scenes for entry in scene.properties.get("providers") or []]
    valid = {str(entry["name"]): entry for entry in stated if isinstance(entry, dict) and entry.get("name")}
    ours = provider()
    return [*(entry for name, entry in valid.items() if name != ours["name"]), ours]


def _time_fields(scenes: Sequence[Scene]) -> dict[str, str]:
    """State the first acquisition, and the interval when there is more than one instant."""
    starts = [_parse_time(scene, "start_datetime") for scene in scenes]
    ends = [_parse_time(scene, "end_datetime") for scene in scenes]
    start, end = min(starts), max(ends)
    fields = {"datetime": to_rfc3339(min(scene.datetime for scene in scenes))}
    if start < end:
        fields |= {"start_datetime": to_rfc3339(start), "end_datetime": to_rfc3339(end)}
    return fields


def _parse_time(scene: Scene, key: str) -> dt.datetime:
    text = scene.properties.get(key)
    try:
        parsed = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return scene.datetime
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)


def _number(low: float, high: float) -> Callable[[Any], bool]:
    def fits(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    return fits


def _word(*allowed: str) -> Callable[[Any], bool]:
    def fits(value: object) -> bool:
        return isinstance(value, str) and bool(value) and (not allowed or value in allowed)

    return fits


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _polarisations(value: object) -> bool:
    known = {"HH", "VV", "HV", "VH", "LH", "LV", "RH", "RV", "CH", "CV"}
    return (
        isinstance(value, list) and bool(value) and len(set(value)) == len(value) and known.issuperset(value)
    )


_POSITIVE, _ANGLE = _number(1e-9, 1e9), _number(0, 90)
_CARRIED: dict[str, Callable[[Any], bool]] = {
    "platform": _word(),
    "constellation": _word(),
    "mission": _word(),
    "gsd": _POSITIVE,
    "sar:instrument_mode": _word(),
    "sar:frequency_band": _word("P", "L", "S", "C", "X", "Ku", "K", "Ka"),
    "sar:center_frequency": _POSITIVE,
    "sar:polarizations": _polarisations,
    "sar:product_type": _word(),
    "sar:observation_direction": _word("left", "right"),
    "sar:looks_equivalent_number": _POSITIVE,
    "sat:platform_international_designator": _word(),
    "sat:orbit_state": _word("ascending", "descending", "geostationary", "crossing"),
    "sat:absolute_orbit": _integer,
    "sat:relative_orbit": _integer,
    "view:off_nadir": _ANGLE,
    "view:incidence_angle": _ANGLE,
    "view:azimuth": _number(0, 360),
    "view:sun_azimuth": _number(0, 360),
    "view:sun_elevation": _number(-90, 90),
}
"""Source properties that hold for the cube when all scenes agree, and a test of them: foreign items err."""


def _source_fields(scenes: Sequence[Scene], footprint: Footprint) -> dict[str, Any]:
    """Carry on what the scenes agree on."""
    fields = {key: _uniform(scenes, key) for key in _CARRIED}
    fields = {key: value for key, value in fields.items() if value is not None and _CARRIED[key](value)}
    stated = (scene.properties.get("instruments") for scene in scenes)
    instruments = {
        name for names in stated if isinstance(names, list) for name in names if isinstance(name, str)
    }
    if instruments:
        fields["instruments"] = sorted(instruments)
    cloud = _mean_cloud_cover(scenes, footprint.weights)
    if cloud is not None:
        fields["eo:cloud_cover"] = cloud
    return fields


def _uniform(scenes: Sequence[Scene], key: str) -> Any:  # noqa: ANN401 (a foreign JSON value)
    """Return the one value all scenes share; None when they differ or one has none."""
    values = [scene.properties.get(key) for scene in scenes]
    return values[0] if all(value == values[0] for value in values) else None


def _mean_cloud_cover(scenes: Sequence[Scene], weights: Sequence[float]) -> float | int | None:
    """Average the scenes' cloud cover, %, by the area each has in the grid."""
    percent = _number(0, 100)
    stated = [
        (float(scene.properties["eo:cloud_cover"]), weight)
        for scene, weight in zip(scenes, weights, strict=True)
        if percent(scene.properties.get("eo:cloud_cover"))
    ]
    if len(stated) != len(scenes):
        return None
    total = sum(weight for _, weight in stated)
    if total <= 0:
        return to_number(round(math.fsum(cover for cover, _ in stated) / len(stated), 2))
    return to_number(round(math.fsum(cover * weight for cover, weight in stated) / total, 2))


def _cube_fields(plan: CubePlan) -> dict[str, Any]:
    """Describe dimensions and variables; extents are the outer pixel edges."""
    left, bottom, right, top = grid_bounds(plan.grid)
    a, b, _, d, e, _ = plan.grid.transform
    straight = b == 0 and d == 0
    reference = spell_reference_system(plan.grid.crs)
    steps = (to_number(a), to_number(e)) if straight else (None, None)
    extents = ([to_number(left), to_number(right)], [to_number(bottom), to_number(top)])
    dimensions = {
        axis: {"type": "spatial", "axis": axis, "extent": extent, "step": step, "reference_system": reference}
        for axis, extent, step in zip(("x", "y"), extents, steps, strict=True)
    }
    variables = {band.name: _describe_variable(band) for band in cube_bands(plan)}
    return {"cube:dimensions": dimensions, "cube:variables": variables}


def _describe_variable(band: Band) -> dict[str, Any]:
    return {"dimensions": ["y", "x"], "variable_type": "data", **data_fields(band)}


def _processing_fields(plan: CubePlan, receipt: CubeReceipt) -> dict[str, Any]:
    count = len(plan.group.scenes)
    masked = "clouds, shadows and fill set to nodata" if plan.options.mask == "clouds" else "no pixel masked"
    items = f"{count} source item{'' if count == 1 else 's'} of {plan.group.collection}"
    lineage = (
        f"{items} read by {plan.options.loader} onto one grid (data bands {plan.options.resampling}, class "
        f"bands nearest), first valid pixel wins, {masked}, stored numbers kept. Plan {receipt.plan_digest}."
    )
    fields = {"processing:level": _LEVEL, "processing:lineage": lineage}
    return fields | software_fields(receipt.software)


def _renders(plan: CubePlan, receipt: CubeReceipt) -> dict[str, Any]:
    """Say how to draw the item: the preview as it is, or the cube's own bands stretched."""
    shown = choose_rgb(cube_bands(plan))
    full: dict[str, Any] = {
        "rescale": [[0, 255]] * 3,
        "resampling": "nearest" if shown.kind == "classes" else "bilinear",
    }
    renders: dict[str, Any] = {}
    if any(file.path == PREVIEW_NAME for file in receipt.files):
        renders["preview"] = {"title": shown.title, "assets": ["preview"], **full}
    limits = [receipt.statistics[name] for name in shown.names if name in receipt.statistics]
    low = min((entry.percentile_2 for entry in limits), default=math.nan)
    high = max((entry.percentile_98 for entry in limits), default=math.nan)
    if shown.kind in ("true_colour", "false_colour", "grey") and math.isfinite(low) and low < high:
        rescale = [[to_number(low), to_number(high)]] * len(shown.names)
        data = {"title": shown.title, "assets": ["data"], "bands": [list(shown.names)], "rescale": rescale}
        renders["data"] = data
    return renders


def _own_links(plan: CubePlan, root: str) -> list[dict[str, Any]]:
    store = {
        "rel": "store",
        "href": f"{root}/{plan.path}/{CUBE_FOLDER}",
        "type": ZARR_TYPE,
        "title": "Zarr store",
    }
    derived = [
        {"rel": "derived_from", "href": scene.self_href, "type": "application/geo+json", "title": scene.id}
        for scene in plan.group.scenes
        if scene.self_href
    ]
    return [store, *derived]
