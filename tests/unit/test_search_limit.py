"""A search that would go on and on is cut off, and the catalogue goes on working."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from catalog.database.backend import SearchQuery, SortKey, SqliteCatalogue
from catalog.database.expressions.parse import read_filter_text
from infra.errors import InputError
from tests.support.many_items import COLLECTIONS, collection_of, many_items

LIMIT_S = 0.05


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("limit") / "catalogue.sqlite"
    catalogue = SqliteCatalogue(made)
    for name in COLLECTIONS:
        catalogue.upsert_collection(collection_of(name))
    catalogue.upsert_items(many_items(6_000))
    catalogue.close()
    return made


@pytest.mark.parametrize(
    "text",
    [
        # none of these finds anything, and none is decided by an index
        "casei(title) LIKE '%" + "a%" * 60 + "zzz'",
        " OR ".join(f"casei(platform) = casei('nowhere-{number}')" for number in range(150)),
        "NOT S_INTERSECTS(geometry, BBOX(-180, -90, 180, 90))",
    ],
    ids=["pattern", "many terms", "shapes"],
)
def test_a_pathological_filter_is_cut_off(path: Path, text: str) -> None:
    catalogue = SqliteCatalogue(path, search_limit_s=LIMIT_S)
    query = SearchQuery(filter=read_filter_text(text))
    started = time.monotonic()
    with pytest.raises(InputError, match="takes too long: narrow it"):
        catalogue.search(query)
    assert time.monotonic() - started < 5  # the limit and one batch of rows, on a busy machine
    assert len(catalogue.search(SearchQuery(limit=3)).items) == 3
    catalogue.close()


def test_the_limit_is_each_searchs_own(path: Path) -> None:
    """A connection that was cut off is not lent again with its limit still set."""
    catalogue = SqliteCatalogue(path, search_limit_s=LIMIT_S)
    slow = SearchQuery(filter=read_filter_text("casei(title) = casei('nothing')"))
    with pytest.raises(InputError):
        catalogue.search(slow)
    time.sleep(2 * LIMIT_S)
    for field in ("title", "datetime"):
        assert catalogue.search(SearchQuery(sortby=[SortKey(field=field)])).items
    catalogue.close()
    patient = SqliteCatalogue(path)
    assert patient.search(slow).items == []
    patient.close()
