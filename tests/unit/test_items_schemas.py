"""The validator itself notices what is wrong, so that a passing item means something."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.schemas import validate_collection, validate_zarr_conventions

URL = "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v1/schema.json"


def node(**multiscales: Any) -> dict[str, Any]:
    attributes = {
        "zarr_conventions": [{"schema_url": URL, "name": "multiscales"}],
        "multiscales": multiscales,
    }
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


@pytest.mark.real
def test_sound_zarr_attributes_pass() -> None:
    assert validate_zarr_conventions(node(layout=[{"asset": "0"}])) == [URL]


@pytest.mark.real
def test_wrong_zarr_attributes_are_noticed() -> None:
    with pytest.raises(AssertionError, match="multiscales"):
        validate_zarr_conventions(node(layout="0, 1, 2"))


def test_wrong_collection_is_noticed() -> None:
    with pytest.raises(AssertionError, match="collection"):
        validate_collection({"type": "Collection", "stac_version": "1.1.0", "id": "x"}, extensions=False)
