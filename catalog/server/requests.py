"""Describe what requests may hold; the numbers and shapes inside are checked in one place, ``filters``."""

# No ``from __future__ import annotations``: FastAPI reads these annotations as objects.

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import attr
from fastapi import Body, Query
from pydantic import BaseModel, ConfigDict, Field
from stac_fastapi.api.models import CollectionUri, ItemUri
from stac_fastapi.types.search import APIRequest

from catalog.database.expressions.parse import read_filter_text
from catalog.database.filters import DEFAULT_LIMIT, MAX_LIMIT, SearchQuery, SortKey
from catalog.server.projection import Projection, read_projection
from infra.errors import InputError

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"

_BBOX = "West, south, east, north in degrees (or 6 numbers with elevations); west > east crosses ±180."
_DATETIME = "RFC 3339 date-time, or start/end with .. for one open end; both ends count."
_LIMIT = f"Items per page; more than {MAX_LIMIT} are answered with {MAX_LIMIT}."
_TOKEN = "Where to go on: taken from the next link of the page before."  # noqa: S105 - prose
_WORDS = 'Words to find in titles and descriptions: of a term all of them; "…" is a phrase, word* a beginning'
_FILTER = "CQL2 expression over the properties that /queryables lists."
_FILTER_CRS = f"Of the geometries in the filter; only {CRS84}."
_SORTBY = "Names of properties, or id or collection, with commas between; - in front turns the order round."
_FIELDS = "Fields to answer, with commas between; those with - in front are left out."
_INTERVAL = "Width of the buckets of datetime_frequency: day, month or year."

BboxText = Annotated[str | None, Query(description=_BBOX, examples=["10.0,50.0,11.0,51.0"])]
DatetimeText = Annotated[str | None, Query(description=_DATETIME, examples=["2024-05-01T00:00:00Z/.."])]
WordsText = Annotated[str | None, Query(description=f"{_WORDS}; commas separate alternatives.")]
SortText = Annotated[str | None, Query(description=_SORTBY, examples=["-datetime,id"])]
FieldsText = Annotated[str | None, Query(description=_FIELDS, examples=["id,-geometry"])]
LimitNumber = Annotated[int | None, Query(description=_LIMIT)]
TokenText = Annotated[str | None, Query(description=_TOKEN)]
DocumentBody = Annotated[dict[str, Any], Body()]


@attr.s
class ConditionParameters(APIRequest):
    """Conditions on items, in an address."""

    collections: Annotated[str | None, Query(description="Ids, with commas between.")] = attr.ib(default=None)
    ids: Annotated[str | None, Query(description="Ids, with commas between.")] = attr.ib(default=None)
    bbox: BboxText = attr.ib(default=None)
    intersects: Annotated[str | None, Query(description="GeoJSON geometry.")] = attr.ib(default=None)
    datetime: DatetimeText = attr.ib(default=None)
    q: WordsText = attr.ib(default=None)
    filter: Annotated[str | None, Query(description=_FILTER, examples=["gsd <= 10"])] = attr.ib(default=None)
    filter_lang: Annotated[
        str | None, Query(alias="filter-lang", description="cql2-text (when left out) or cql2-json.")
    ] = attr.ib(default=None)
    filter_crs: Annotated[str | None, Query(alias="filter-crs", description=_FILTER_CRS)] = attr.ib(
        default=None
    )


@attr.s
class SearchParameters(ConditionParameters):
    """Parameters of ``GET /search``."""

    sortby: SortText = attr.ib(default=None)
    fields: FieldsText = attr.ib(default=None)
    limit: LimitNumber = attr.ib(default=None)
    token: TokenText = attr.ib(default=None)


@attr.s
class ItemsParameters(CollectionUri, SearchParameters):
    """Parameters of ``GET /collections/{id}/items``: those of a search, as pystac-client sends them."""


