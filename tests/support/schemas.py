"""Validate STAC documents and Zarr attributes against the published schemas, without the network.

Core STAC 1.1 and GeoJSON schemas come with pystac, PROJJSON with pyproj; extensions and Zarr conventions from
the cache that ``$TERRALOOM_REAL_DATA/schemas`` holds at their URL paths.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit

import pyproj.datadir
import pystac.validation
import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource
from referencing.jsonschema import DRAFT7

_CORE = "https://schemas.stacspec.org/v1.1.0"
_BUNDLED = Path(pystac.validation.__file__).parent / "jsonschemas"


def validate_item(item: dict[str, Any], *, extensions: bool = True) -> None:
    """Fail unless a STAC 1.1 Item is valid, in every extension it names too.

    Skips the test, with the reason, where extensions are asked for and the schema cache is absent.
    """
    _validate(item, f"{_CORE}/item-spec/json-schema/item.json")
    if extensions:
        validate_extensions(item)


def validate_collection(collection: dict[str, Any], *, extensions: bool = True) -> None:
    """Fail unless a STAC 1.1 Collection is valid, in every extension it names too."""
    _validate(collection, f"{_CORE}/collection-spec/json-schema/collection.json")
    if extensions:
        validate_extensions(collection)


def validate_extensions(document: dict[str, Any]) -> None:
    """Fail unless a document is valid in every extension that its ``stac_extensions`` names."""
    for url in document.get("stac_extensions", []):
        _validate(document, url)


def validate_zarr_conventions(node: dict[str, Any]) -> list[str]:
    """Fail unless a Zarr node is valid in every convention that its ``zarr_conventions`` names.

    Args:
        node: The content of a ``zarr.json``: ``zarr_format``, ``node_type``, ``attributes``.

    Returns:
        The schema URLs that were applied.
    """
    urls = [convention["schema_url"] for convention in node["attributes"].get("zarr_conventions", [])]
    for url in urls:
        _validate(node, url)
    return urls


def schema_folder() -> Path:
    """Return the cache of schemas, or skip the test saying where it was looked for."""
    root = os.environ.get("TERRALOOM_REAL_DATA")
    if not root:
        pytest.skip("TERRALOOM_REAL_DATA is not set: extension schemas are in its folder 'schemas'")
    folder = Path(root) / "schemas"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: extension schemas are read from there")
    return folder


def _validate(document: dict[str, Any], url: str) -> None:
    error = best_match(_validator(url).iter_errors(_as_json(document)))
    if error is not None:
        place = "/".join(str(step) for step in error.absolute_path) or "(top)"
        raise AssertionError(
            f"{document.get('id', 'document')} breaks {url} at {place}: {error.message[:600]}"
        )


def _as_json(document: dict[str, Any]) -> Any:
    """Go through JSON, as a reader would: tuples become lists, NaN is refused."""
    return json.loads(json.dumps(document, allow_nan=False))


@functools.cache
def _validator(url: str) -> Draft7Validator:
    registry: Registry[Any] = Registry(retrieve=_retrieve)
    schema = {"$ref": url}
    return Draft7Validator(schema, registry=registry, format_checker=Draft7Validator.FORMAT_CHECKER)


def _retrieve(uri: str) -> Resource[Any]:
    path = locate_schema(urldefrag(uri).url)
    if not path.is_file():
        raise NoSuchResource(ref=uri)
    contents = json.loads(path.read_text(encoding="utf-8"))
    return Resource.from_contents(contents, default_specification=DRAFT7)


def locate_schema(url: str) -> Path:
    """Find the local copy of a schema; the path may be absent."""
    parts = urlsplit(url)
    path = parts.path.lstrip("/")
    if parts.netloc == "schemas.stacspec.org" and path.startswith("v1.1.0/"):
        return _BUNDLED / "stac-spec" / "v1.1.0" / Path(path).name
    if parts.netloc == "geojson.org":
        return _BUNDLED / "geojson" / Path(path).name
    if parts.netloc == "proj.org":
        return Path(pyproj.datadir.get_data_dir()) / "projjson.schema.json"
    if parts.netloc == "raw.githubusercontent.com":  # <owner>/<convention>/refs/tags/<tag>/schema.json
        return schema_folder() / "zarr-conventions" / path.split("/")[1] / "schema.json"
    return schema_folder() / parts.netloc / path
