"""Describe the collections of the catalogue as STAC 1.1 Collections, from one table."""

from __future__ import annotations

import copy
from typing import Any

from catalog.osm.terms import ATTRIBUTION, COPYRIGHT_URL, LICENSE, LICENSE_URL
from infra.errors import NotFoundError

STAC_VERSION = "1.1.0"
SCENES = "scenes"
OSM = "osm"
REGISTRATIONS = "registrations"
EMBEDDINGS = "embeddings"
MODELS = "models"
ZARR_TYPE = "application/vnd.zarr; version=3"
PYRAMID_TYPE = "application/vnd.zarr; version=3; profile=multiscales"
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
PARQUET_TYPE = "application/vnd.apache.parquet"
SAFETENSORS_TYPE = "application/octet-stream; application=safetensors"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
MLM = "https://stac-extensions.github.io/mlm/v1.5.2/schema.json"

_PROVIDER = {
    "name": "Terraloom",
    "roles": ["processor"],
    "description": "The pipeline that made the products.",
}

_OSM_PROVIDER = {
    "name": "OpenStreetMap contributors",
    "roles": ["producer", "licensor"],
    "url": COPYRIGHT_URL,
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
    OSM: {
        "title": "OpenStreetMap",
        "description": (
            "Areas of OpenStreetMap, one item per area and state of the map: all features as GeoParquet, "
            "what could not become a feature with the reason, a drawn map and a class raster on one pixel "
            "grid, and where asked for the features as a graph and the street network. "
            f"{ATTRIBUTION}, under the Open Database License."
        ),
        "keywords": ["OpenStreetMap", "OSM", "vector", "GeoParquet", "graph", "map", "land use"],
        "license": LICENSE,
        "attribution": ATTRIBUTION,
        "stac_extensions": [PROCESSING],
        "providers": [_OSM_PROVIDER],
        "links": [
            {
                "rel": "license",
                "href": LICENSE_URL,
                "type": "text/html",
                "title": "Open Database License 1.0",
            },
            {
                "rel": "via",
                "href": COPYRIGHT_URL,
                "type": "text/html",
                "title": "Copyright and attribution of OpenStreetMap",
            },
        ],
        "item_assets": {
            "features": {
                "title": "Features",
                "description": (
                    "GeoParquet 1.1, one row per feature, along a Hilbert curve with a box per row: "
                    "geopandas.read_parquet(…, bbox=…) reads only what lies near."
                ),
                "type": PARQUET_TYPE,
                "roles": ["data"],
            },
            "map": {
                "title": "Map",
                "description": "The features drawn as a picture; not for measuring.",
                "type": COG_TYPE,
                "roles": ["overview", "visual"],
            },
            "classes": {
                "title": "Classes",
                "description": "One class per pixel (building, road, water, land use …), from the features.",
                "type": COG_TYPE,
                "roles": ["data", "labels"],
            },
            "graph": {
                "title": "Graph",
                "description": (
                    "Points, lines and polygons as nodes, their spatial relations as edges. A node's row "
                    "is its feature's place among all: nodes, ways, relations, each sorted by id."
                ),
                "type": "application/octet-stream",
                "roles": ["data"],
            },
            "network": {
                "title": "Street network",
                "description": "Streets as edges between crossings, as osmnx builds them.",
                "roles": ["data"],
            },
            "quarantine": {
                "title": "Quarantine",
                "description": "Elements that ought to be features and cannot be, with the reason (Parquet).",
                "type": PARQUET_TYPE,
                "roles": ["metadata"],
            },
            "thumbnail": {"title": "Thumbnail", "type": "image/png", "roles": ["thumbnail"]},
            "receipt": {
                "title": "Receipt",
                "description": "Every file of the product with size and SHA-256, and counts of features.",
                "type": "application/json",
                "roles": ["metadata"],
            },
        },
        "summaries": {"processing:level": ["L4"]},
    },
    REGISTRATIONS: {
        "title": "Registrations",
        "description": (
            "Pairs of products and how one is moved to lie on the other: the transform, the tie points it "
            "rests on, how well it holds, and a checkerboard before and after. A pair that cannot be "
            "registered is here as well, with the reason; registration:registered tells them apart."
        ),
        "keywords": ["registration", "co-registration", "tie points", "geolocation"],
        "license": "other",  # each item carries that of its scenes
        "stac_extensions": [PROCESSING],
        "item_assets": {
            "data": {
                "title": "Moving scene, corrected",
                "description": (
                    "The moving cube's own pixels, untouched: place them by this asset's proj:transform, not "
                    "by the one in the Zarr group."
                ),
                "type": ZARR_TYPE,
                "roles": ["data"],
            },
            "corrected": {
                "title": "Moving scene, resampled",
                "description": "All its bands, resampled once onto the grid of the comparison.",
                "type": COG_TYPE,
                "roles": ["data"],
            },
            "transform": {
                "title": "Transform",
                "description": "The transform in pixels and world coordinates, verdict and figures.",
                "type": "application/json",
                "roles": ["data", "metadata"],
            },
            "tie_points": {
                "title": "Tie points",
                "description": "GeoParquet 1.1, one row per tie point, those that disagree as well.",
                "type": PARQUET_TYPE,
                "roles": ["data"],
            },
            "preview": {
                "title": "Moving scene on the grid of the comparison",
                "description": "8-bit picture for maps and GIS, corrected where the scenes are registered.",
                "type": COG_TYPE,
                "roles": ["overview", "visual"],
            },
            "checkerboard": {
                "title": "Checkerboard, before and after",
                "description": "Fields of both scenes in turn: lines run through where they lie right.",
                "type": "image/png",
                "roles": ["overview"],
            },
            "thumbnail": {"title": "Thumbnail", "type": "image/png", "roles": ["thumbnail"]},
            "receipt": {
                "title": "Receipt",
                "description": "Every file of the product with size and SHA-256, verdict and figures.",
                "type": "application/json",
                "roles": ["metadata"],
            },
        },
        "summaries": {"processing:level": ["L3"]},
    },
    EMBEDDINGS: {
        "title": "Embeddings",
        "description": (
            "What a model sees in a scene, as numbers: a vector for every few pixels on the scene's grid "
            "(Zarr v3, dimensions feature, y and x), and one for each tile to search by (GeoParquet). Places "
            "whose vectors point the same way look alike to the model. The picture shows the three "
            "directions in which a scene's vectors differ most as colours; those of two items do not compare."
        ),
        "keywords": ["embeddings", "features", "foundation model", "similarity search", "Zarr", "GeoParquet"],
        "license": "other",  # each item carries that of its scenes
        "stac_extensions": [PROCESSING],
        "item_assets": {
            "data": {
                "title": "Vectors, one for each cell",
                "description": (
                    "Zarr group with one array, embedding (feature, y, x); open it with xarray.open_zarr. "
                    "file:checksum is the multihash of the SHA-256 of the canonical JSON list of [path, "
                    "size, sha256] of the files below this group, as the receipt lists them."
                ),
                "type": ZARR_TYPE,
                "roles": ["data"],
            },
            "vectors": {
                "title": "Vectors, one for each tile",
                "description": "GeoParquet 1.1, one row per tile that has data: place, outline, mean vector.",
                "type": PARQUET_TYPE,
                "roles": ["data"],
            },
            "preview": {
                "title": "Principal components",
                "description": "8-bit picture for maps and GIS: where vectors differ, colours do.",
                "type": COG_TYPE,
                "roles": ["overview", "visual"],
            },
            "thumbnail": {"title": "Thumbnail", "type": "image/png", "roles": ["thumbnail"]},
            "receipt": {
                "title": "Receipt",
                "description": "Every file of the product with size and SHA-256, statistics and errors.",
                "type": "application/json",
                "roles": ["metadata"],
            },
        },
        "summaries": {"processing:level": ["L4"]},
    },
    MODELS: {
        "title": "Models",
        "description": (
            "Trained models by the MLM extension: weights, what goes in and comes out, what they learned "
            "from and how good they are. An id ends in the first digits of the weights' SHA-256, so the same "
            "weights are the same item; products that a model made link to it by derived_from. A model is "
            "not of one place or time: its footprint is the world."
        ),
        "keywords": ["model", "machine learning", "weights", "MLM"],
        "license": "other",  # each item carries its own
        "stac_extensions": [MLM],
        "item_assets": {
            "weights": {
                "title": "Weights",
                "description": "Named tensors in half precision; safetensors runs no code when it is read.",
                "type": SAFETENSORS_TYPE,
                "roles": ["mlm:model", "mlm:weights", "data"],
                "mlm:artifact_type": "safetensors.torch.save_file",
            },
            "card": {
                "title": "Model card",
                "description": "What the model is, what it learned from, how good it is and where it fails.",
                "type": "text/markdown",
                "roles": ["metadata"],
            },
            "card_data": {
                "title": "Model card, for programs",
                "type": "application/json",
                "roles": ["metadata"],
            },
            "history": {
                "title": "Course of the training",
                "description": "One JSON object a line: losses, evaluations, checkpoints.",
                "type": "application/jsonl",
                "roles": ["metadata"],
            },
            "curve": {"title": "Losses and scores", "type": "image/svg+xml", "roles": ["overview"]},
            "thumbnail": {"title": "Thumbnail", "type": "image/png", "roles": ["thumbnail"]},
            "receipt": {
                "title": "Receipt",
                "description": "Every file of the product with size and SHA-256, and the card.",
                "type": "application/json",
                "roles": ["metadata"],
            },
        },
    },
}

