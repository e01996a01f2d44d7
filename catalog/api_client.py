"""Read and write a catalogue behind a STAC API: ours in either form, or any with pgSTAC's extensions."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

from catalog.database.documents import Document, check_id, stamp
from catalog.database.filters import SearchQuery
from catalog.database.writing import UpsertResult
from catalog.exchange import ConflictError, Exchange, RetryPolicy, TooLargeError
from catalog.pgstac.sameness import is_same
from catalog.server.conformance import COUNTED_UPSERT
from infra.errors import DataError, InputError, NotFoundError, TransientError

BATCH_ITEMS = 500
PAGE_ITEMS = 500
_FIELDS = "item-search#fields"
_T = TypeVar("_T")


class HttpClient:
    """Work on a STAC API with the transaction and bulk-transaction extensions, ours or another pgSTAC's.

    Writes are upserts, so a try whose answer was lost can be repeated. After each batch the server is asked
    what it holds of it.

    Args:
        base_url: Landing page of the API, without user or password.
        token: Bearer token that writes need; sent with every request to this API and nowhere else.
        retry: How to try again.

    Raises:
        ConfigError: not an http(s) URL, or a token that no HTTP header can carry.
    """

    def __init__(self, base_url: str, token: str | None = None, *, retry: RetryPolicy | None = None) -> None:
        self._exchange = Exchange(base_url, token, retry or RetryPolicy())
        self.base_url = self._exchange.base_url

    def __repr__(self) -> str:
        """Show the address, never the token."""
        return f"HttpClient({self.base_url!r})"

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def upsert_collection(self, collection: Mapping[str, Any]) -> None:
        """Create or replace a collection."""
        name = quote(check_id(collection.get("id"), what="collection"), safe="")
        try:
            self._exchange.request("PUT", f"/collections/{name}", dict(collection))
        except NotFoundError:
            try:
                self._exchange.request("POST", "/collections", dict(collection))
            except ConflictError:  # another run was quicker
                self._exchange.request("PUT", f"/collections/{name}", dict(collection))

    def upsert_items(self, items: Iterable[Mapping[str, Any]]) -> UpsertResult:
        """Write items in batches, each of one collection and all or nothing; of an id given twice, the last.

        A server of ours compares, stamps and counts by itself. For any other, the items it holds are read
        first: only what differs is sent, ``created`` is kept and ``updated`` refreshed. Two such clients that
        write the same new item at the same time may both count it as created.

        Raises:
            InputError: the server refuses an item; the message names it.
            TransientError: the server took a batch, but does not hold all of it.
        """
        by_collection: dict[str, dict[str, Mapping[str, Any]]] = {}
        for item in items:
            item_id = check_id(item.get("id"), what="item")
            name = check_id(item.get("collection"), what=f"item '{item_id}': collection")
            by_collection.setdefault(name, {})[item_id] = item
        total = UpsertResult()
        for name, members in by_collection.items():
            for batch in cut(list(members.values()), BATCH_ITEMS):
                write = self._send if COUNTED_UPSERT in self._conformance else self._send_what_differs
                total += write(name, batch)
                self._check_held(name, [item["id"] for item in batch])
        return total

    def collections(self) -> list[Document]:
        """Read all collections."""
        found: dict[str, Document] = {}
        query: str | None = ""
        while query is not None:
            page = self._exchange.request("GET", f"/collections{query}")
            read = {each["id"]: each for each in _expect_list(page, "collections", self.base_url)}
            query = _next_query(page) if read.keys() - found.keys() else None
            found |= read
        return list(found.values())

    def items(self, collection: str, ids: Iterable[str]) -> list[Document]:
        """Read items by id, in the order asked; ids that do not exist are left out."""
        return read_by_id(self.search, collection, ids)

    def search(self, query: SearchQuery) -> Iterator[Document]:
        """Find items page after page; the query's limit is ignored."""
        if query.ids == [] or query.collections == []:  # pgSTAC takes "none of them" for "any"
            return
        yield from self._search(replace(query, limit=PAGE_ITEMS).to_json())

    def close(self) -> None:
        """Close the connections."""
        self._exchange.close()

    @cached_property
    def _conformance(self) -> frozenset[str]:
        """Hold what the server says it can do; nothing where it does not say."""
        try:
            told = self._exchange.request("GET", "/conformance").get("conformsTo")
        except NotFoundError:
            told = None
        return (
            frozenset(each for each in told if isinstance(each, str))
            if isinstance(told, list)
            else frozenset()
        )

    def _send(self, collection: str, batch: Sequence[Mapping[str, Any]]) -> UpsertResult:
        total = UpsertResult()
        for told in self._post(collection, batch):
            results = told.get("results") or ()
            total += UpsertResult(
                created=told.get("created", 0),
                updated=told.get("updated", 0),
                unchanged=told.get("unchanged", 0),
                outcomes=tuple((each["id"], each["status"]) for each in results),
            )
        counted = total.created + total.updated + total.unchanged
        if counted != len(batch):
            raise DataError(
                f"{self.base_url} counts {counted} items where {len(batch)} were sent to {collection!r}"
            )
        return total

    def _send_what_differs(self, collection: str, batch: Sequence[Mapping[str, Any]]) -> UpsertResult:
        held = {item["id"]: item for item in self.items(collection, [item["id"] for item in batch])}
        now_us = round(dt.datetime.now(dt.UTC).timestamp() * 1_000_000)
        changed = []
        outcomes = []
        for item in batch:
            old = held.get(item["id"])
            if old is not None and is_same(item, old):
                outcomes.append((item["id"], "unchanged"))
                continue
            created = None if old is None else (old.get("properties") or {}).get("created")
            changed.append(stamp(dict(item), created=created, now_us=now_us))
            outcomes.append((item["id"], "created" if old is None else "updated"))
        for _ in self._post(collection, changed):
            pass  # such a server tells no counts worth having: it does not look at what it replaces
        counts = Counter(status for _, status in outcomes)
        return UpsertResult(**counts, outcomes=tuple(outcomes))

    def _post(self, collection: str, batch: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Send a batch, in halves where the server takes no body as large; yields the answers."""
        if not batch:
            return
        body = {"items": {item["id"]: dict(item) for item in batch}, "method": "upsert"}
        try:
            told = self._exchange.request(
                "POST", f"/collections/{quote(collection, safe='')}/bulk_items", body
            )
        except TooLargeError:
            if len(batch) == 1:
                raise
            half = len(batch) // 2
            yield from self._post(collection, batch[:half])
            yield from self._post(collection, batch[half:])
            return
        if told.get("errors"):  # pgSTAC's own server writes the rest and answers 200
            raise InputError(
                f"{self.base_url} refused {len(told['errors'])} of {len(batch)} items for {collection!r},"
                f" the first: {str(told['errors'][0])[:300]}"
            )
        yield told

    def _check_held(self, collection: str, ids: Sequence[str]) -> None:
        """Ask which items of a batch the server holds: loaders have lost some without a word."""
        body = SearchQuery(collections=[collection], ids=ids, limit=PAGE_ITEMS).to_json()
        if any(each.endswith(_FIELDS) for each in self._conformance):
            body["fields"] = {"include": ["id", "collection"]}
        missing = set(ids) - {item["id"] for item in self._search(body)}
        if missing:
            raise TransientError(
                f"{self.base_url} took {len(ids)} items for {collection!r}, but does not hold {len(missing)}"
                f" of them, e.g. {min(missing)!r}: try again",
                url=self.base_url,
            )

    def _search(self, body: dict[str, Any]) -> Iterator[Document]:
        while True:
            page = self._exchange.request("POST", "/search", body)
            yield from _expect_list(page, "features", self.base_url)
            following = _next_body(page, body)
            if following is None:
                return
            if following == body:
                raise DataError(
                    f"catalogue {self.base_url} gives the same page again and again", url=self.base_url
                )
            body = following


def read_by_id(
    search: Callable[[SearchQuery], Iterator[Document]], collection: str, ids: Iterable[str]
) -> list[Document]:
    """Find items by id, in the order asked; ids that do not exist are left out."""
    wanted = list(dict.fromkeys(ids))
    found: dict[str, Document] = {}
    for batch in cut(wanted, BATCH_ITEMS):
        query = SearchQuery(collections=[collection], ids=batch)
        found.update((item["id"], item) for item in search(query))
    return [found[item_id] for item_id in wanted if item_id in found]


def cut(values: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """Cut values into batches of a size; the last may be smaller."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _next_body(page: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the body of the next page; only the body is taken, so the token goes to no other address."""
    for link in page.get("links") or []:
        if isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("body"), dict):
            return {**body, **link["body"]} if link.get("merge") else dict(link["body"])
    return None


def _next_query(page: Mapping[str, Any]) -> str | None:
    """Give the query of the next page's address; the rest of the address is not followed."""
    for link in page.get("links") or []:
        if isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("href"), str):
            return f"?{urlsplit(link['href']).query}"
    return None


def _expect_list(content: Mapping[str, Any], name: str, url: str) -> list[Document]:
    values = content.get(name)
    if not isinstance(values, list):
        raise DataError(f"the answer of {url} has no list of {name}: is this a STAC API?", url=url)
    return values
