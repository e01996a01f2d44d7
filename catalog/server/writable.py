"""Say what the write routes ask of a catalogue, whatever it is stored in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from catalog.database.backend import SearchPage
from catalog.database.documents import Document
from catalog.database.filters import SearchQuery
from catalog.database.writing import UpsertResult, WriteMode


class WritableCatalogue(Protocol):
    """A catalogue that one request at a time writes to; all methods raise what ``SqliteCatalogue`` raises."""

    def write_collection(self, collection: Mapping[str, Any], *, exists: bool) -> None:
        """Create a new collection, or replace one that exists."""

    def patch_collection(self, collection: str, patch: Mapping[str, Any]) -> None:
        """Change fields of a collection by a JSON merge patch."""

    def get_collection(self, collection: str) -> Document:
        """Read one collection."""

    def delete_collection(self, collection: str) -> int:
        """Delete a collection and all its items; returns how many items went."""

    def upsert_items(self, items: Iterable[Mapping[str, Any]], *, mode: WriteMode = "upsert") -> UpsertResult:
        """Write items: all of them or none."""

    def patch_item(self, collection: str, item_id: str, patch: Mapping[str, Any]) -> None:
        """Change fields of an item by a JSON merge patch."""

    def get_item(self, collection: str, item_id: str) -> Document:
        """Read one item."""

    def delete_item(self, collection: str, item_id: str) -> None:
        """Delete one item."""

    def search(self, query: SearchQuery) -> SearchPage:
        """Find one page of items."""
