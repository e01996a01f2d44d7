"""Search a STAC API: every page of it, or an error."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urljoin

from pystac import Link
from pystac_client.item_search import ItemSearch

from catalog.search.fetch import JsonReader
from catalog.search.query import FoundItem, Query, refuse_unknown_collections, too_many
from catalog.sources.links import links_of, self_url
from infra.errors import DataError, InputError, NotFoundError

PAGE_SIZE = 250
_EMPTY_PAGES = 50  # a server may filter a page down to nothing and still have more; but not for ever
_LISTED_PAGES = 20
_ITEM_SEARCH = "item-search"
logger = logging.getLogger(__name__)


def search_link(landing: Mapping[str, Any], href: str) -> Mapping[str, Any] | None:
    """Find the search endpoint of a landing page; None when the catalogue offers no item search."""
    links = links_of(landing, "search")
    # A POST search has no length limit and repeats its body on every page.
    links.sort(key=lambda link: str(link.get("method", "GET")).upper() != "POST")
    if links:
        return {**links[0], "href": urljoin(href, links[0]["href"])}
    conforms = any(_ITEM_SEARCH in str(name) for name in landing.get("conformsTo") or ())
    return {"href": f"{href.rstrip('/')}/search", "method": "GET"} if conforms else None


def search_api(
    reader: JsonReader, landing: Mapping[str, Any], endpoint: Mapping[str, Any], query: Query, location: str
) -> list[FoundItem]:
    """Return every item that a STAC API finds.

    Args:
        reader: Sends requests, under the policy, with retries.
        landing: The API's landing page.
        endpoint: Link to its search, as ``search_link`` gives it.
        query: What is wanted.
        location: URL of the landing page.

    Raises:
        InputError: an unknown collection, more than ``max_items``, or the server refuses the question.
        DataError: the server stops before it gave what it says matches, or gives other collections.
        NotFoundError, TransientError: it cannot be reached, or stays busy.
    """
    collections = _Collections(reader, _collections_href(landing, location))
    collections.require(query.collections, location)
    features = _all_features(reader, endpoint, query, location)
    found: dict[tuple[str, str], FoundItem] = {}
    for feature in features:
        collection = str(feature.get("collection") or "")
        if query.collections and collection not in query.collections:
            raise DataError(
                f"{location} answered with an item of collection {collection!r}, which was not asked for: "
                "its search ignores 'collections'"
            )
        document = collections.get(collection) if collection else None
        base = self_url(feature) or str(endpoint["href"])
        key = collection, str(feature.get("id"))
        # Pages shift when items are added while one pages: the same item may come twice.
        found.setdefault(key, FoundItem(item=feature, base_href=base, collection=document))
    return list(found.values())


def _all_features(
    reader: JsonReader, endpoint: Mapping[str, Any], query: Query, location: str
) -> list[dict[str, Any]]:
    features: list[dict[str, Any]] = []
    matched: int | None = None
    for page in _pages(reader, endpoint, query, location):
        features.extend(page.get("features") or ())
        matched = _matched(page) if matched is None else matched
        if len(features) > query.max_items or (matched or 0) > query.max_items:
            raise too_many(query.max_items, location, matched)
    if matched is not None and len(features) < matched:
        raise DataError(
            f"{location} says {matched} items match but gave {len(features)} and no link to more: "
            "its answer is cut short; narrow the area or the time"
        )
    return features


def _pages(
    reader: JsonReader, endpoint: Mapping[str, Any], query: Query, location: str
) -> Iterator[Mapping[str, Any]]:
    # pystac-client's own paging ends at an empty page even when that links to a next one.
    method = str(endpoint.get("method") or "GET").upper()
    search = ItemSearch(
        str(endpoint["href"]),
        method=method,
        stac_io=reader.api,
        limit=min(PAGE_SIZE, query.max_items),
        collections=list(query.collections) or None,
        bbox=list(query.bbox) if query.bbox else None,
        datetime=None if query.period == (None, None) else list(query.period),
    )
    parameters = search.get_parameters()
    page = reader.request(search.url, parameters, method)
    seen: set[str] = set()
    empty = 0
    while True:
        yield page
        following = next(iter(links_of(page, "next")), None)
        if following is None:
            return
        empty = 0 if page.get("features") else empty + 1
        if repr(following) in seen or empty > _EMPTY_PAGES:
            raise DataError(f"{location}: its pages link in a circle or stay empty; tell its operator")
        seen.add(repr(following))
        page = reader.request(_absolute(following, search.url), parameters)


def _absolute(link: Mapping[str, Any], base: str) -> Link:
    return Link.from_dict({**link, "href": urljoin(base, str(link["href"]))})


def _matched(page: Mapping[str, Any]) -> int | None:
    context = page.get("context")
    candidates = (page.get("numberMatched"), context.get("matched") if isinstance(context, Mapping) else None)
    return next((value for value in candidates if isinstance(value, int)), None)


class _Collections:
    """Look collections up, each once."""

    def __init__(self, reader: JsonReader, href: str) -> None:
        self._reader = reader
        self._href = href
        self._known: dict[str, dict[str, Any] | None] = {}

    def get(self, identifier: str) -> dict[str, Any] | None:
        """Return a collection's document; None when there is none."""
        if identifier not in self._known:
            try:
                self._known[identifier] = self._reader.request(f"{self._href}/{quote(identifier, safe='')}")
            except (NotFoundError, InputError) as exc:
                if exc.context.get("status") is None:
                    raise
                self._known[identifier] = None
        return self._known[identifier]

    def require(self, wanted: Sequence[str], place: str) -> None:
        """Check that every wanted collection is there."""
        if any(self.get(identifier) is None for identifier in wanted):
            refuse_unknown_collections(wanted, self._list(), place)

    def _list(self) -> Iterator[str]:
        link: Any = self._href
        for _ in range(_LISTED_PAGES):
            page = self._reader.request(link)
            yield from (str(entry.get("id")) for entry in page.get("collections") or ())
            following = next(iter(links_of(page, "next")), None)
            if following is None:
                return
            link = _absolute(following, self._href)


def _collections_href(landing: Mapping[str, Any], location: str) -> str:
    for link in links_of(landing, "data"):
        return urljoin(location, str(link["href"])).partition("?")[0].rstrip("/")
    return f"{location.partition('?')[0].rstrip('/')}/collections"