@attr.s
class CollectionsParameters(APIRequest):
    """Parameters of ``GET /collections``."""

    bbox: BboxText = attr.ib(default=None)
    datetime: DatetimeText = attr.ib(default=None)
    q: WordsText = attr.ib(default=None)
    sortby: Annotated[str | None, Query(description="id or title; - in front turns the order round.")] = (
        attr.ib(default=None)
    )
    fields: FieldsText = attr.ib(default=None)
    limit: Annotated[int | None, Query(description="Collections per page; all when left out.")] = attr.ib(
        default=None
    )
    token: TokenText = attr.ib(default=None)


@attr.s
class AggregateParameters(ConditionParameters):
    """Parameters of ``GET /aggregate``."""

    aggregations: Annotated[
        str | None, Query(description="Names that /aggregations lists, with commas between.")
    ] = attr.ib(default=None)
    datetime_frequency_interval: Annotated[str | None, Query(description=_INTERVAL)] = attr.ib(default=None)


@attr.s
class CollectionAggregateParameters(CollectionUri, AggregateParameters):
    """Parameters of ``GET /collections/{id}/aggregate``."""


class FieldsBody(BaseModel):
    """Fields to answer; an empty ``include`` wants the least, none at all wants everything."""

    model_config = ConfigDict(extra="forbid")

    include: list[str] | None = None
    exclude: list[str] | None = None


class SortBody(BaseModel):
    """One field to sort by."""

    model_config = ConfigDict(extra="forbid")

    field: str
    direction: Literal["asc", "desc"] = "asc"


class ConditionBody(BaseModel):
    """Conditions on items, in a posted body; fields it does not know are refused, never ignored."""

    model_config = ConfigDict(extra="forbid")

    collections: list[str] | None = None
    ids: list[str] | None = None
    bbox: list[float] | None = Field(default=None, description=_BBOX)
    intersects: dict[str, Any] | None = Field(default=None, description="GeoJSON geometry.")
    datetime: str | None = Field(default=None, description=_DATETIME)
    q: list[str] | str | None = Field(default=None, description=f"{_WORDS}; any term of the list.")
    filter: dict[str, Any] | str | None = Field(default=None, description=_FILTER)
    filter_lang: str | None = Field(
        default=None, alias="filter-lang", description="cql2-json (when left out) or cql2-text."
    )
    filter_crs: str | None = Field(default=None, alias="filter-crs", description=_FILTER_CRS)


