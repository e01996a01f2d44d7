"""Files of an older layout are brought up to date when they are opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from catalog.database import schema
from catalog.database.backend import SearchQuery, SortKey, SqliteCatalogue
from catalog.database.upkeep import check
from tests.support.many_items import COLLECTIONS, collection_of, many_items


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """A catalogue of layout 1: made by taking away what layout 2 added."""
    path = tmp_path / "catalogue.sqlite"
    catalogue = SqliteCatalogue(path)
    for name in COLLECTIONS:
        catalogue.upsert_collection(collection_of(name))
    catalogue.upsert_items(many_items(80))
    catalogue.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER items_leave_texts")
        for table in ("item_texts", "collection_texts", "item_sources", "item_values", "item_counts"):
            connection.execute(f"DROP TABLE {table}")
        for table in ("properties", "property_kinds"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE collections SET json = declared")
        connection.execute("PRAGMA user_version = 1")
    return path


def test_values_words_and_counts_are_made_from_the_documents(old_file: Path) -> None:
    items = list(many_items(80))
    with_harbour = {item["id"] for item in items if "harbour" in item["properties"]["title"]}
    catalogue = SqliteCatalogue(old_file)
    found = catalogue.search(SearchQuery(q=["harbour"], limit=100))
    assert {item["id"] for item in found.items} == with_harbour != set()
    cover = [item["properties"].get("eo:cloud_cover") for item in items]
    lowest = min(value for value in cover if value is not None)
    first = catalogue.search(SearchQuery(sortby=[SortKey(field="eo:cloud_cover")], limit=1)).items[0]
    assert first["properties"]["eo:cloud_cover"] == lowest
    assert catalogue.count() == 80
    (west, south, east, north), *_ = catalogue.get_collection("optical")["extent"]["spatial"]["bbox"]
    assert -180 < west < east < 180
    assert -90 < south < north < 90
    catalogue.close()
    assert check(old_file).faults == ()


def test_it_is_done_once(old_file: Path) -> None:
    SqliteCatalogue(old_file).close()
    with sqlite3.connect(old_file) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        before = connection.execute("SELECT json FROM collections ORDER BY id").fetchall()
    SqliteCatalogue(old_file).close()
    with sqlite3.connect(old_file) as connection:
        assert connection.execute("SELECT json FROM collections ORDER BY id").fetchall() == before
