"""Hold what a search asks for, as it comes and after checking; pure functions, no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shapely.geometry.base import BaseGeometry

from catalog.database.expressions.parse import Expression, parse_filter
from catalog.database.footprints import (
    BoundsXyxy,
    is_box,
    read_bbox,
    read_search_geometry,
    search_shape,
    split_bounds,
)
from catalog.database.texts import spell_match
from catalog.database.times import parse_interval
from infra.digests import sha256_of_json
from infra.errors import InputError

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000
_MAX_SORT_KEYS = 8


@dataclass(frozen=True, kw_only=True)
class SortKey:
    """Name one field that answers are sorted by; items without it come last, whatever the direction."""

    field: str
    """Name of an item property, or ``id`` or ``collection``."""
    descending: bool = False


@dataclass(frozen=True, kw_only=True)
class SearchQuery:
    """Say which items are wanted, in the words of STAC API item search.

    None means "no condition"; an empty ``ids`` or ``collections`` means "none of them".
    """

    collections: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    bbox: Sequence[float] | None = None
    """West, south, east, north (with elevations 6 numbers), degrees; west > east crosses the antimeridian."""
    intersects: dict[str, Any] | None = None
    """GeoJSON geometry; not together with ``bbox``."""
    datetime: str | None = None
    """RFC 3339 moment, or ``start/end`` with ``..`` for an open end; both ends inclusive."""
    filter: Mapping[str, Any] | None = None
    """CQL2 JSON."""
    q: Sequence[str] | None = None
    """Free-text terms, any of which is enough; of a term all words are wanted, ``"…"`` is a phrase."""
    sortby: Sequence[SortKey] | None = None
    """Newest first when None or empty."""
    limit: int = DEFAULT_LIMIT
    """Items per page, 1..10000."""
    token: str | None = None
    """Where to go on, from the page before."""

    def to_json(self) -> dict[str, Any]:
        """Spell the query as the body of ``POST /search``, without what is not asked."""
        fields = {
            "collections": None if self.collections is None else list(self.collections),
            "ids": None if self.ids is None else list(self.ids),
            "bbox": None if self.bbox is None else list(self.bbox),
            "intersects": self.intersects,
            "datetime": self.datetime,
            **self._extensions(),
            "limit": self.limit,
            "token": self.token,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _extensions(self) -> dict[str, Any]:
        keys = self.sortby or ()
        directions = {True: "desc", False: "asc"}
        return {
            "filter": self.filter,
            "filter-lang": None if self.filter is None else "cql2-json",
            "q": list(self.q) if self.q else None,
            "sortby": [{"field": k.field, "direction": directions[k.descending]} for k in keys] or None,
        }

    def digest(self) -> str:
        """Identify the conditions, whatever the page: a token belongs to one search only."""
        conditions = {name: value for name, value in self.to_json().items() if name not in {"limit", "token"}}
        try:
            return sha256_of_json(conditions)[:16]
        except (ValueError, TypeError, RecursionError) as exc:
            raise InputError("the search holds numbers or text that JSON cannot spell") from exc


@dataclass(frozen=True, kw_only=True)
class Region:
    """Say where a search looks: boxes that SQL can decide, and the exact shape for the rest."""

    boxes: tuple[BoundsXyxy, ...]
    """One box, or two on either side of the antimeridian."""
    elevation: tuple[float, float] | None
    shape: BaseGeometry
    is_box: bool
    """True when the boxes are the whole condition; False for ``intersects``."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Hold a search after checking: numbers and shapes instead of text."""

    collections: tuple[str, ...] | None
    ids: tuple[str, ...] | None
    region: Region | None
    start_us: int | None
    end_us: int | None
    match: str | None
    """FTS5 query; None without free text."""
    nothing: bool
    """True when the free text holds no word, which finds nothing."""
    sort: tuple[SortKey, ...]
    """Empty for newest first."""
    expression: Expression | None
    """CQL2 filter."""

    @property
    def is_narrow(self) -> bool:
        """Whether there is any condition but the collections."""
        wide = (self.ids, self.region, self.start_us, self.end_us, self.match, self.expression)
        return self.nothing or any(condition is not None for condition in wide)


def check_query(query: SearchQuery) -> Conditions:
    """Check a query's fields and turn them into conditions.

    Raises:
        InputError: malformed field; the message names it and quotes the value.
    """
    if query.bbox is not None and query.intersects is not None:
        raise InputError("bbox and intersects exclude each other: state one of them")
    if query.limit < 1:
        raise InputError(f"limit {query.limit!r} is out of range: expected 1 to {MAX_LIMIT}")
    start_us, end_us = (None, None) if query.datetime is None else parse_interval(query.datetime)
    match = spell_match(_check_terms(query.q)) if query.q else None
    return Conditions(
        collections=_check_names(query.collections, "collections"),
        ids=_check_names(query.ids, "ids"),
        region=_read_region(query),
        start_us=start_us,
        end_us=end_us,
        match=match,
        nothing=bool(query.q) and match is None,
        sort=_check_sort(query.sortby or ()),
        expression=None if query.filter is None else parse_filter(query.filter),
    )


def region_of(geometry: dict[str, Any]) -> Region:
    """Make the region of a GeoJSON geometry.

    Raises:
        InputError: malformed.
    """
    shape = read_search_geometry(geometry)
    return Region(boxes=(shape.bounds,), elevation=None, shape=shape, is_box=is_box(shape))


def _read_region(query: SearchQuery) -> Region | None:
    if query.bbox is not None:
        bounds, elevation = read_bbox(query.bbox, where="bbox")
        boxes = split_bounds(bounds)
        return Region(boxes=tuple(boxes), elevation=elevation, shape=search_shape(boxes), is_box=True)
    return None if query.intersects is None else region_of(query.intersects)


def _check_terms(terms: Sequence[str]) -> Sequence[str]:
    if isinstance(terms, str) or not all(map(_is_utf8, terms)):
        raise InputError("q must be a list of texts, in UTF-8")
    return terms


def _check_sort(keys: Sequence[SortKey]) -> tuple[SortKey, ...]:
    if len(keys) > _MAX_SORT_KEYS:
        raise InputError(f"sortby names {len(keys)} fields: at most {_MAX_SORT_KEYS}")
    first: dict[str, SortKey] = {}
    for key in keys:
        name = key.field.removeprefix("properties.")
        first.setdefault(name, SortKey(field=name, descending=key.descending))
    return tuple(first.values())


def _check_names(names: Sequence[str] | None, field: str) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, str) or not all(map(_is_utf8, names)):
        raise InputError(f"{field} must be a list of ids, in UTF-8 text")
    return tuple(dict.fromkeys(names))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
