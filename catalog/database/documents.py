"""Check STAC documents on their way in, and reduce items to what the database keeps beside the JSON."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from catalog.database.extents import check_extent
from catalog.database.footprints import Footprint, make_footprint
from catalog.database.plain_polygons import plain_footprints
from catalog.database.times import format_moment, parse_moment
from infra.errors import InputError

Document = dict[str, Any]
"""A STAC document as JSON gives it."""

_OGC = "http://www.opengis.net/def/rel/ogc/1.0"
SERVER_RELS = frozenset(
    {"self", "root", "parent", "collection", "item", "items", "child", "derivative"}
    | {f"{_OGC}/queryables", f"{_OGC}/sortables", "aggregate", "aggregations"}
)
"""Links the server makes for each answer: those a document brings along are neither served nor compared."""

_MAX_ID_CHARS = 255
_MAX_PROPERTIES = 1_000
_JSON_TYPES_ONLY = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_PLAIN_ID = re.compile(r"[\w.:-]{1,255}", re.ASCII)
_STAMPS = ("created", "updated")


@dataclass(frozen=True, kw_only=True)
class ItemRow:
    """Hold one checked item, ready to be written."""

    collection: str
    id: str
    start_us: int
    end_us: int
    footprint: Footprint | None
    """None for an item without geometry."""
    digest: str
    """Of the document without ``created``, ``updated`` and the server's links: equal means nothing to do."""
    document: Document


def check_id(value: object, *, what: str) -> str:
    """Return an id that is safe in URLs and paths.

    Raises:
        InputError: not text, empty, longer than 255 characters, ``.`` or ``..``, or with a slash or control
            character.
    """
    if isinstance(value, str) and _PLAIN_ID.fullmatch(value) and value not in {".", ".."}:
        return value
    if not isinstance(value, str) or not value:
        raise InputError(
            f"{what} id {value!r} is not acceptable: expected non-empty text", id=repr(value)[:300]
        )
    if len(value) > _MAX_ID_CHARS:
        raise InputError(
            f"{what} id '{value[:40]}…' has {len(value)} characters: at most {_MAX_ID_CHARS}", id=value
        )
    if value in {".", ".."} or any(sign in value for sign in "/\\"):
        raise InputError(
            f"{what} id {value!r} is not acceptable: no '.', '..', '/' or '\\' in paths", id=value
        )
    if any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in value):
        raise InputError(f"{what} id {value!r} is not acceptable: it has a control character", id=repr(value))
    return value


def check_items(items: Sequence[object], *, mend: bool = False) -> list[ItemRow]:
    """Check STAC items and reduce them to their rows.

    Args:
        items: STAC items.
        mend: Accept geometries that cross themselves: they were, before they were refused.

    Raises:
        InputError: a field that searches or readers need is absent or malformed; the message names the first
            such item and its field.
    """
    documents = [_check_fields(item) for item in items]
    rows = []
    for document, footprint in zip(documents, plain_footprints(documents), strict=True):
        where = f"item '{document['id']}'"
        start_us, end_us = _read_times(document["properties"], where)
        rows.append(
            ItemRow(
                collection=document["collection"],
                id=document["id"],
                start_us=start_us,
                end_us=end_us,
                footprint=footprint or _read_footprint(document, where, mend=mend),
                digest=_digest(document, where),
                document=document,
            )
        )
    return rows


def check_item(item: object, *, mend: bool = False) -> ItemRow:
    """Check one STAC item and reduce it to its row.

    Raises:
        InputError: as ``check_items``.
    """
    return check_items([item], mend=mend)[0]


def _check_fields(item: object) -> Document:
    if not isinstance(item, Mapping):
        raise InputError(f"an item is {type(item).__name__}: expected a STAC Item object")
    item_id = check_id(item.get("id"), what="item")
    where = f"item '{item_id}'"
    _require(item.get("type") == "Feature", where, "type", "'Feature'")
    _require(isinstance(item.get("stac_version"), str), where, "stac_version", "text such as '1.1.0'")
    properties = item.get("properties")
    _require(
        isinstance(properties, dict) and len(properties) <= _MAX_PROPERTIES,
        where,
        "properties",
        f"an object with at most {_MAX_PROPERTIES} names",  # each name is kept account of for good
    )
    _require(isinstance(item.get("assets"), dict), where, "assets", "an object")
    _require("geometry" in item, where, "geometry", "a GeoJSON geometry or null")
    _check_links(item.get("links"), where)
    check_id(item.get("collection"), what=f"{where}: collection")
    return dict(item)


