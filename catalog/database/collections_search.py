"""Find collections; there are few, so all are read."""

from __future__ import annotations

import json
import sqlite3

import shapely

from catalog.database.documents import Document
from catalog.database.filters import Conditions, Region
from catalog.database.footprints import read_bbox, search_shape, split_bounds
from catalog.database.times import parse_moment


def select_collections(connection: sqlite3.Connection, conditions: Conditions) -> list[Document]:
    """Select the collections, by id, that meet the region, the interval and the free text."""
    if conditions.nothing:
        return []
    sql, parameters = "SELECT json FROM collections", {}
    if conditions.match is not None:
        sql += " WHERE id IN (SELECT id FROM collection_texts WHERE collection_texts MATCH :match)"
        parameters["match"] = conditions.match
    rows = connection.execute(f"{sql} ORDER BY id", parameters).fetchall()
    documents: list[Document] = [json.loads(text) for (text,) in rows]
    return [
        each for each in documents if _meets_region(each, conditions.region) and _meets_time(each, conditions)
    ]


def _meets_region(collection: Document, region: Region | None) -> bool:
    if region is None:
        return True
    bounds, _ = read_bbox(collection["extent"]["spatial"]["bbox"][0], where="extent.spatial.bbox")
    return bool(shapely.intersects(region.shape, search_shape(split_bounds(bounds))))


def _meets_time(collection: Document, conditions: Conditions) -> bool:
    start, end = collection["extent"]["temporal"]["interval"][0]
    starts_late = (
        conditions.end_us is not None
        and start is not None
        and parse_moment(start, where="extent.temporal.interval") > conditions.end_us
    )
    ends_early = (
        conditions.start_us is not None
        and end is not None
        and parse_moment(end, where="extent.temporal.interval") < conditions.start_us
    )
    return not starts_late and not ends_early
