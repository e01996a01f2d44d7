"""Check STAC documents on their way in, and reduce items to what the database keeps beside the JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catalog.server.extents import check_extent
from catalog.server.footprints import Footprint, make_footprint
from catalog.server.times import format_moment, parse_moment
from infra.digests import sha256_of_json
from infra.errors import InputError

Document = dict[str, Any]
"""A STAC document as JSON gives it."""

SERVER_RELS = frozenset({"self", "root", "parent", "collection", "item", "items", "child"})
"""Links the server makes for each answer: those a document brings along are neither served nor compared."""

_MAX_ID_CHARS = 255
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


def check_item(item: object) -> ItemRow:
    """Check one STAC item and reduce it to its row.

    Raises:
        InputError: a field that searches or readers need is absent or malformed; the message names item
            and field.
    """
    if not isinstance(item, Mapping):
        raise InputError(f"an item is {type(item).__name__}: expected a STAC Item object")
    item_id = check_id(item.get("id"), what="item")
    where = f"item '{item_id}'"
    _require(item.get("type") == "Feature", where, "type", "'Feature'")
    _require(isinstance(item.get("stac_version"), str), where, "stac_version", "text such as '1.1.0'")
    _require(isinstance(item.get("properties"), dict), where, "properties", "an object")
    _require(isinstance(item.get("assets"), dict), where, "assets", "an object")
    _require("geometry" in item, where, "geometry", "a GeoJSON geometry or null")
    _check_links(item.get("links"), where)
    start_us, end_us = _read_times(item["properties"], where)
    document = dict(item)
    return ItemRow(
        collection=check_id(item.get("collection"), what=f"{where}: collection"),
        id=item_id,
        start_us=start_us,
        end_us=end_us,
        footprint=_read_footprint(item, where),
        digest=_digest(document, where),
        document=document,
    )


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
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (ValueError, TypeError, RecursionError) as exc:
        raise _unspellable(where, exc) from exc
    return text


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


def _read_footprint(item: Mapping[str, Any], where: str) -> Footprint | None:
    if item["geometry"] is None:
        return None
    bbox = item.get("bbox")
    _require(isinstance(bbox, list | tuple), where, "bbox", "4 or 6 numbers, because it has a geometry")
    assert bbox is not None
    return make_footprint(item["geometry"], bbox, where=where)


def _check_links(links: object, where: str) -> None:
    sound = isinstance(links, list) and all(
        isinstance(link, dict) and isinstance(link.get("rel"), str) and isinstance(link.get("href"), str)
        for link in links
    )
    _require(sound, where, "links", "a list of objects with rel and href")


def _digest(document: Document, where: str) -> str:
    properties = {name: value for name, value in document["properties"].items() if name not in _STAMPS}
    links = [link for link in document["links"] if link["rel"] not in SERVER_RELS]
    try:
        return sha256_of_json({**document, "properties": properties, "links": links})
    except (ValueError, TypeError, RecursionError) as exc:
        raise _unspellable(where, exc) from exc


def _unspellable(where: str, exc: Exception) -> InputError:
    return InputError(
        f"{where} cannot be written as JSON ({str(exc)[:120]}): expected finite numbers and UTF-8 text"
    )


def _require(holds: bool, where: str, field: str, expected: str) -> None:
    if not holds:
        raise InputError(f"{where}: {field} is missing or wrong: expected {expected}")
