"""Carry out checked searches: choose what to walk, walk it, and check what SQL cannot."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely

from catalog.database.documents import Document
from catalog.database.expressions.evaluate import compile_filter
from catalog.database.expressions.parse import Expression, check_properties
from catalog.database.expressions.pushdown import Pushdown, push_down
from catalog.database.filters import Conditions, Region, region_of
from catalog.database.ordering import Key, Term, order_terms, plan_walks
from catalog.database.registry import Registry, read_registry
from catalog.database.selection import (
    Drive,
    Probe,
    Search,
    Sql,
    choose_walk,
    list_probes,
    longest_span,
    select_rows,
)
from catalog.database.texts import PREFIX_MARK

CANDIDATES_CAP = 2_000
"""Row ids beyond which walking in order finds a page sooner than sorting what a condition gives."""
_WIDE_CAP = 50_000
_USUAL_PAGE = 20
_COMMON_HITS = 30_000
"""Text hits beyond which asking each row by itself (0.1 ms) finds a page sooner than listing all hits; not
for the beginnings of words, whose hits FTS5 would gather anew for each row."""
_FETCH_ROWS = 256
_BOUNDS, _FOOTPRINT, _ORDER = slice(4, 8), 8, 9


@dataclass(frozen=True, kw_only=True)
class Found:
    """Name one item that a search finds."""

    rowid: int
    start_us: int
    collection: str
    id: str
    key: Key
    """Its place in the order."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Hold how a search is carried out on this file."""

    search: Search
    terms: tuple[Term, ...]
    drive: Drive
    candidates: Probe | None
    residual: Callable[[Document], bool] | None
    """The filter, when SQL does not decide all of it."""

    @property
    def countable(self) -> bool:
        """Whether counting all that is found costs little more than finding one page."""
        return self.residual is None and self.drive in (Drive.CANDIDATES, Drive.IDS)


def plan_search(connection: sqlite3.Connection, conditions: Conditions) -> Plan:
    """Choose how to carry out a search.

    Raises:
        InputError: the filter or the order names a property that no item has.
    """
    registry = read_registry(connection)
    terms = order_terms(conditions.sort, registry.properties(key.field for key in conditions.sort))
    expression = conditions.expression
    pushdown = None if expression is None else _push_down(expression, registry)
    region, residual = conditions.region, None
    if pushdown is not None and pushdown.region is not None and region is None:
        region = region_of(pushdown.region)
    if pushdown is not None and expression is not None:
        left_over = not pushdown.exact or (pushdown.region is not None and conditions.region is not None)
        residual = compile_filter(expression) if left_over else None
    span_us = 0
    if conditions.start_us is not None:
        span_us = _execute(connection, longest_span(conditions)).fetchone()[0] or 0
    search = Search(conditions=conditions, region=region, pushdown=pushdown, span_us=span_us)
    candidates = _choose_candidates(connection, search)
    if candidates is None and conditions.match is not None and PREFIX_MARK not in conditions.match:
        search = replace(search, text_is_common=_is_common(connection, search))
    drive = Drive.CANDIDATES if candidates is not None else choose_walk(search)
    return Plan(search=search, terms=terms, drive=drive, candidates=candidates, residual=residual)


def find_rows(connection: sqlite3.Connection, plan: Plan, after: Key | None) -> Generator[Found, None, None]:
    """Give what a search finds, in order, from just after a place in it."""
    if plan.search.conditions.nothing:
        return
    for walk in plan_walks(plan.terms, after):
        missing: Key = (None,) * (len(plan.terms) - len(walk.terms))
        sql = select_rows(plan.search, walk, drive=plan.drive, candidates=plan.candidates)
        cursor = _execute(connection, sql)
        try:
            while rows := cursor.fetchmany(_FETCH_ROWS):
                for row in _check_rows(connection, plan, rows):
                    rowid, start_us, collection, item_id = row[:4]
                    yield Found(
                        rowid=rowid,
                        start_us=start_us,
                        collection=collection,
                        id=item_id,
                        key=missing + tuple(row[_ORDER:]),
                    )
        finally:
            cursor.close()


