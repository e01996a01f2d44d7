"""Describe as JSON Schema which fields of items filters and sorting may name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from catalog.database.values import Kind

_ITEM_SCHEMA = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema"
_ID = {
    "title": "Id",
    "description": "Of the item, in its collection.",
    "type": "string",
    "$ref": f"{_ITEM_SCHEMA}/item.json#/definitions/core/allOf/2/properties/id",
}
_COLLECTION = {
    "title": "Collection",
    "description": "Id of the item's collection.",
    "type": "string",
}
_GEOMETRY = {
    "title": "Geometry",
    "description": "The item's footprint, for spatial functions.",
    "format": "geometry-any",
    "$ref": "https://geojson.org/schema/Feature.json#/properties/geometry",
}
_DATETIME = {
    "title": "Datetime",
    "description": "When the item was acquired.",
    "type": "string",
    "format": "date-time",
    "$ref": f"{_ITEM_SCHEMA}/datetime.json#/properties/datetime",
}
_NESTED = Kind.ARRAY | Kind.OBJECT
_TYPES = (
    (Kind.TEXT | Kind.LONG_TEXT | Kind.MOMENT, "string"),
    (Kind.BOOLEAN, "boolean"),
    (Kind.ARRAY, "array"),
    (Kind.OBJECT, "object"),
)


class Named(Protocol):
    """A property name, with every kind its values ever had."""

    @property
    def name(self) -> str:
        """Give the name."""

    @property
    def kinds(self) -> Kind:
        """Give the kinds."""


def describe_queryables(properties: Iterable[Named], *, url: str, title: str) -> dict[str, Any]:
    """Describe what filters may name.

    Args:
        properties: Names that items have.
        url: Address of the description itself.
        title: Of the description.

    Returns:
        JSON Schema, draft 2020-12.
    """
    fields: dict[str, Any] = {
        "id": _ID,
        "collection": _COLLECTION,
        "geometry": _GEOMETRY,
        "datetime": _DATETIME,
    }
    fields |= {each.name: _describe(each) for each in properties if each.name not in fields}
    return _schema(fields, url, title)


def describe_sortables(properties: Iterable[Named], *, url: str, title: str) -> dict[str, Any]:
    """Describe what answers may be sorted by; arrays and objects have no order.

    Args:
        properties: Names that items have.
        url: Address of the description itself.
        title: Of the description.

    Returns:
        JSON Schema, draft 2020-12.
    """
    fields: dict[str, Any] = {"id": _ID, "collection": _COLLECTION, "datetime": _DATETIME}
    fields |= {
        each.name: _describe(each) for each in properties if each.name not in fields and each.kinds & ~_NESTED
    }
    return _schema(fields, url, title)


def _schema(fields: Mapping[str, Any], url: str, title: str) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": url,
        "type": "object",
        "title": title,
        "properties": dict(fields),
        "additionalProperties": False,
    }


def _describe(field: Named) -> dict[str, Any]:
    types = [spelling for kinds, spelling in _TYPES if field.kinds & kinds]
    if field.kinds & (Kind.NUMBER | Kind.HUGE):
        types.append("number" if field.kinds & Kind.FRACTION else "integer")
    described: dict[str, Any] = {"title": field.name}
    if types:  # of a property that was null in every item nothing is known
        described["type"] = types[0] if len(types) == 1 else types
    if field.kinds & Kind.MOMENT and not field.kinds & Kind.TEXT:
        described["format"] = "date-time"
    return described