COLLECTION_IDS = tuple(_TABLE)
"""Ids of all collections the project publishes into."""


def collection_document(collection_id: str) -> dict[str, Any]:
    """Build a collection as a STAC 1.1 document.

    The extent is the whole world at any time, which a catalogue narrows to the items it holds; links but
    those to a licence and its terms are the server's as well.

    Raises:
        NotFoundError: no collection goes by that id.
    """
    if collection_id not in _TABLE:
        raise NotFoundError(f"There is no collection {collection_id!r}; known are {', '.join(_TABLE)}.")
    entry = copy.deepcopy(_TABLE[collection_id])
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": collection_id,
        "providers": [*entry.pop("providers", ()), provider()],
        "extent": {
            "spatial": {"bbox": [[-180.0, -90.0, 180.0, 90.0]]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": entry.pop("links", []),
        **entry,
    }


def item_asset(collection_id: str, key: str) -> dict[str, Any]:
    """Return what all items of a collection say about one asset: title, description, type, roles."""
    asset: dict[str, Any] = copy.deepcopy(_TABLE[collection_id]["item_assets"][key])
    return asset


def license_links(collection_id: str) -> list[dict[str, Any]]:
    """Return the links to the licence and its terms that a collection and its items have."""
    return copy.deepcopy(_TABLE[collection_id].get("links", []))


def source_providers(collection_id: str) -> list[dict[str, Any]]:
    """Return the providers that the data of a whole collection come from; none where items differ."""
    return copy.deepcopy(_TABLE[collection_id].get("providers", []))


def provider() -> dict[str, Any]:
    """Return this project as a STAC provider."""
    return copy.deepcopy(_PROVIDER)
