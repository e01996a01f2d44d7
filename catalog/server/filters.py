"""Turn what a search asks into SQL over the narrow tables; pure functions, no database.

Answers come newest first: ``start_us``, collection, id, all descending. It is a total order over columns
that an update of the same product does not change, so a page that starts below the last key seen (keyset
paging) neither repeats nor skips an item while others are written.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shapely.geometry.base import BaseGeometry

from catalog.server.footprints import BoundsXyxy, read_bbox, read_search_geometry, search_shape, split_bounds
from catalog.server.times import parse_interval, to_days
from infra.digests import sha256_of_json
from infra.errors import InputError

DEFAULT_LIMIT = 10
MAX_LIMIT = 10_000
Key = tuple[int, str, str]
"""Place in the order: start in microseconds, collection, id."""


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
            "limit": self.limit,
            "token": self.token,
        }
        return {name: value for name, value in fields.items() if value is not None}

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


class Drive(enum.Enum):
    """Name the index that a search walks; which one is quick depends on what the file holds."""

    IDS = "items_by_id"
    REGION = "rowid"
    COLLECTION = "items_by_collection"
    TIME = "items_by_time"


@dataclass(frozen=True, kw_only=True)
class Sql:
    """Pair a statement with its parameters."""

    text: str
    parameters: dict[str, Any]


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
    return Conditions(
        collections=_check_names(query.collections, "collections"),
        ids=_check_names(query.ids, "ids"),
        region=_read_region(query),
        start_us=start_us,
        end_us=end_us,
    )


def probe_region(conditions: Conditions, *, cap: int) -> Sql:
    """Count R*Tree candidates up to ``cap``: what decides between walking the region and walking time."""
    hits, parameters = _select_hits(conditions)
    return Sql(
        text=f"SELECT count(*) FROM (SELECT 1 FROM ({hits}) LIMIT :cap)",  # noqa: S608
        parameters={**parameters, "cap": cap},
    )


def longest_span(conditions: Conditions) -> Sql:
    """Ask how long the longest item lasts; it bounds how far before its start a time search must look."""
    known = "SELECT id FROM collections"
    if conditions.collections is not None:
        known = "SELECT value AS id FROM json_each(:collections)"
    return Sql(
        text=f"SELECT max(span) FROM (SELECT (SELECT max(end_us - start_us) FROM items"  # noqa: S608
        f" WHERE collection = known.id) AS span FROM ({known}) AS known)",
        parameters={"collections": json.dumps(conditions.collections)},
    )


def select_candidates(conditions: Conditions, *, drive: Drive, after: Key | None, span_us: int) -> Sql:
    """Select what may match, in order, from the narrow table; the exact shape is checked on the rows.

    Args:
        conditions: The checked search.
        drive: Index to walk; every choice gives the same rows.
        after: Key of the last item of the page before.
        span_us: Length of the longest item, microseconds.
    """
    parameters: dict[str, Any] = {}
    clauses = [
        *_name_clauses(conditions, parameters),
        *_time_clauses(conditions, parameters, span_us),
        *_region_clauses(conditions, parameters, drive),
        *_after_clauses(after, parameters, drive),
    ]
    source = "items NOT INDEXED" if drive is Drive.REGION else f"items INDEXED BY {drive.value}"
    return Sql(
        text="SELECT rowid, start_us, collection, id, west, south, east, north, footprint"  # noqa: S608
        f" FROM {source} WHERE {' AND '.join(clauses) or 'TRUE'}"
        " ORDER BY start_us DESC, collection DESC, id DESC",
        parameters=parameters,
    )


def _read_region(query: SearchQuery) -> Region | None:
    if query.bbox is not None:
        bounds, elevation = read_bbox(query.bbox, where="bbox")
        boxes = split_bounds(bounds)
        return Region(boxes=tuple(boxes), elevation=elevation, shape=search_shape(boxes), is_box=True)
    if query.intersects is not None:
        shape = read_search_geometry(query.intersects)
        return Region(boxes=(shape.bounds,), elevation=None, shape=shape, is_box=False)
    return None


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


def _name_clauses(conditions: Conditions, parameters: dict[str, Any]) -> list[str]:
    clauses = []
    if conditions.ids is not None:
        parameters["ids"] = json.dumps(conditions.ids)
        clauses.append("id IN (SELECT value FROM json_each(:ids))")
    if conditions.collections is not None:
        if len(conditions.collections) == 1:
            parameters["collection"] = conditions.collections[0]
            clauses.append("collection = :collection")
        else:
            parameters["collections"] = json.dumps(conditions.collections)
            # the unary plus keeps SQLite from walking collection by collection, which would lose the order
            clauses.append("+collection IN (SELECT value FROM json_each(:collections))")
    return clauses


def _time_clauses(conditions: Conditions, parameters: dict[str, Any], span_us: int) -> list[str]:
    clauses = []
    if conditions.start_us is not None:
        parameters |= {"start_us": conditions.start_us, "earliest_us": conditions.start_us - span_us}
        clauses += ["end_us >= :start_us", "start_us >= :earliest_us"]
    if conditions.end_us is not None:
        parameters["end_us"] = conditions.end_us
        clauses.append("start_us <= :end_us")
    return clauses


def _region_clauses(conditions: Conditions, parameters: dict[str, Any], drive: Drive) -> list[str]:
    region = conditions.region
    if region is None:
        return []
    clauses = []
    if drive is Drive.REGION:
        found, bound = _select_hits(conditions)
        parameters |= bound
        clauses.append(f"rowid IN ({found})")
    hits = []
    for index, (west, south, east, north) in enumerate(region.boxes):
        parameters |= {f"w{index}": west, f"s{index}": south, f"e{index}": east, f"n{index}": north}
        hits.append(
            f"(south <= :n{index} AND north >= :s{index} AND CASE WHEN west <= east"
            f" THEN west <= :e{index} AND east >= :w{index} ELSE west <= :e{index} OR east >= :w{index} END)"
        )
    clauses.append(f"({' OR '.join(hits)})")
    if region.elevation is not None:
        parameters["low"], parameters["high"] = region.elevation
        # an item that does not tell its elevation is not ruled out by it
        clauses.append("(low IS NULL OR (low <= :high AND high >= :low))")
    return clauses


def _after_clauses(after: Key | None, parameters: dict[str, Any], drive: Drive) -> list[str]:
    if after is None:
        return []
    parameters |= {"after_us": after[0], "after_collection": after[1], "after_id": after[2]}
    if drive is Drive.COLLECTION:  # one collection only: compare what its index is sorted by
        return ["(start_us, id) < (:after_us, :after_id)"]
    return ["(start_us, collection, id) < (:after_us, :after_collection, :after_id)"]


def _select_hits(conditions: Conditions) -> tuple[str, dict[str, Any]]:
    """Select the row ids whose R*Tree entries meet a box of the region and the interval: a superset."""
    assert conditions.region is not None
    parameters: dict[str, Any] = {}
    when = ""
    if conditions.start_us is not None:
        parameters["first_day"] = to_days(conditions.start_us)
        when += " AND last_day >= :first_day"
    if conditions.end_us is not None:
        parameters["last_day"] = to_days(conditions.end_us)
        when += " AND first_day <= :last_day"
    selects = []
    for index, (west, south, east, north) in enumerate(conditions.region.boxes):
        parameters |= {f"rw{index}": west, f"rs{index}": south, f"re{index}": east, f"rn{index}": north}
        selects.append(
            f"SELECT key >> 1 FROM items_rtree WHERE west <= :re{index} AND east >= :rw{index}"  # noqa: S608
            f" AND south <= :rn{index} AND north >= :rs{index}{when}"
        )
    return " UNION ALL ".join(selects), parameters
