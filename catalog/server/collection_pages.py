"""Sort the collections that a search found, and cut them into pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog.database.documents import Document
from catalog.database.filters import MAX_LIMIT, SortKey
from catalog.database.paging import read_token, write_token
from infra.errors import InputError

_FIELDS = ("id", "title")


@dataclass(frozen=True, kw_only=True)
class CollectionPage:
    """Hold one page of collections."""

    collections: list[Document]
    total: int
    """On all pages."""
    next_token: str | None
    """Where the next page starts; None on the last page."""


def cut_page(
    found: Sequence[Document], *, sortby: Sequence[SortKey], limit: int | None, token: str | None, digest: str
) -> CollectionPage:
    """Sort collections and take one page.

    Args:
        found: All collections of the search.
        sortby: By ``id`` and ``title``; the id decides between equals.
        limit: Collections per page; None for all of them.
        token: Where the page starts, from the page before; None for the first.
        digest: Of the search, which its tokens belong to.

    Raises:
        InputError: a field that collections are not sorted by, a limit below 1, or another search's token.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit!r} is out of range: expected 1 to {MAX_LIMIT}")
    start = 0
    ordered = _sort(found, sortby)
    if token is not None:
        last = _read_place(token, digest)
        # the page starts behind the last collection of the one before, even if that one is gone by now
        ordered = _sort([*found, last], sortby)
        start = next(index for index, each in enumerate(ordered) if each is last) + 1
    page = ordered[start : start + min(limit or MAX_LIMIT, MAX_LIMIT)]
    more = start + len(page) < len(ordered)
    return CollectionPage(
        collections=page,
        total=len(found),
        next_token=write_token((_title(page[-1]), page[-1]["id"]), search_digest=digest) if more else None,
    )


def _sort(found: Sequence[Document], sortby: Sequence[SortKey]) -> list[Document]:
    ordered = sorted(found, key=lambda each: str(each["id"]))
    for key in reversed(sortby):
        if key.field not in _FIELDS:
            raise InputError(f"sortby names {key.field[:60]!r}: collections are sorted by id or title")
        read = _title if key.field == "title" else _id
        ordered.sort(key=read, reverse=key.descending)
    return ordered


def _read_place(token: str, digest: str) -> Document:
    place = read_token(token, search_digest=digest)
    if len(place) != 2 or not all(isinstance(part, str) for part in place):
        raise InputError("token does not belong to this search: start again from its first page")
    return {"title": place[0], "id": place[1]}


def _id(collection: Document) -> str:
    return str(collection["id"])


def _title(collection: Document) -> str:
    title = collection.get("title")
    return title if isinstance(title, str) else ""
