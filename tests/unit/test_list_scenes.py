"""Which scenes a source collection names: those that were ingested from it, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog.client import EmbeddedClient
from catalog.items.collections import SCENES, collection_document
from infra.errors import NotFoundError
from tasks.list_scenes import list_scenes


def scene(name: str, *keywords: str) -> dict[str, Any]:
    """Make the least of an item that a catalogue takes; its first keyword is its source collection."""
    told = {"keywords": list(keywords)} if keywords else {}
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": name, "collection": SCENES,
        "geometry": {"type": "Point", "coordinates": [13.0, 52.0]}, "bbox": [13.0, 52.0, 13.0, 52.0],
        "properties": {"datetime": "2024-06-01T00:00:00Z"} | told,
        "assets": {}, "links": [],
    }  # fmt: skip


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    path = tmp_path / "catalogue.sqlite"
    items = [
        scene("a", "fields", "optical", "analysis-ready"),
        scene("b", "optical", "radar", "Zarr"),
        scene("c", "fields-2", "fields"),
        scene("d"),
    ]
    with EmbeddedClient(path) as client:
        client.upsert_collection(collection_document(SCENES))
        client.upsert_items(items)
    return str(path)


@pytest.mark.parametrize(
    ("collection", "expected"), [("fields", ["a"]), ("optical", ["b"]), (SCENES, ["a", "b", "c", "d"])]
)
def test_the_collection_itself_and_no_other_keyword(catalogue, collection, expected):
    assert list_scenes.fn(collection, catalogue=catalogue, token=None) == expected


@pytest.mark.parametrize("collection", ["radar", "field", "Zarr"])
def test_a_keyword_is_no_collection(catalogue, collection):
    with pytest.raises(NotFoundError, match=f"no scene of collection '{collection}'"):
        list_scenes.fn(collection, catalogue=catalogue, token=None)
