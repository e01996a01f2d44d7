"""Turn a checked search into SQL over the narrow tables; pure functions, no database."""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from catalog.database.expressions.pushdown import Pushdown
from catalog.database.filters import Conditions, Region
from catalog.database.ordering import Walk
from catalog.database.times import to_days

_ALL_AT_ONCE = "items.rowid IN (SELECT rowid FROM item_texts WHERE item_texts MATCH :match)"
_EACH_BY_ITSELF = (
    "EXISTS (SELECT 1 FROM item_texts WHERE item_texts MATCH :match AND item_texts.rowid = items.rowid)"
)


class Drive(enum.Enum):
    """Name what a search walks; which is quick depends on what the file holds, and all give the same rows."""

    IDS = "items_by_id"
    CANDIDATES = "candidates"
    """Row ids that one selective condition gives; sorted afterwards."""
    SORTED = "sorted"
    """The index of the order's first term."""
    COLLECTION = "items_by_collection"
    TIME = "items_by_time"


@dataclass(frozen=True, kw_only=True)
class Sql:
    """Pair a statement with its parameters."""

    text: str
    parameters: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Hold a checked search together with what of its filter SQL decides."""

    conditions: Conditions
    region: Region | None
    """From ``bbox`` or ``intersects``, else from the filter."""
    pushdown: Pushdown | None
    span_us: int = 0
    """Length of the longest item; it bounds how far before its start a time search must look."""
    text_is_common: bool = False
    """True when the free text finds so many items that each row is better asked by itself."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Select the row ids of one condition that an index answers: a superset of the search's answer."""

    select: Sql
    decides_text: bool = False
    """True when the condition is the free text: nothing else need look at it."""

    def count(self, *, cap: int) -> Sql:
        """Count the row ids up to ``cap``: what decides whether they are walked."""
        text = f"SELECT count(*) FROM (SELECT 1 FROM ({self.select.text}) LIMIT :cap)"  # noqa: S608
        return Sql(text=text, parameters={**self.select.parameters, "cap": cap})


def list_probes(search: Search) -> list[Probe]:
    """List the conditions that an index answers."""
    probes = []
    if search.region is not None:
        probes.append(Probe(select=_select_hits(search.conditions, search.region)))
    if search.conditions.match is not None:
        text = "SELECT rowid FROM item_texts WHERE item_texts MATCH :match"
        select = Sql(text=text, parameters={"match": search.conditions.match})
        probes.append(Probe(select=select, decides_text=True))
    if search.pushdown is not None:
        parameters = search.pushdown.parameters
        probes += [Probe(select=Sql(text=text, parameters=parameters)) for text in search.pushdown.probes]
    return probes


def longest_span(conditions: Conditions) -> Sql:
    """Ask how long the longest item lasts."""
    known = "SELECT id FROM collections"
    if conditions.collections is not None:
        known = "SELECT value AS id FROM json_each(:collections)"
    return Sql(
        text=f"SELECT max(span) FROM (SELECT (SELECT max(end_us - start_us) FROM items"  # noqa: S608
        f" WHERE collection = known.id) AS span FROM ({known}) AS known)",
        parameters={"collections": json.dumps(conditions.collections)},
    )


def choose_walk(search: Search) -> Drive:
    """Choose what to walk when no condition is selective enough."""
    if search.conditions.ids is not None:
        return Drive.IDS
    if search.conditions.sort:
        return Drive.SORTED
    if search.conditions.collections is not None and len(search.conditions.collections) == 1:
        return Drive.COLLECTION
    return Drive.TIME


def select_rows(search: Search, walk: Walk, *, drive: Drive, candidates: Probe | None) -> Sql:
    """Select what may match, in order; exact shapes and inexact filters are checked on the rows.

    Args:
        search: What is asked.
        walk: The order, and where in it to start.
        drive: What to walk.
        candidates: Row ids to look at; with ``Drive.CANDIDATES`` only.
    """
    if drive is Drive.SORTED and _needs_values_only(search, walk):
        return _select_sorted_values(search, walk)
    parameters: dict[str, Any] = dict(walk.parameters)
    clauses = [
        *walk.clauses,
        *_name_clauses(search.conditions, parameters),
        *_time_clauses(search, parameters),
        *_region_clauses(search.region, parameters),
        *_filter_clauses(search, parameters, text_done=candidates is not None and candidates.decides_text),
    ]
    if candidates is not None:
        parameters |= candidates.select.parameters
        clauses.append(f"items.rowid IN ({candidates.select.text})")
    # what is sorted should be small: shapes are only read where they are looked at
    shape = "west, south, east, north, footprint" if search.region is not None else "0, 0, 0, 0, 0"
    columns = "".join(f", {term.sql}" for term in walk.terms)
    return Sql(
        text=f"SELECT items.rowid, start_us, collection, id, {shape}"  # noqa: S608
        f"{columns} FROM {_source(search, walk, drive)}"
        f" WHERE {' AND '.join(clauses) or 'TRUE'} ORDER BY {walk.order_by()}",
        parameters=parameters,
    )


