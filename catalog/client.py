"""Read and write a STAC catalogue from flows: a local file without a server, or an API over HTTP."""

from __future__ import annotations

import logging
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from catalog.server.backend import SqliteCatalogue
from catalog.server.documents import Document, check_id
from catalog.server.filters import SearchQuery
from catalog.server.writing import UpsertResult
from infra.errors import AppError, ConfigError, DataError, InputError, NotFoundError, TransientError

__all__ = [
    "CatalogueClient",
    "EmbeddedClient",
    "HttpClient",
    "RetryPolicy",
    "SearchQuery",
    "UpsertResult",
    "open_catalogue",
]

logger = logging.getLogger(__name__)

_BATCH_ITEMS = 500
_PAGE_ITEMS = 500
_RETRIED_STATUS = frozenset({429, 502, 503, 504})
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_TOKEN = re.compile(r"[\x21-\x7e]+")
_T = TypeVar("_T")


class CatalogueClient(Protocol):
    """What flows ask of a catalogue, wherever it is."""

    def upsert_collection(self, collection: Mapping[str, Any]) -> None:
        """Create or replace a collection; its extent never shrinks below the items it holds."""

    def upsert_items(self, items: Iterable[Mapping[str, Any]]) -> UpsertResult:
        """Write items; those that differ in nothing but ``created`` and ``updated`` stay untouched."""

    def collections(self) -> list[Document]:
        """Read all collections."""

    def items(self, collection: str, ids: Iterable[str]) -> list[Document]:
        """Read items by id, in the order asked; ids that do not exist are left out."""

    def search(self, query: SearchQuery) -> Iterator[Document]:
        """Find items, newest first, page after page; the query's limit is ignored."""

    def close(self) -> None:
        """Let go of files and connections."""


