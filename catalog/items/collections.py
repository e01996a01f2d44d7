"""Describe the collections of the catalogue as STAC 1.1 Collections, from one table."""

from __future__ import annotations

import copy
from typing import Any

from infra.errors import NotFoundError

STAC_VERSION = "1.1.0"
SCENES = "scenes"
ZARR_TYPE = "application/vnd.zarr; version=3"
PYRAMID_TYPE = "application/vnd.zarr; version=3; profile=multiscales"
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"

_PROVIDER = {
    "name": "Terraloom",
    "roles": ["processor"],
    "description": "The pipeline that made the products.",
}

_TABLE: dict[str, dict[str, Any]] = {
    SCENES: {
        "title": "Analysis-ready scenes",
        "description": (
            "Satellite and aerial scenes as analysis-ready cubes: all scenes of one source collection and "
            "one solar day, mosaicked on one pixel grid, in the source's own number format. Each cube is a "
            "Zarr v3 store with overviews (GeoZarr conventions and CF), with a cloud-optimised GeoTIFF to "
            "look at, a thumbnail and a receipt that lists every file with its checksum."
        ),
        "keywords": ["analysis-ready", "cube", "Zarr", "GeoZarr", "COG", "imagery"],
        "license": "other",  # each item carries that of its source
        "stac_extensions": [PROCESSING],
        "item_assets": {
            "data": {
                "title": "Cube, full resolution",
                "description": "Zarr group with one (y, x) array per band; open it with xarray.open_zarr.",
                "type": ZARR_TYPE,
                "roles": ["data"],
            },
            "pyramid": {
                "title": "Cube with overviews",
                "description": "Zarr root group; its children 0, 1, 2 … are the resolution levels.",
                "type": PYRAMID_TYPE,
                "roles": ["multiscales"],
            },
            "preview": {
                "title": "Preview",
                "description": "8-bit picture for maps and GIS; not for measuring.",
                "type": COG_TYPE,
                "roles": ["overview", "visual"],
            },
            "thumbnail": {"title": "Thumbnail", "type": "image/png", "roles": ["thumbnail"]},
            "receipt": {
                "title": "Receipt",
                "description": "Every file of the product with size and SHA-256, and per-band statistics.",
                "type": "application/json",
                "roles": ["metadata"],
            },
        },
        "summaries": {"processing:level": ["L3"]},
    },
}

COLLECTION_IDS = tuple(_TABLE)
"""Ids of all collections the project publishes into."""


def collection_document(collection_id: str) -> dict[str, Any]:
    """Build a collection as a STAC 1.1 document.

    The extent is the whole world at any time, which a catalogue narrows to the items it holds; links are the
    server's as well.

    Raises:
        NotFoundError: no collection goes by that id.
    """
    if collection_id not in _TABLE:
        raise NotFoundError(f"There is no collection {collection_id!r}; known are {', '.join(_TABLE)}.")
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": collection_id,
        "providers": [copy.deepcopy(_PROVIDER)],
        "extent": {
            "spatial": {"bbox": [[-180.0, -90.0, 180.0, 90.0]]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": [],
        **copy.deepcopy(_TABLE[collection_id]),
    }


def item_asset(collection_id: str, key: str) -> dict[str, Any]:
    """Return what all items of a collection say about one asset: title, description, type, roles."""
    asset: dict[str, Any] = copy.deepcopy(_TABLE[collection_id]["item_assets"][key])
    return asset


def provider() -> dict[str, Any]:
    """Return this project as a STAC provider."""
    return copy.deepcopy(_PROVIDER)
