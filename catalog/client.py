"""Read and write a STAC catalogue from flows: a local file without a server, or an API over HTTP."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from catalog.api_client import PAGE_ITEMS, HttpClient, read_by_id
from catalog.database.backend import SqliteCatalogue
from catalog.database.documents import Document
from catalog.database.filters import SearchQuery
from catalog.database.writing import UpsertResult
from catalog.exchange import RetryPolicy
from infra.errors import ConfigError
from infra.settings import spell_local_path

__all__ = [
    "CatalogueClient",
    "EmbeddedClient",
    "HttpClient",
    "RetryPolicy",
    "SearchQuery",
    "UpsertResult",
    "open_catalogue",
]


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
        return read_by_id(self.search, collection, ids)

    def search(self, query: SearchQuery) -> Iterator[Document]:
        """Find items, newest first, page after page; the query's limit is ignored."""
        page_query = replace(query, limit=PAGE_ITEMS)
        while True:
            page = self._catalogue.search(page_query)
            yield from page.items
            if page.next_token is None:
                return
            page_query = replace(page_query, token=page.next_token)

    def close(self) -> None:
        """Close the file."""
        self._catalogue.close()


def open_catalogue(uri: str, *, token: str | None = None) -> CatalogueClient:
    """Open a catalogue by its address: ``http(s)://…`` is an API, anything else the path of a file.

    Raises:
        ConfigError: the address cannot be used, or the file is no catalogue.
    """
    if re.match(r"https?://", uri, re.IGNORECASE):
        return HttpClient(uri, token)
    path = spell_local_path(uri)
    if "://" in path:
        raise ConfigError(f"catalogue address {uri.split('://')[0]}://… is neither http(s) nor a path")
    return EmbeddedClient(Path(path))
