"""Collections in order, page by page."""

import pytest

from catalog.database.filters import SortKey
from catalog.server.collection_pages import cut_page
from infra.errors import InputError

FOUND = [
    {"id": "a", "title": "Zebra"},
    {"id": "b"},
    {"id": "c", "title": "Apple"},
    {"id": "d", "title": "Zebra"},
    {"id": "e", "title": 5},
]


def walk(found, *, limit, sortby=(), between=lambda found: found):
    """Follow the pages to the end."""
    token, ids = None, []
    while True:
        page = cut_page(found, sortby=sortby, limit=limit, token=token, digest="d")
        ids += [each["id"] for each in page.collections]
        if page.next_token is None:
            return "".join(ids)
        found, token = between(found), page.next_token


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100, None])
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], "abcde"),
        ([("id", True)], "edcba"),
        ([("title", False)], "becad"),
        ([("title", True)], "adcbe"),
        ([("title", True), ("id", True)], "daceb"),
    ],
)
def test_every_collection_once_and_in_order(limit, keys, expected):
    sortby = [SortKey(field=field, descending=descending) for field, descending in keys]
    assert walk(FOUND, limit=limit, sortby=sortby) == expected


def test_collections_that_come_and_go_meanwhile():
    def lose(found):
        return [each for each in found if each["id"] != "b"]

    def gain(found):
        return found if found[0]["id"] == "0" else [{"id": "0"}, *found]

    assert walk(FOUND, limit=2, between=lose) == "abcde"
    assert walk(FOUND, limit=2, between=gain) == "abcde"


def test_totals():
    page = cut_page(FOUND, sortby=[], limit=2, token=None, digest="d")
    assert (page.total, len(page.collections)) == (5, 2)
    assert cut_page([], sortby=[], limit=2, token=None, digest="d").total == 0


def test_what_is_refused():
    token = cut_page(FOUND, sortby=[], limit=2, token=None, digest="d").next_token
    with pytest.raises(InputError, match="id or title"):
        cut_page(FOUND, sortby=[SortKey(field="license")], limit=None, token=None, digest="d")
    with pytest.raises(InputError, match="limit 0"):
        cut_page(FOUND, sortby=[], limit=0, token=None, digest="d")
    for damaged in (token[:-2], "AAAA", ""):
        with pytest.raises(InputError, match="token"):
            cut_page(FOUND, sortby=[], limit=2, token=damaged, digest="d")
    with pytest.raises(InputError, match="token"):
        cut_page(FOUND, sortby=[], limit=2, token=token, digest="another")