class _Closing(ABC):
    """Close a client at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EmbeddedClient(_Closing):
    """Work on a catalogue file directly; other processes, a server among them, may work on it too.

    Args:
        path: The catalogue file; made when absent.
    """

    def __init__(self, path: Path | str) -> None:
        self._catalogue = SqliteCatalogue(path)

    def __repr__(self) -> str:
        """Show the path."""
        return f"EmbeddedClient({str(self._catalogue.path)!r})"

    def upsert_collection(self, collection: Mapping[str, Any]) -> None:
        """Create or replace a collection; its extent is widened to the items it holds."""
        self._catalogue.upsert_collection(collection)

    def upsert_items(self, items: Iterable[Mapping[str, Any]]) -> UpsertResult:
        """Write items in one transaction: all or none."""
        return self._catalogue.upsert_items(items)

    def collections(self) -> list[Document]:
        """Read all collections, by id."""
        return self._catalogue.get_collections()

    def items(self, collection: str, ids: Iterable[str]) -> list[Document]:
        """Read items by id, in the order asked; ids that do not exist are left out."""
        return _read_by_id(self, collection, ids)

    def search(self, query: SearchQuery) -> Iterator[Document]:
        """Find items, newest first, page after page; the query's limit is ignored."""
        page_query = replace(query, limit=_PAGE_ITEMS)
        while True:
            page = self._catalogue.search(page_query)
            yield from page.items
            if page.next_token is None:
                return
            page_query = replace(page_query, token=page.next_token)

    def close(self) -> None:
        """Close the file."""
        self._catalogue.close()


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Say how often and how patiently a request is tried again."""

    attempts: int = 6
    base_s: float = 0.5
    """Longest wait before the second try; it doubles with each further one."""
    cap_s: float = 30.0
    """Longest wait of our own choosing."""
    retry_after_cap_s: float = 120.0
    """Longest wait that a server may ask for by Retry-After."""
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, retry_after_s: float) -> None:
        """Wait after failed try number ``attempt`` (from 0); full jitter keeps clients out of step."""
        own_s = random.uniform(0, min(self.cap_s, self.base_s * 2**attempt))  # noqa: S311 - spreading, no secret
        self.sleep(max(own_s, min(retry_after_s, self.retry_after_cap_s)))


class HttpClient(_Closing):
    """Work on a STAC API with the transaction and bulk-transaction extensions, ours or pgSTAC's.

    Writes are upserts, so a try whose answer was lost can be repeated.

    Args:
        base_url: Landing page of the API, without user or password.
        token: Bearer token that writes need; sent with every request to this API and nowhere else.
        retry: How to try again.

    Raises:
        ConfigError: not an http(s) URL, or a token that no HTTP header can carry.
    """

    def __init__(self, base_url: str, token: str | None = None, *, retry: RetryPolicy | None = None) -> None:
        self.base_url = _check_url(base_url)
        self._retry = retry or RetryPolicy()
        headers = {"Accept": "application/geo+json, application/json"}
        if token is not None:
            # checked here: the message of a failing encoder would show the token
            if not _TOKEN.fullmatch(token):
                raise ConfigError(
                    "the catalogue token is empty or has characters that no HTTP header carries"
                )
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.Client(headers=headers, timeout=_TIMEOUT)

    def __repr__(self) -> str:
        """Show the address, never the token."""
        return f"HttpClient({self.base_url!r})"

    def upsert_collection(self, collection: Mapping[str, Any]) -> None:
        """Create or replace a collection."""
        name = quote(check_id(collection.get("id"), what="collection"), safe="")
        try:
            self._request("PUT", f"/collections/{name}", dict(collection))
        except NotFoundError:
            try:
                self._request("POST", "/collections", dict(collection))
            except _ConflictError:  # another run was quicker
                self._request("PUT", f"/collections/{name}", dict(collection))

    def upsert_items(self, items: Iterable[Mapping[str, Any]]) -> UpsertResult:
        """Write items in batches, each of one collection and all or nothing.

        Returns:
            Counts; a server that tells no counts is taken to have updated all.
        """
        by_collection: dict[str, dict[str, Mapping[str, Any]]] = {}
        for item in items:
            item_id = check_id(item.get("id"), what="item")
            name = check_id(item.get("collection"), what=f"item '{item_id}': collection")
            by_collection.setdefault(name, {})[item_id] = item
        total = UpsertResult()
        for name, members in by_collection.items():
            for batch in _cut(list(members.values()), _BATCH_ITEMS):
                total += self._upsert_batch(name, batch)
        return total

    def collections(self) -> list[Document]:
        """Read all collections."""
        return _expect_list(self._request("GET", "/collections"), "collections", self.base_url)

    def items(self, collection: str, ids: Iterable[str]) -> list[Document]:
        """Read items by id, in the order asked; ids that do not exist are left out."""
        return _read_by_id(self, collection, ids)

    def search(self, query: SearchQuery) -> Iterator[Document]:
        """Find items page after page; the query's limit is ignored."""
        body: dict[str, Any] = replace(query, limit=_PAGE_ITEMS).to_json()
        while True:
            page = self._request("POST", "/search", body)
            yield from _expect_list(page, "features", self.base_url)
            following = _next_body(page, body)
            if following is None:
                return
            if following == body:
                raise DataError(
                    f"catalogue {self.base_url} gives the same page again and again", url=self.base_url
                )
            body = following

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _upsert_batch(self, collection: str, batch: Sequence[Mapping[str, Any]]) -> UpsertResult:
        body = {"items": {item["id"]: dict(item) for item in batch}, "method": "upsert"}
        try:
            told = self._request("POST", f"/collections/{quote(collection, safe='')}/bulk_items", body)
        except _TooLargeError:
            if len(batch) == 1:
                raise
            half = len(batch) // 2
            return self._upsert_batch(collection, batch[:half]) + self._upsert_batch(collection, batch[half:])
        if not {"created", "updated", "unchanged"} <= told.keys():
            return UpsertResult(updated=len(batch))
        return UpsertResult(created=told["created"], updated=told["updated"], unchanged=told["unchanged"])

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request until it is answered, within the retry policy.

        Raises:
            AppError: sorted by what the caller can do; TransientError after the last try.
        """
        what = f"{method} {self.base_url}{path}"
        failure = "no try was made"
        for attempt in range(self._retry.attempts):
            retry_after_s = 0.0
            try:
                response = self._http.request(method, f"{self.base_url}{path}", json=body)
            except httpx.RequestError as exc:
                failure = f"{type(exc).__name__}: {exc}"
            except (ValueError, TypeError) as exc:
                raise InputError(f"{what}: the body cannot be written as JSON: {exc}") from exc
            else:
                if response.status_code not in _RETRIED_STATUS:
                    return _read_answer(response, what)
                failure = f"HTTP {response.status_code}: {_tell(response)}"
                retry_after_s = _read_retry_after(response)
            if attempt + 1 < self._retry.attempts:
                logger.warning("%s failed (%s); try %d follows", what, failure, attempt + 2)
                self._retry.wait(attempt, retry_after_s)
        raise TransientError(
            f"{what} failed {self._retry.attempts} times, last by {failure}", url=self.base_url
        )


def open_catalogue(uri: str, *, token: str | None = None) -> CatalogueClient:
    """Open a catalogue by its address: ``http(s)://…`` is an API, anything else the path of a file.

    Raises:
        ConfigError: the address cannot be used, or the file is no catalogue.
    """
    if re.match(r"https?://", uri, re.IGNORECASE):
        return HttpClient(uri, token)
    if uri.startswith("file://"):
        return EmbeddedClient(Path(urlsplit(uri).path))
    if "://" in uri:
        raise ConfigError(f"catalogue address {uri.split('://')[0]}://… is neither http(s) nor a path")
    return EmbeddedClient(Path(uri).expanduser())


class _ConflictError(InputError):
    """The server holds this id already (409)."""


class _TooLargeError(InputError):
    """The server takes no body of this size (413)."""


def _read_by_id(client: CatalogueClient, collection: str, ids: Iterable[str]) -> list[Document]:
    wanted = list(dict.fromkeys(ids))
    found: dict[str, Document] = {}
    for batch in _cut(wanted, _BATCH_ITEMS):
        query = SearchQuery(collections=[collection], ids=batch)
        found.update((item["id"], item) for item in client.search(query))
    return [found[item_id] for item_id in wanted if item_id in found]


def _cut(values: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as exc:
        raise ConfigError(
            "the catalogue address is not a URL: expected e.g. https://stac.example.org"
        ) from exc
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            "the catalogue address is not an http(s) URL: expected e.g. https://stac.example.org"
        )
    if "@" in parts.netloc:
        raise ConfigError(
            f"the address of catalogue {host} holds a user or password: pass the token apart from it"
        )
    if parts.query or parts.fragment:
        raise ConfigError(f"the address of catalogue {host} has a query: expected the landing page's address")
    return url.rstrip("/")


def _next_body(page: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give the body of the next page; only the body is taken, so the token goes to no other address."""
    for link in page.get("links") or []:
        if isinstance(link, dict) and link.get("rel") == "next" and isinstance(link.get("body"), dict):
            return {**body, **link["body"]} if link.get("merge") else dict(link["body"])
    return None


