"""Sort by what items hold, page by page, while some of them lack it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.database import searching
from catalog.database.backend import SearchQuery, SortKey, SqliteCatalogue
from infra.errors import InputError
from tests.support.many_items import COLLECTIONS, collection_of, many_items

NAMES = ("eo:cloud_cover", "platform", "sat:relative_orbit", "datetime", "gsd", "id", "collection", "title")


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    drawn = list(many_items(150, seed=5))
    rng = np.random.default_rng(5)
    for item in drawn:
        for name in ("eo:cloud_cover", "platform", "gsd"):
            if rng.random() < 0.3:
                item["properties"].pop(name, None)
        if rng.random() < 0.2:
            item["properties"]["gsd"] = str(rng.choice(("coarse", "fine")))
        if "eo:cloud_cover" in item["properties"]:
            item["properties"]["eo:cloud_cover"] = round(item["properties"]["eo:cloud_cover"], -1)
    return drawn


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, Any]]) -> SqliteCatalogue:
    made = SqliteCatalogue(tmp_path_factory.mktemp("sort") / "catalogue.sqlite")
    for name in COLLECTIONS:
        made.upsert_collection(collection_of(name))
    made.upsert_items(items)
    return made


def _value(item: dict[str, Any], name: str) -> object:
    return item[name] if name in ("id", "collection") else item["properties"].get(name)


def _rank(value: object) -> tuple[int, Any]:
    """Numbers come before text, as SQLite and ``values`` have it."""
    return (0, value) if isinstance(value, int | float) else (1, value)


def _sorted(items: list[dict[str, Any]], keys: list[SortKey]) -> list[str]:
    """Sort by hand: stable, last key first; what lacks a value goes last."""
    ordered = sorted(items, key=lambda item: items.index(item), reverse=keys[0].descending)
    for key in reversed(keys):
        have = [item for item in ordered if _value(item, key.field) is not None]
        lack = [item for item in ordered if _value(item, key.field) is None]
        have = sorted(have, key=lambda item: _rank(_value(item, key.field)), reverse=False)
        if key.descending:
            groups = [list(g) for _, g in itertools.groupby(have, key=lambda i: _rank(_value(i, key.field)))]
            have = [item for group in reversed(groups) for item in group]
        ordered = have + lack
    return [item["id"] for item in ordered]


def _walk(catalogue: SqliteCatalogue, query: SearchQuery) -> list[str]:
    ids: list[str] = []
    page = catalogue.search(query)
    while True:
        ids += [item["id"] for item in page.items]
        if page.next_token is None:
            return ids
        page = catalogue.search(
            SearchQuery(sortby=query.sortby, limit=query.limit, q=query.q, token=page.next_token)
        )


@pytest.mark.parametrize("limit", [7, 1000])
@pytest.mark.parametrize("seed", range(30))
def test_pages_come_in_the_order_of_any_keys(
    catalogue: SqliteCatalogue, items: list[dict[str, Any]], seed: int, limit: int
) -> None:
    rng = np.random.default_rng(seed)
    names = rng.choice(NAMES, size=int(rng.integers(1, 4)), replace=False)
    keys = [SortKey(field=str(name), descending=bool(rng.integers(2))) for name in names]
    found = _walk(catalogue, SearchQuery(sortby=keys, limit=limit))
    if [key.field for key in keys] == ["collection"]:  # within a collection by time
        by_id = {item["id"]: item for item in items}
        pairs = [(by_id[i]["collection"], by_id[i]["properties"]["datetime"]) for i in found]
        assert pairs == sorted(pairs, reverse=keys[0].descending)
        assert sorted(found) == sorted(by_id)
    else:
        assert found == _sorted(items, keys)


@pytest.mark.parametrize("cap", [0, 10**9], ids=["walking the order", "sorting the hits"])
def test_both_ways_to_answer_agree(
    catalogue: SqliteCatalogue,
    items: list[dict[str, Any]],
    cap: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(searching, "CANDIDATES_CAP", cap)
    keys = [SortKey(field="eo:cloud_cover", descending=True)]
    wanted = [item for item in items if "harbour" in item["properties"]["title"]]
    assert wanted
    assert _walk(catalogue, SearchQuery(q=["harbour"], sortby=keys, limit=3)) == _sorted(wanted, keys)


def test_pages_stay_exact_while_items_are_written(tmp_path: Path) -> None:
    catalogue = SqliteCatalogue(tmp_path / "catalogue.sqlite")
    for name in COLLECTIONS:
        catalogue.upsert_collection(collection_of(name))
    old = list(many_items(60))
    catalogue.upsert_items(old)
    query = SearchQuery(sortby=[SortKey(field="gsd")], limit=9)  # all equal: the worst case
    seen, token, first = [], None, 60
    while True:
        page = catalogue.search(SearchQuery(sortby=query.sortby, limit=9, token=token))
        seen += [item["id"] for item in page.items]
        token = page.next_token
        if token is None:
            break
        catalogue.upsert_items(many_items(3, first=first))
        first += 3
        if first > 90:
            break
    assert len(seen) == len(set(seen))
    assert [item["id"] for item in old][: len(seen)] == seen[: len(old)]


def test_a_name_that_no_item_has_is_refused(catalogue: SqliteCatalogue) -> None:
    with pytest.raises(InputError, match="sortby names 'colour', which no item has"):
        catalogue.search(SearchQuery(sortby=[SortKey(field="colour")]))


def test_an_order_is_answered_before_there_are_items(tmp_path: Path) -> None:
    catalogue = SqliteCatalogue(tmp_path / "catalogue.sqlite")
    assert catalogue.search(SearchQuery(sortby=[SortKey(field="datetime")])).items == []
