"""Build the STAC 1.1 Item of a scene's embeddings: pure, from plan and receipt alone."""

from __future__ import annotations

from decimal import ROUND_CEILING, Context
from typing import Any

from catalog.embeddings.finish import PREVIEW_NAME, THUMBNAIL_NAME, VECTORS_NAME
from catalog.embeddings.layout import CUBE_FOLDER, INT8_FILL, VARIABLE
from catalog.embeddings.pictures import picture_grid
from catalog.embeddings.plan import EmbeddingPlan, EmbeddingReceipt
from catalog.embeddings.vectors import COLUMNS, GEOMETRY
from catalog.footprints import find_footprint
from catalog.items.assets import describe_channel, file_fields, pixel_size_m, spell_statistics, to_number
from catalog.items.collections import EMBEDDINGS, MODELS, item_asset, provider
from catalog.items.fields import (
    build_item,
    derived_link,
    grid_bounds,
    list_links,
    projection_fields,
    software_fields,
    spell_day,
    spell_reference_system,
    to_rfc3339,
)
from catalog.pictures.cogs import PREVIEW_CHANNELS
from catalog.receipts import RECEIPT_NAME
from catalog.records import StoredFile
from infra.digests import sha256_of_json, to_multihash

_LEVEL = "L4"  # computed from gridded scenes by a model
_FIGURES = 4  # digits of errors and scales that a reader has use for
_MODALITIES = {"rgb": "optical", "sar": "radar"}


def embedding_item(
    plan: EmbeddingPlan, receipt: EmbeddingReceipt, *, root_href: str, execution_href: str | None = None
) -> dict[str, Any]:
    """Build the item that publishes embeddings.

    ``created`` and ``updated`` are the catalogue's to set.

    Args:
        plan: What the product was to be.
        receipt: What was written.
        root_href: Absolute path or URL of the store's root.
        execution_href: URL of the run that made it, where it is the same for every run of the plan.

    Returns:
        A STAC 1.1 Item, JSON-serialisable. Links to collection, scenes and model are relative; a server puts
        its own in their place.
    """
    footprint = find_footprint([plan.scene], plan.scene.grid)
    properties = {
        **_describe(plan, receipt),
        "datetime": to_rfc3339(plan.scene.datetime),
        **embedding_fields(plan, receipt),
        **projection_fields(plan.grid),
        **_cube_fields(plan),
        **_processing_fields(plan, receipt),
        "renders": {
            "preview": {
                "title": "Principal components",
                "assets": ["preview"],
                "rescale": [[0, 255]] * 3,
                "resampling": "bilinear",
            }
        },
    }
    return build_item(
        plan.id,
        EMBEDDINGS,
        footprint,
        properties=properties,
        assets=_list_assets(plan, receipt, root_href.rstrip("/")),
        links=list_links(EMBEDDINGS, _derived_links(plan), execution_href),
    )


def embedding_fields(plan: EmbeddingPlan, receipt: EmbeddingReceipt) -> dict[str, Any]:
    """State what the vectors are as properties that searches can ask for."""
    settings = plan.settings
    stated = {
        "model": plan.model,
        "model_sha256": plan.model_digest,
        "scenes": [each.scene.id for each in plan.inputs],
        "modalities": [each.modality for each in plan.inputs],
        "variables": [name for each in plan.inputs for name in each.names],
        "width": settings.width,
        "cell_m": to_number(pixel_size_m(plan.grid)),
        "tile_m": to_number(pixel_size_m(plan.grid) * plan.tile_cells),
        "tiles": receipt.tiles,
        "window_px": settings.window_px,
        "overlap_px": settings.overlap_px,
        "stored_as": settings.dtype,
        "computed_in": settings.precision,
        "computed_on": receipt.device,
        "error_max": _round_up(receipt.error.maximum),
        "error_rms": _round(receipt.error.rms),
        "clipped": receipt.error.clipped,
    }
    return {f"embedding:{name}": value for name, value in stated.items() if value is not None}


def _describe(plan: EmbeddingPlan, receipt: EmbeddingReceipt) -> dict[str, Any]:
    """Say in words what the product is."""
    scene, settings = plan.scene, plan.settings
    name = " and ".join(each.scene.title.split(" · ")[0] for each in plan.inputs)
    kinds = " and ".join(_MODALITIES[each.modality] for each in plan.inputs)
    rows, cols = plan.grid.shape_yx
    return {
        "title": f"Embeddings of {name} of {spell_day(scene.datetime.date())} by {plan.model}",
        "description": (
            f"What {plan.model} sees in {kinds} imagery ({_list_scenes(plan)}): a vector of "
            f"{settings.width} numbers for every {pixel_size_m(plan.grid):g} m, {cols} × {rows} "
            f"cells, and one for each of {receipt.tiles} tiles to search by. Stored as {settings.dtype}; "
            f"stored numbers differ from the computed ones by {_round(receipt.error.rms):g} (RMS), "
            f"{_round_up(receipt.error.maximum):g} at most."
        ),
        "license": "other",  # that of the scenes
        "providers": [provider()],
        "keywords": ["embeddings", "features", plan.model, *(kinds.split(" and "))],
    }


