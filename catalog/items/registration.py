"""Build the STAC 1.1 Item of a registration: pure, from plan and receipt alone."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from catalog.footprints import find_footprint
from catalog.items.assets import describe_channel, file_fields, pixel_size_m, to_number
from catalog.items.collections import MODELS, REGISTRATIONS, item_asset, provider
from catalog.items.fields import (
    build_item,
    derived_link,
    list_links,
    projection_fields,
    software_fields,
    spell_day,
    to_rfc3339,
)
from catalog.pictures.cogs import PREVIEW_CHANNELS
from catalog.receipts import RECEIPT_NAME
from catalog.registrations.plan import RegistrationPlan, RegistrationReceipt, SceneFacts
from catalog.registrations.product import (
    CHECKERBOARD_NAME,
    CORRECTED_NAME,
    POINTS_NAME,
    PREVIEW_NAME,
    THUMBNAIL_NAME,
    TRANSFORM_NAME,
)
from catalog.registrations.tie_points import COLUMNS, GEOMETRY

_LEVEL = "L3"  # geolocation of gridded scenes, no new measurement
_NAMES = {
    "transform": TRANSFORM_NAME,
    "tie_points": POINTS_NAME,
    "corrected": CORRECTED_NAME,
    "preview": PREVIEW_NAME,
    "checkerboard": CHECKERBOARD_NAME,
    "thumbnail": THUMBNAIL_NAME,
}
"""Asset → the file of the product behind it, in the order to list them."""
_IN_METRES = {"rmse_px": "rmse_m", "shift_px": "shift_m"}


def registration_item(
    plan: RegistrationPlan, receipt: RegistrationReceipt, *, root_href: str, execution_href: str | None = None
) -> dict[str, Any]:
    """Build the item that publishes a registration, or that two scenes could not be registered.

    ``created`` and ``updated`` are the catalogue's to set.

    Args:
        plan: What the product was to be.
        receipt: What was written.
        root_href: Absolute path or URL of the store's root.
        execution_href: URL of the run that made it, where it is the same for every run of the plan.

    Returns:
        A STAC 1.1 Item, JSON-serialisable. Links to the collection and to both scenes are relative; a server
        puts its own in their place.
    """
    footprint = find_footprint((), plan.grid)
    properties = {
        **_describe(plan, receipt),
        "datetime": to_rfc3339(plan.moving.datetime),
        **registration_fields(plan, receipt),
        **projection_fields(plan.grid),
        **_processing_fields(plan, receipt),
        "renders": {
            "preview": {
                "title": "Moving scene",
                "assets": ["preview"],
                "rescale": [[0, 255]] * 3,
                "resampling": "bilinear",
            }
        },
    }
    return build_item(
        plan.id,
        REGISTRATIONS,
        footprint,
        properties=properties,
        assets=_list_assets(plan, receipt, root_href.rstrip("/")),
        links=list_links(REGISTRATIONS, _derived_links(plan), execution_href),
    )


def registration_fields(plan: RegistrationPlan, receipt: RegistrationReceipt) -> dict[str, Any]:
    """State the verdict and its figures as properties that searches can ask for."""
    pixel_m = pixel_size_m(plan.grid)
    figures = {name: value for name, value in receipt.figures.items() if value is not None}
    metres = {
        _IN_METRES[name]: round(value * pixel_m, 3) for name, value in figures.items() if name in _IN_METRES
    }
    stated = {
        "registered": receipt.registered,
        "reason": receipt.reason,
        "model": receipt.model,
        "applied": receipt.applied,
        "matcher": plan.matcher,
        "fixed": plan.fixed.id,
        "moving": plan.moving.id,
        **{name: to_number(value) for name, value in (figures | metres).items()},
    }
    return {f"registration:{name}": value for name, value in stated.items() if value is not None}


def _describe(plan: RegistrationPlan, receipt: RegistrationReceipt) -> dict[str, Any]:
    """Say in words what the product is."""
    verdict = "registered" if receipt.registered else f"not registered ({receipt.reason})"
    day, fixed_day = (spell_day(scene.datetime.date()) for scene in (plan.moving, plan.fixed))
    return {
        "title": f"{_short(plan.moving)} of {day} to {_short(plan.fixed)} of {fixed_day}: {verdict}",
        "description": (
            f"{plan.moving.title}, registered to: {plan.fixed.title}. {receipt.explanation} "
            f"Compared on a {pixel_size_m(plan.grid):g} m grid, {plan.grid.shape_yx[1]} × "
            f"{plan.grid.shape_yx[0]} pixels; {_say_how(receipt)}"
        ),
        "license": "other",  # that of the scenes
        "providers": [provider()],
        "keywords": ["registration", "tie points", verdict.split(" (")[0], plan.matcher],
    }


def _short(scene: SceneFacts) -> str:
    return scene.title.split(" · ")[0]


def _say_how(receipt: RegistrationReceipt) -> str:
    if receipt.applied == "geotransform":
        return "the moving scene's pixels stand as they are, on a corrected geotransform."
    if receipt.applied == "warp":
        return "the moving scene is resampled once onto the fixed one's grid."
    return "nothing is corrected."


def _processing_fields(plan: RegistrationPlan, receipt: RegistrationReceipt) -> dict[str, Any]:
    lineage = (
        f"{plan.moving.id} compared with {plan.fixed.id} by {plan.matcher}, checked by windows sought on "
        f"an even grid; transform by cross-validation; settings as in the plan {receipt.plan_digest}."
    )
    fields: dict[str, Any] = {"processing:level": _LEVEL, "processing:lineage": lineage}
    fields |= software_fields(receipt.software)
    if plan.model_item is not None:
        place = f"collections/{MODELS}/items/{quote(plan.model_item)}"  # below the catalogue's landing page
        fields["processing:expression"] = {"format": "stac-mlm", "expression": place}
    return fields


def _list_assets(plan: RegistrationPlan, receipt: RegistrationReceipt, root: str) -> dict[str, Any]:
    folder, files = f"{root}/{plan.path}", {file.path: file for file in receipt.files}
    grid = projection_fields(plan.grid) | {"raster:spatial_resolution": to_number(pixel_size_m(plan.grid))}
    details: dict[str, dict[str, Any]] = {
        "tie_points": {
            "table:columns": [
                {"name": c.name, "type": c.type, "description": c.description} for c in COLUMNS
            ],
            "table:primary_geometry": GEOMETRY,
            "table:row_count": int(receipt.figures.get("points") or 0),
        },
        "preview": grid
        | {"bands": [describe_channel(key, receipt.statistics.get(key)) for key in PREVIEW_CHANNELS]},
        "corrected": grid | {"bands": [{"name": band.name} for band in plan.moving.bands]},
    }
    assets: dict[str, Any] = {}
    if receipt.corrected_transform is not None and plan.moving.bands:
        assets["data"] = _corrected_data(plan, receipt.corrected_transform, root)
    for key, name in _NAMES.items():
        if name in files:
            own = {"href": f"{folder}/{name}"} | item_asset(REGISTRATIONS, key)
            assets[key] = own | details.get(key, {}) | file_fields(files[name])
    assets["receipt"] = {"href": f"{folder}/{RECEIPT_NAME}"} | item_asset(REGISTRATIONS, "receipt")
    return assets


def _corrected_data(plan: RegistrationPlan, transform: tuple[float, ...], root: str) -> dict[str, Any]:
    """Point to the moving cube's own pixels, with the geotransform that puts them right."""
    moving = plan.moving
    place = projection_fields(moving.grid)
    del place["proj:bbox"]  # of the grid as it was
    return (
        {"href": f"{root}/{moving.path}/cube.zarr/0"}
        | item_asset(REGISTRATIONS, "data")
        | place
        | {"proj:transform": [to_number(value) for value in transform]}
        | {"bands": [{"name": band.name} for band in moving.bands]}
    )


def _derived_links(plan: RegistrationPlan) -> list[dict[str, str]]:
    links = [derived_link(scene.collection, scene.id, scene.title) for scene in (plan.fixed, plan.moving)]
    return links if plan.model_item is None else [*links, derived_link(MODELS, plan.model_item, plan.matcher)]
