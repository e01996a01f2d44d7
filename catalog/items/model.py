"""Build the STAC 1.1 Item of a trained model, by the MLM extension: pure, from plan and receipt alone."""

from __future__ import annotations

import re
from typing import Any

from catalog.footprints import Footprint
from catalog.items.assets import file_fields, to_number
from catalog.items.collections import MODELS, item_asset, provider
from catalog.items.fields import build_item, derived_link, list_links, software_fields
from catalog.models.card import ArrayCard, ModelCard, StartCard
from catalog.models.plan import ModelPlan, ModelReceipt, plan_model
from catalog.models.product import (
    CARD_NAME,
    CARD_PAGE_NAME,
    CURVE_NAME,
    HISTORY_NAME,
    THUMBNAIL_NAME,
    WEIGHTS_NAME,
)
from catalog.receipts import RECEIPT_NAME

ANY_TIME = ("1900-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
"""What MLM's practice states of a model that is not made for a period of its own."""
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_NAMES = {
    "weights": WEIGHTS_NAME,
    "card": CARD_PAGE_NAME,
    "card_data": CARD_NAME,
    "history": HISTORY_NAME,
    "curve": CURVE_NAME,
    "thumbnail": THUMBNAIL_NAME,
}
"""Asset → the file of the product behind it, in the order to list them."""
_FLOAT32_BYTES = 4
_EO_BANDS = "https://stac-extensions.github.io/eo/v1.1.0/schema.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+(\+[0-9A-Za-z.-]+)?")  # the part of semantic versions that torch uses


def model_item(
    plan: ModelPlan, receipt: ModelReceipt, *, root_href: str, execution_href: str | None = None
) -> dict[str, Any]:
    """Build the item that publishes a trained model.

    It is valid anywhere and at any time, as far as STAC is concerned. ``created`` and ``updated`` are the
    catalogue's to set.

    Args:
        plan: Which model.
        receipt: What was written.
        root_href: Absolute path or URL of the store's root.
        execution_href: URL of the run that made it.

    Returns:
        A STAC 1.1 Item, JSON-serialisable. The link to the collection is relative; a server puts its own in
        its place.
    """
    card = receipt.card
    start, end = ANY_TIME
    properties = {
        **_describe(card),
        "datetime": None,
        "start_datetime": start,
        "end_datetime": end,
        **_network_fields(card),
        **_model_fields(card),
        **_processing_fields(card, receipt),
    }
    item = build_item(
        plan.id,
        MODELS,
        Footprint(geometry=_world(), bbox=_WORLD, weights=()),
        properties=properties,
        assets=_list_assets(plan, receipt, root_href.rstrip("/")),
        links=list_links(MODELS, _derived_links(card), execution_href),
    )
    return _name_bands(item, card)


def _name_bands(item: dict[str, Any], card: ModelCard) -> dict[str, Any]:
    """List the bands that inputs and outputs refer to.

    MLM 1.5 asks for them in ``properties.bands``, where STAC 1.1 has none, or in the older ``eo:bands``.
    """
    signature = card.signature
    bands = [band for array in (*signature.inputs, *signature.outputs) for band in array.bands]
    if bands:
        item["assets"]["weights"]["eo:bands"] = [{"name": band} for band in dict.fromkeys(bands)]
        item["stac_extensions"].append(_EO_BANDS)
    return item


def _world() -> dict[str, Any]:
    west, south, east, north = _WORLD
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _describe(card: ModelCard) -> dict[str, Any]:
    """Say in words what the model is."""
    training = card.training
    told = [
        card.summary,
        f"{card.weights.parameters:,} parameters, trained for {training.steps:,} steps "
        f"({training.minutes:.1f} minutes) with seed {training.seed} on {training.device}.",
    ]
    return {
        "title": card.title if card.name in card.title else f"{card.title} ({card.name})",
        "description": " ".join(told),
        "license": card.licence,
        "providers": [provider()],
        "keywords": ["model", card.name, card.signature.architecture, *card.signature.tasks],
    }