def _list_scenes(plan: EmbeddingPlan) -> str:
    return ", ".join(each.scene.id for each in plan.inputs)


def _cube_fields(plan: EmbeddingPlan) -> dict[str, Any]:
    left, bottom, right, top = map(to_number, grid_bounds(plan.grid))
    a, b, _, d, e, _ = plan.grid.transform
    steps = (to_number(a), to_number(e)) if b == 0 and d == 0 else (None, None)
    reference = spell_reference_system(plan.grid.crs)
    dimensions: dict[str, Any] = {
        axis: {"type": "spatial", "axis": axis, "extent": extent, "step": step, "reference_system": reference}
        for axis, extent, step in zip(("x", "y"), ([left, right], [bottom, top]), steps, strict=True)
    }
    width = plan.settings.width
    dimensions["feature"] = {
        "type": "feature",
        "description": "Component of the vector; it has no unit and no meaning by itself.",
        "extent": [0, width - 1],
        "step": 1,
    }
    return {
        "cube:dimensions": dimensions,
        "cube:variables": {
            VARIABLE: {
                "dimensions": ["feature", "y", "x"],
                "variable_type": "data",
                "description": f"Vector that {plan.model} gives a cell.",
            }
        },
    }


def _processing_fields(plan: EmbeddingPlan, receipt: EmbeddingReceipt) -> dict[str, Any]:
    settings = plan.settings
    weights = f"weights {plan.model_digest}" if plan.model_digest else "no weights"
    lineage = (
        f"{_list_scenes(plan)}, each band standardised over the scene, in windows of "
        f"{settings.window_px} px that overlap by {settings.overlap_px} px and are blended smoothly; "
        f"{plan.model}, {weights}, {settings.precision}. Plan {receipt.plan_digest}."
    )
    fields: dict[str, Any] = {"processing:level": _LEVEL, "processing:lineage": lineage}
    fields |= software_fields(receipt.software)
    if plan.model_item is not None:
        href = derived_link(MODELS, plan.model_item, plan.model)["href"]
        fields["processing:expression"] = {"format": "stac-mlm", "expression": href}
    return fields


def _list_assets(plan: EmbeddingPlan, receipt: EmbeddingReceipt, root: str) -> dict[str, Any]:
    folder, files = f"{root}/{plan.path}", {file.path: file for file in receipt.files}
    picture = picture_grid(plan.grid)
    details: dict[str, dict[str, Any]] = {
        "vectors": {
            "table:columns": [
                {"name": each.name, "type": each.type, "description": each.description} for each in COLUMNS
            ],
            "table:primary_geometry": GEOMETRY,
            "table:row_count": receipt.tiles,
        },
        "preview": projection_fields(picture)
        | {
            "raster:spatial_resolution": to_number(pixel_size_m(picture)),
            "bands": [describe_channel(key, receipt.statistics.get(key)) for key in PREVIEW_CHANNELS],
        },
    }
    assets = {"data": _data_asset(plan, receipt, folder)}
    for key, name in (("vectors", VECTORS_NAME), ("preview", PREVIEW_NAME), ("thumbnail", THUMBNAIL_NAME)):
        own = {"href": f"{folder}/{name}"} | item_asset(EMBEDDINGS, key)
        assets[key] = own | details.get(key, {}) | file_fields(files[name])
    assets["receipt"] = {"href": f"{folder}/{RECEIPT_NAME}"} | item_asset(EMBEDDINGS, "receipt")
    return assets


def _data_asset(plan: EmbeddingPlan, receipt: EmbeddingReceipt, folder: str) -> dict[str, Any]:
    """Describe the Zarr group; its digest is that of a list of its files, as for cubes."""
    files = [file for file in receipt.files if file.path.startswith(f"{CUBE_FOLDER}/")]
    whole = plan.settings.dtype == "int8"
    asset = {"href": f"{folder}/{CUBE_FOLDER}"} | item_asset(EMBEDDINGS, "data")
    asset |= {
        "file:size": sum(file.size for file in files),
        "file:checksum": to_multihash(_digest_manifest(files)),
        "raster:spatial_resolution": to_number(pixel_size_m(plan.grid)),
        "data_type": plan.settings.dtype,
        "nodata": INT8_FILL if whole else "nan",
    }
    if whole:
        asset |= {"raster:scale": receipt.scale, "raster:offset": 0}
    if VARIABLE in receipt.statistics:
        asset["statistics"] = spell_statistics(receipt.statistics[VARIABLE])
    return asset


def _digest_manifest(files: list[StoredFile]) -> str:
    return sha256_of_json(
        [[file.path, file.size, file.sha256] for file in sorted(files, key=lambda file: file.path)]
    )


def _derived_links(plan: EmbeddingPlan) -> list[dict[str, str]]:
    links = [derived_link(each.scene.collection, each.scene.id, each.scene.title) for each in plan.inputs]
    return links if plan.model_item is None else [*links, derived_link(MODELS, plan.model_item, plan.model)]


def _round(value: float) -> float:
    return float(f"{value:.{_FIGURES}g}")


def _round_up(bound: float) -> float:
    """Shorten a bound so that it holds still."""
    return float(Context(prec=_FIGURES, rounding=ROUND_CEILING).create_decimal(repr(bound)))