def check_collection(collection: object) -> Document:
    """Check one STAC collection.

    Raises:
        InputError: a required field is absent or malformed.
    """
    if not isinstance(collection, Mapping):
        raise InputError(f"a collection is {type(collection).__name__}: expected a STAC Collection object")
    where = f"collection '{check_id(collection.get('id'), what='collection')}'"
    _require(collection.get("type") == "Collection", where, "type", "'Collection'")
    for name in ("stac_version", "description", "license"):
        _require(isinstance(collection.get(name), str), where, name, "text")
    _check_links(collection.get("links"), where)
    document = dict(collection)
    check_extent(document, where=where)
    spell(document, where=where)
    return document


def stamp(document: Document, *, created: str | None, now_us: int) -> Document:
    """Return the item with ``updated`` set to now, and ``created`` kept from before, or set when new."""
    now = format_moment(now_us)
    properties = dict(document["properties"])
    properties["created"] = created or properties.get("created") or now
    properties["updated"] = now
    return {**document, "properties": properties}


def spell(document: Document, *, where: str) -> str:
    """Write a document as compact JSON text.

    Raises:
        InputError: NaN, infinity, half a surrogate pair or endless nesting, which JSON in UTF-8 cannot spell.
    """
    return _spell(document, where).decode()


def merge_patch(target: object, patch: object) -> object:
    """Apply a JSON merge patch: null removes, objects merge, everything else replaces.

    Source: RFC 7396, section 2.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _read_times(properties: Mapping[str, Any], where: str) -> tuple[int, int]:
    """Give the first and last moment: ``start_datetime``/``end_datetime`` where stated, else ``datetime``."""
    _require("datetime" in properties, where, "properties.datetime", "a date-time or null")
    for name in _STAMPS:
        if properties.get(name) is not None:
            parse_moment(properties[name], where=f"{where}: properties.{name}")
    ends = [properties.get("start_datetime"), properties.get("end_datetime")]
    if ends == [None, None]:
        start_us = parse_moment(properties["datetime"], where=f"{where}: properties.datetime")
        return start_us, start_us
    if properties["datetime"] is not None:
        parse_moment(properties["datetime"], where=f"{where}: properties.datetime")
    start_us = parse_moment(ends[0], where=f"{where}: properties.start_datetime")
    end_us = parse_moment(ends[1], where=f"{where}: properties.end_datetime")
    _require(start_us <= end_us, where, "properties.end_datetime", "a date-time not before start_datetime")
    return start_us, end_us


def _read_footprint(item: Mapping[str, Any], where: str, *, mend: bool) -> Footprint | None:
    if item["geometry"] is None:
        return None
    bbox = item.get("bbox")
    _require(isinstance(bbox, list | tuple), where, "bbox", "4 or 6 numbers, because it has a geometry")
    assert bbox is not None
    return make_footprint(item["geometry"], bbox, where=where, mend=mend)


def _check_links(links: object, where: str) -> None:
    sound = isinstance(links, list) and all(
        isinstance(link, dict) and isinstance(link.get("rel"), str) and isinstance(link.get("href"), str)
        for link in links
    )
    _require(sound, where, "links", "a list of objects with rel and href")


def _digest(document: Document, where: str) -> str:
    properties = {name: value for name, value in document["properties"].items() if name not in _STAMPS}
    links = [link for link in document["links"] if link["rel"] not in SERVER_RELS]
    bare = {**document, "properties": properties, "links": links}
    return hashlib.sha256(_spell(bare, where, sort_keys=True)).hexdigest()


def _spell(document: Document, where: str, *, sort_keys: bool = False) -> bytes:
    """Write JSON by orjson, ten times as quick as json; json decides where the two differ."""
    option = _JSON_TYPES_ONLY | orjson.OPT_SORT_KEYS if sort_keys else _JSON_TYPES_ONLY
    try:
        text = orjson.dumps(document, option=option)
        if b"null" not in text:
            return text
        # orjson writes NaN as null; json is asked whether there is one
        json.dumps(document, allow_nan=False)
    except orjson.JSONEncodeError:  # among others, whole numbers beyond 64 bits
        return _spell_slowly(document, where, sort_keys=sort_keys)
    except (ValueError, RecursionError) as exc:
        raise _unspellable(where, exc) from exc
    return text


def _spell_slowly(document: Document, where: str, *, sort_keys: bool) -> bytes:
    try:
        return json.dumps(
            document, ensure_ascii=False, allow_nan=False, sort_keys=sort_keys, separators=(",", ":")
        ).encode()
    except (ValueError, TypeError, RecursionError) as exc:
        raise _unspellable(where, exc) from exc


def _unspellable(where: str, exc: Exception) -> InputError:
    return InputError(
        f"{where} cannot be written as JSON ({str(exc)[:120]}): expected finite numbers and UTF-8 text"
    )


def _require(holds: bool, where: str, field: str, expected: str) -> None:
    if not holds:
        raise InputError(f"{where}: {field} is missing or wrong: expected {expected}")