def read_documents(connection: sqlite3.Connection, rowids: Sequence[int]) -> list[Document]:
    """Read the documents of rows, in the order asked."""
    texts = dict(
        connection.execute(
            "SELECT rowid, json FROM documents WHERE rowid IN (SELECT value FROM json_each(?))",
            (json.dumps(rowids),),
        ).fetchall()
    )
    return [json.loads(texts[rowid]) for rowid in rowids]


def _push_down(expression: Expression, registry: Registry) -> Pushdown:
    check_properties(expression, registry.slots)
    return push_down(expression, registry.properties(expression.properties))


def _choose_candidates(connection: sqlite3.Connection, search: Search) -> Probe | None:
    """Give the most selective condition; None when each finds many rows, or the ids are named."""
    if search.conditions.ids is not None or search.conditions.nothing:
        return None
    probes = list_probes(search)
    best, fewest = None, CANDIDATES_CAP
    for probe in probes:
        hits: int = _execute(connection, probe.count(cap=fewest)).fetchone()[0]
        if hits < fewest:
            best, fewest = probe, max(hits, 1)
    return best if best is not None or len(probes) < 2 else _choose_of_wide(connection, probes)


def _choose_of_wide(connection: sqlite3.Connection, probes: Sequence[Probe]) -> Probe | None:
    """Choose where each condition finds many rows, but few may meet all of them.

    Walking in order then goes on and on. How long is estimated as if the conditions did not depend on one
    another; that is compared with sorting the rows of the most selective one.
    """
    (total,) = connection.execute("SELECT coalesce(sum(items), 0) FROM item_counts").fetchone()
    hits = [_execute(connection, probe.count(cap=_WIDE_CAP)).fetchone()[0] for probe in probes]
    share = math.prod(min(1.0, count / max(total, 1)) for count in hits)
    walked = _USUAL_PAGE / max(share, 1e-9)
    fewest = min(hits)
    return probes[hits.index(fewest)] if fewest < min(walked, _WIDE_CAP) else None


def _is_common(connection: sqlite3.Connection, search: Search) -> bool:
    (probe,) = (each for each in list_probes(search) if each.decides_text)
    hits: int = _execute(connection, probe.count(cap=_COMMON_HITS)).fetchone()[0]
    return hits >= _COMMON_HITS


def _check_rows(connection: sqlite3.Connection, plan: Plan, rows: list[sqlite3.Row]) -> Sequence[sqlite3.Row]:
    """Let through the rows whose shape truly meets the region and whose document passes the filter."""
    if plan.search.region is not None:
        rows = _within(rows, plan.search.region)
    if plan.residual is None or not rows:
        return rows
    documents = read_documents(connection, [row[0] for row in rows])
    return [row for row, document in zip(rows, documents, strict=True) if plan.residual(document)]


def _within(rows: list[sqlite3.Row], region: Region) -> list[sqlite3.Row]:
    bounds = np.array([row[_BOUNDS] for row in rows], dtype=float)
    sure = np.zeros(len(rows), dtype=bool)
    if region.is_box:  # the bounds met the box in SQL: done where they are the shape, or lie inside the box
        sure |= np.array([row[_FOOTPRINT] is None for row in rows])
        for west, south, east, north in region.boxes:
            inside = (bounds[:, 0] <= bounds[:, 2]) & (bounds[:, 0] >= west) & (bounds[:, 2] <= east)
            sure |= inside & (bounds[:, 1] >= south) & (bounds[:, 3] <= north)
    unsure = np.flatnonzero(~sure)
    if unsure.size:
        shapely.prepare(region.shape)
        shapes = shapely.from_wkb([row[_FOOTPRINT] for row, done in zip(rows, sure, strict=True) if not done])
        plain = np.array([shape is None for shape in shapes])
        shapes[plain] = shapely.box(*bounds[unsure[plain]].T)
        sure[unsure] = shapely.intersects(region.shape, shapes)
    return [row for row, found in zip(rows, sure, strict=True) if found]


def _execute(connection: sqlite3.Connection, sql: Sql) -> sqlite3.Cursor:
    return connection.execute(sql.text, sql.parameters)