class SearchBody(ConditionBody):
    """Body of ``POST /search``."""

    sortby: list[SortBody] | None = Field(default=None, description="Most important first.")
    fields: FieldsBody = Field(default_factory=FieldsBody, description=_FIELDS)
    limit: int | None = Field(default=None, description=_LIMIT)
    token: str | None = Field(default=None, description=_TOKEN)

    def as_sent(self) -> dict[str, Any]:
        """Spell the body as it was sent."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class AggregateBody(ConditionBody):
    """Body of ``POST /aggregate``."""

    aggregations: list[str] | None = Field(default=None, description="Names that /aggregations lists.")
    datetime_frequency_interval: str | None = Field(default=None, description=_INTERVAL)


@attr.s
class CollectionAggregateBody(CollectionUri):
    """Body of ``POST /collections/{id}/aggregate``."""

    body: Annotated[AggregateBody, Body()] = attr.ib()


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


def query_from_text(parameters: Mapping[str, Any]) -> SearchQuery:
    """Read a search from the text of an address; empty parameters count as left out.

    Raises:
        InputError: bbox, intersects, filter or sortby cannot be read.
    """
    stated = {name: value for name, value in parameters.items() if value not in (None, "")}
    lang = stated.get("filter_lang", "cql2-text")
    return SearchQuery(
        collections=_split(stated.get("collections")),
        ids=_split(stated.get("ids")),
        bbox=read_numbers(stated.get("bbox")),
        intersects=_read_object(stated.get("intersects"), "intersects", "a GeoJSON geometry"),
        datetime=stated.get("datetime"),
        q=read_terms(stated.get("q")),
        filter=_read_filter(stated.get("filter"), lang, stated.get("filter_crs")),
        sortby=read_sortby(stated.get("sortby")),
        limit=stated.get("limit", DEFAULT_LIMIT),
        token=stated.get("token"),
    )


def query_from_body(body: SearchBody) -> SearchQuery:
    """Read a search from a posted body; null counts as left out.

    Raises:
        InputError: the filter cannot be read.
    """
    keys = [SortKey(field=key.field, descending=key.direction == "desc") for key in body.sortby or ()]
    limit = DEFAULT_LIMIT if body.limit is None else body.limit
    return replace(conditions_from_body(body), sortby=keys, limit=limit, token=body.token)


def conditions_from_body(body: ConditionBody) -> SearchQuery:
    """Read the conditions of a posted body.

    Raises:
        InputError: the filter cannot be read.
    """
    return SearchQuery(
        collections=body.collections,
        ids=body.ids,
        bbox=body.bbox,
        intersects=body.intersects,
        datetime=body.datetime,
        q=read_terms(body.q) if isinstance(body.q, str) else body.q,
        filter=_read_filter(body.filter, body.filter_lang or "cql2-json", body.filter_crs),
    )


def projection_from_text(fields: str | None) -> Projection | None:
    """Read ``fields`` from an address; None, left out, answers whole documents.

    Raises:
        InputError: an empty name.
    """
    return None if fields is None else read_projection(fields)


def projection_from_body(body: SearchBody) -> Projection | None:
    """Read ``fields`` from a posted body; None, left out, answers whole documents.

    Raises:
        InputError: an empty name.
    """
    if "fields" not in body.model_fields_set:
        return None
    fields = body.fields
    # exclude alone takes away from everything; nothing at all, or an empty include, means the least
    everything = "include" not in fields.model_fields_set and bool(fields.exclude)
    return Projection(include=None if everything else fields.include or [], exclude=fields.exclude or ())


def read_terms(text: str | None) -> list[str] | None:
    """Cut free text into its alternatives, at the commas outside of phrases."""
    if text is None:
        return None
    pieces = text.split('"')  # every other piece stands inside quotation marks
    pieces[::2] = [piece.replace(",", "\0") for piece in pieces[::2]]
    return [term.strip() for term in '"'.join(pieces).split("\0") if term.strip()]


def read_sortby(text: str | None) -> list[SortKey] | None:
    """Read ``sortby`` from an address: names with commas between, ``-`` for descending, ``+`` or nothing not.

    Raises:
        InputError: an empty name.
    """
    if text is None:
        return None
    keys = []
    for part in text.split(","):
        name = part.strip()  # an unescaped + reaches us as a space
        field = name[1:].strip() if name[:1] in {"+", "-"} else name
        if not field:
            raise InputError(f"sortby {text[:120]!r} holds an empty name: expected e.g. '-datetime,id'")
        keys.append(SortKey(field=field, descending=name.startswith("-")))
    return keys


def read_numbers(text: str | None) -> list[float] | None:
    """Read ``bbox`` from an address.

    Raises:
        InputError: not numbers with commas between.
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as exc:
        raise InputError(f"bbox {text[:120]!r} is not a list of numbers with commas between") from exc


def _split(text: str | None) -> list[str] | None:
    return None if text is None else text.split(",")


def _read_filter(value: str | dict[str, Any] | None, lang: str, crs: str | None) -> dict[str, Any] | None:
    if crs not in (None, CRS84):
        raise InputError(f"filter-crs {crs[:120]!r} is not served: expected {CRS84}, or leave it out")
    if lang not in {"cql2-text", "cql2-json"}:
        raise InputError(f"filter-lang {lang[:60]!r} is not known: expected cql2-text or cql2-json")
    if value is None or (isinstance(value, dict) and lang == "cql2-json"):
        return value
    if isinstance(value, dict):
        raise InputError("filter is an object, but filter-lang says cql2-text: expected text")
    if lang == "cql2-text":
        return read_filter_text(value)
    return _read_object(value, "filter", "CQL2 JSON; state filter-lang=cql2-text for text")


def _read_object(text: str | None, name: str, expected: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{name} {text[:120]!r} is not JSON: expected {expected}") from exc
    if not isinstance(value, dict):
        raise InputError(f"{name} {text[:120]!r} is not a JSON object: expected {expected}")
    return value