def _network_fields(card: ModelCard) -> dict[str, Any]:
    """State what MLM asks of a network: what it is, what goes in, what comes out, what it needs."""
    signature, training = card.signature, card.training
    fields: dict[str, Any] = {
        "mlm:name": card.name,
        "mlm:architecture": signature.architecture,
        "mlm:tasks": list(signature.tasks),
        "mlm:framework": "PyTorch",
        "mlm:memory_size": card.weights.parameters * _FLOAT32_BYTES,
        "mlm:total_parameters": card.weights.parameters,
        "mlm:pretrained": card.start is not None,
        "mlm:pretrained_source": None if card.start is None else _start_id(card.start),
        "mlm:accelerator": _find_accelerator(training.device),
        "mlm:accelerator_constrained": False,
        "mlm:accelerator_summary": "Runs on any CPU, and on CUDA GPUs; trained on "
        f"{training.device}, in {training.precision}.",
        "mlm:hyperparameters": dict(training.config)
        | {
            "seed": training.seed,
            "processes": training.processes,
        },
        "mlm:input": [_describe_input(array) for array in signature.inputs],
        "mlm:output": [_describe_output(array, signature.tasks) for array in signature.outputs],
    }
    if _VERSION.fullmatch(card.software.get("torch", "")):
        fields["mlm:framework_version"] = card.software["torch"]
    return fields


def _start_id(start: StartCard) -> str:
    return plan_model(start.name, start.sha256).id


def _find_accelerator(device: str) -> str | None:
    """Name what a model was trained on in MLM's words; None where they have none for it."""
    if "CPU" not in device:
        return "cuda"
    return "amd64" if device.startswith(("x86_64", "AMD64")) else None


def _describe_input(array: ArrayCard) -> dict[str, Any]:
    described: dict[str, Any] = _describe_array(array) | {
        "input": _structure(array),
        "value_scaling": list(array.scaling) or None,
    }
    if array.prepared_by:
        described["pre_processing_function"] = {"format": "python", "expression": array.prepared_by}
    return described


def _describe_output(array: ArrayCard, tasks: tuple[str, ...]) -> dict[str, Any]:
    return _describe_array(array) | {"tasks": list(tasks), "result": _structure(array)}


def _describe_array(array: ArrayCard) -> dict[str, Any]:
    return {"name": array.name, "description": array.description, "bands": list(array.bands)}


def _structure(array: ArrayCard) -> dict[str, Any]:
    return {"shape": list(array.shape), "dim_order": list(array.axes), "data_type": array.dtype}


def _model_fields(card: ModelCard) -> dict[str, Any]:
    """State how the model came about and how good it is, as properties that searches can ask for."""
    training = card.training
    figures = {name: value for name, value in card.figures.items() if value is not None}
    stated: dict[str, Any] = {
        "data": list(card.data),
        "steps": training.steps,
        "best_step": training.best_step,
        "seed": training.seed,
        "minutes": to_number(training.minutes),
        "device": training.device,
        "limits": list(card.limits),
        "validation": card.validation,
        "figures": {name: to_number(value) for name, value in figures.items()},
        "score": None if card.score is None else to_number(card.score),
    }
    return {f"model:{name}": value for name, value in stated.items() if value is not None}


def _processing_fields(card: ModelCard, receipt: ModelReceipt) -> dict[str, Any]:
    software = card.software | receipt.software
    begun = "fresh weights" if card.start is None else f"those of {_start_id(card.start)}"
    lineage = (
        f"Trained from {begun} with seed {card.training.seed}; the weights of step "
        f"{card.training.best_step:,} are kept, as {card.weights.numbers}: SHA-256 {card.weights.sha256}."
    )
    return {"processing:lineage": lineage} | software_fields(software)


def _list_assets(plan: ModelPlan, receipt: ModelReceipt, root: str) -> dict[str, Any]:
    folder, files = f"{root}/{plan.path}", {file.path: file for file in receipt.files}
    assets = {
        key: {"href": f"{folder}/{name}"} | item_asset(MODELS, key) | file_fields(files[name])
        for key, name in _NAMES.items()
        if name in files
    }
    assets["receipt"] = {"href": f"{folder}/{RECEIPT_NAME}"} | item_asset(MODELS, "receipt")
    return assets


def _derived_links(card: ModelCard) -> list[dict[str, str]]:
    start = card.start
    return [] if start is None else [derived_link(MODELS, _start_id(start), start.name)]
