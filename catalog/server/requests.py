"""Describe what requests may hold; the numbers and shapes inside are checked in one place, ``filters``."""

# No ``from __future__ import annotations``: FastAPI reads these annotations as objects.

import json
from typing import Annotated, Any

import attr
from fastapi import Body, Query
from pydantic import BaseModel, ConfigDict, Field
from stac_fastapi.api.models import CollectionUri, ItemUri
from stac_fastapi.types.search import APIRequest

from catalog.server.filters import DEFAULT_LIMIT, MAX_LIMIT, SearchQuery
from infra.errors import InputError

_BBOX = "West, south, east, north in degrees (or 6 numbers with elevations); west > east crosses ±180."
_DATETIME = "RFC 3339 date-time, or start/end with .. for one open end; both ends count."
_LIMIT = f"Items per page; more than {MAX_LIMIT} are answered with {MAX_LIMIT}."
_TOKEN = "Where to go on: taken from the next link of the page before."  # noqa: S105 - prose

BboxText = Annotated[str | None, Query(description=_BBOX, examples=["10.0,50.0,11.0,51.0"])]
DatetimeText = Annotated[str | None, Query(description=_DATETIME, examples=["2024-05-01T00:00:00Z/.."])]
LimitNumber = Annotated[int | None, Query(description=_LIMIT)]
TokenText = Annotated[str | None, Query(description=_TOKEN)]
DocumentBody = Annotated[dict[str, Any], Body()]


@attr.s
class SearchParameters(APIRequest):
    """Parameters of ``GET /search``."""

    collections: Annotated[str | None, Query(description="Ids, with commas between.")] = attr.ib(default=None)
    ids: Annotated[str | None, Query(description="Ids, with commas between.")] = attr.ib(default=None)
    bbox: BboxText = attr.ib(default=None)
    intersects: Annotated[str | None, Query(description="GeoJSON geometry.")] = attr.ib(default=None)
    datetime: DatetimeText = attr.ib(default=None)
    limit: LimitNumber = attr.ib(default=None)
    token: TokenText = attr.ib(default=None)


@attr.s
class ItemsParameters(CollectionUri, SearchParameters):
    """Parameters of ``GET /collections/{id}/items``: those of a search, as pystac-client sends them."""


class SearchBody(BaseModel):
    """Body of ``POST /search``; fields it does not know are refused, never ignored."""

    model_config = ConfigDict(extra="forbid")

    collections: list[str] | None = None
    ids: list[str] | None = None
    bbox: list[float] | None = Field(default=None, description=_BBOX)
    intersects: dict[str, Any] | None = Field(default=None, description="GeoJSON geometry.")
    datetime: str | None = Field(default=None, description=_DATETIME)
    limit: int | None = Field(default=None, description=_LIMIT)
    token: str | None = Field(default=None, description=_TOKEN)


@attr.s
class PostItem(CollectionUri):
    """One item or a FeatureCollection of items."""

    item: DocumentBody = attr.ib()


@attr.s
class PutItem(ItemUri):
    """A whole item."""

    item: DocumentBody = attr.ib()


@attr.s
class PatchItem(ItemUri):
    """A JSON merge patch."""

    patch: DocumentBody = attr.ib()


@attr.s
class PostCollection(APIRequest):
    """A new collection."""

    collection: DocumentBody = attr.ib()


@attr.s
class PutCollection(CollectionUri):
    """A whole collection."""

    collection: DocumentBody = attr.ib()


@attr.s
class PatchCollection(CollectionUri):
    """A JSON merge patch."""

    patch: DocumentBody = attr.ib()


def query_from_text(parameters: dict[str, Any]) -> SearchQuery:
    """Read a search from the text of an address; empty parameters count as left out.

    Raises:
        InputError: bbox or intersects cannot be read.
    """
    stated = {name: value for name, value in parameters.items() if value not in (None, "")}
    return SearchQuery(
        collections=_split(stated.get("collections")),
        ids=_split(stated.get("ids")),
        bbox=_read_numbers(stated.get("bbox")),
        intersects=_read_object(stated.get("intersects")),
        datetime=stated.get("datetime"),
        limit=stated.get("limit", DEFAULT_LIMIT),
        token=stated.get("token"),
    )


def query_from_body(body: SearchBody) -> SearchQuery:
    """Read a search from a posted body; null counts as left out."""
    return SearchQuery(**body.model_dump(exclude_none=True))


def _split(text: str | None) -> list[str] | None:
    return None if text is None else text.split(",")


def _read_numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as exc:
        raise InputError(f"bbox {text[:120]!r} is not a list of numbers with commas between") from exc


def _read_object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"intersects {text[:120]!r} is not JSON: expected a GeoJSON geometry") from exc
    if not isinstance(value, dict):
        raise InputError(f"intersects {text[:120]!r} is not a JSON object: expected a GeoJSON geometry")
    return value