def _read_answer(response: httpx.Response, what: str) -> dict[str, Any]:
    if response.is_success:
        try:
            content = response.json() if response.content else {}
        except ValueError as exc:
            raise DataError(f"{what}: the answer is not JSON: is this a STAC API?") from exc
        return content if isinstance(content, dict) else {}
    raise _translate(response, what)


def _translate(response: httpx.Response, what: str) -> AppError:
    status, told = response.status_code, _tell(response)
    if status in (401, 403):
        return ConfigError(f"{what}: the catalogue refused the token (HTTP {status}): {told}")
    if status == 404:
        return NotFoundError(f"{what}: not found: {told}")
    if status == 409:
        return _ConflictError(f"{what}: conflict: {told}")
    if status == 413:
        return _TooLargeError(f"{what}: the body is too large: {told}")
    if 400 <= status < 500:
        return InputError(f"{what}: refused (HTTP {status}): {told}")
    if 300 <= status < 400:
        return ConfigError(f"{what}: the catalogue has moved (HTTP {status}): use its new address")
    return TransientError(f"{what}: the server failed (HTTP {status}): {told}")


def _tell(response: httpx.Response) -> str:
    """Give the server's own words in one line."""
    try:
        content = response.json()
    except ValueError:
        content = None
    words = response.text
    if isinstance(content, dict):
        words = str(content.get("description") or content.get("detail") or words)
    _, _, token = response.request.headers.get("authorization", "").partition(" ")
    if token:  # a server that echoes requests must not bring the token into our logs
        words = words.replace(token, "***")
    return " ".join(words.split())[:300] or response.reason_phrase


def _read_retry_after(response: httpx.Response) -> float:
    """Read Retry-After in seconds; its date form is left to our own waiting."""
    stated = response.headers.get("retry-after", "")
    return float(stated) if stated.isascii() and stated.isdigit() and len(stated) < 7 else 0.0


def _expect_list(content: Mapping[str, Any], name: str, url: str) -> list[Document]:
    values = content.get(name)
    if not isinstance(values, list):
        raise DataError(f"the answer of {url} has no list of {name}: is this a STAC API?", url=url)
    return values