def _needs_values_only(search: Search, walk: Walk) -> bool:
    """Tell whether order and conditions look at ``item_values`` alone."""
    conditions = search.conditions
    on_items = (
        conditions.collections,
        search.region,
        conditions.start_us,
        conditions.end_us,
        conditions.match,
    )
    pushed = "TRUE" if search.pushdown is None else search.pushdown.sql
    return (
        all(condition is None for condition in on_items)
        and all(term.of_values for term in walk.terms)
        and "items." not in pushed
    )


def _select_sorted_values(search: Search, walk: Walk) -> Sql:
    """Sort values and row ids first, and look at ``items`` only for the rows that are then fetched.

    LIMIT keeps SQLite from merging the two selects into one, which would sort what it looked up.
    """
    first, parameters = walk.terms[0], dict(walk.parameters)
    clauses = [*walk.clauses, *_filter_clauses(search, parameters, text_done=True)]
    keys = ", ".join(f"{term.sql} AS k{number}" for number, term in enumerate(walk.terms))
    found = ", ".join(f"sorted.k{number}" for number in range(len(walk.terms)))
    chosen = f"INDEXED BY {first.index}" if first.index else "NOT INDEXED"
    return Sql(
        text=f"SELECT items.rowid, start_us, collection, id, 0, 0, 0, 0, 0, {found}"  # noqa: S608
        f" FROM (SELECT v.rowid AS row, {keys} FROM item_values AS v {chosen}"
        f" WHERE {' AND '.join(clauses) or 'TRUE'} ORDER BY {walk.order_by()} LIMIT -1) AS sorted"
        " CROSS JOIN items ON items.rowid = sorted.row",
        parameters=parameters,
    )


def _source(search: Search, walk: Walk, drive: Drive) -> str:
    """Spell the tables so that SQLite walks what was chosen: CROSS JOIN keeps their order."""
    values = any("v." in clause for clause in walk.clauses) or any(term.of_values for term in walk.terms)
    values = values or (search.pushdown is not None and search.pushdown.uses_values)
    joined = " CROSS JOIN item_values AS v ON v.rowid = items.rowid" if values else ""
    if drive is Drive.CANDIDATES:
        return f"items NOT INDEXED{joined}"
    if drive is not Drive.SORTED:
        return f"items INDEXED BY {drive.value}{joined}"
    first = walk.terms[0]
    chosen = f"INDEXED BY {first.index}" if first.index else "NOT INDEXED"
    if not first.of_values:
        return f"items {chosen}{joined}"
    return f"item_values AS v {chosen} CROSS JOIN items ON items.rowid = v.rowid"


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


def _time_clauses(search: Search, parameters: dict[str, Any]) -> list[str]:
    conditions, clauses = search.conditions, []
    if conditions.start_us is not None:
        parameters |= {"start_us": conditions.start_us, "earliest_us": conditions.start_us - search.span_us}
        clauses += ["end_us >= :start_us", "start_us >= :earliest_us"]
    if conditions.end_us is not None:
        parameters["end_us"] = conditions.end_us
        clauses.append("start_us <= :end_us")
    return clauses


def _region_clauses(region: Region | None, parameters: dict[str, Any]) -> list[str]:
    if region is None:
        return []
    clauses, hits = [], []
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


def _filter_clauses(search: Search, parameters: dict[str, Any], *, text_done: bool) -> list[str]:
    clauses = []
    match = search.conditions.match
    if match is not None and not text_done:
        parameters["match"] = match
        clauses.append(_EACH_BY_ITSELF if search.text_is_common else _ALL_AT_ONCE)
    if search.pushdown is not None and search.pushdown.sql != "TRUE":
        parameters |= search.pushdown.parameters
        clauses.append(search.pushdown.sql)
    return clauses


def _select_hits(conditions: Conditions, region: Region) -> Sql:
    """Select the row ids whose R*Tree entries meet a box of the region and the interval: a superset."""
    parameters: dict[str, Any] = {}
    when = ""
    if conditions.start_us is not None:
        parameters["first_day"] = to_days(conditions.start_us)
        when += " AND last_day >= :first_day"
    if conditions.end_us is not None:
        parameters["last_day"] = to_days(conditions.end_us)
        when += " AND first_day <= :last_day"
    selects: Sequence[str] = []
    for index, (west, south, east, north) in enumerate(region.boxes):
        parameters |= {f"rw{index}": west, f"rs{index}": south, f"re{index}": east, f"rn{index}": north}
        selects = [
            *selects,
            f"SELECT key >> 1 FROM items_rtree WHERE west <= :re{index} AND east >= :rw{index}"  # noqa: S608
            f" AND south <= :rn{index} AND north >= :rs{index}{when}",
        ]
    return Sql(text=" UNION ALL ".join(selects), parameters=parameters)
