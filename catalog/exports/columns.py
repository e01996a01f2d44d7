"""Find Arrow columns that hold what a stream of STAC items holds, as stac-geoparquet lays them out.

Items differ: a property is a number here, text there, and absent elsewhere. A column has one type, so each
place takes the type that most of its values have; a value of another type is left null here and is kept by
``rows``. Nothing is converted for the sake of a column, but whole numbers among fractions.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from catalog.database.times import parse_moment
from infra.errors import InputError

EXACT = "terraloom:exact"
"""Column of what the other columns cannot tell, as JSON."""

MOMENTS = frozenset(
    {
        *("datetime", "start_datetime", "end_datetime", "created", "updated"),
        *("expires", "published", "unpublished"),
    }
)
"""Properties that the specification stores as timestamps."""

GEOMETRIES = frozenset({"geometry", "proj:geometry"})
"""Names under which GeoJSON is stored as WKB."""

ITEM_COLUMNS = (
    *("type", "stac_version", "stac_extensions", "id", "geometry", "bbox", "links", "assets", "collection"),
)
"""Members of the item itself; every other column is one of its properties."""

_TEXTS = frozenset({"type", "stac_version", "id", "collection"})
_RESERVED = frozenset({*ITEM_COLUMNS, EXACT, "properties", ""})
"""Names that a property cannot have as a column."""

_MAX_FIELDS = 2_000
"""More places than this make a table that nobody can use; the rest is kept in ``EXACT``."""
_MAX_DEPTH = 12
_INT64 = range(-(2**63), 2**63)
TIMESTAMP = pa.timestamp("us", tz="UTC")


class Sort(enum.IntEnum):
    """Name the sorts of values; a column holds one of them."""

    NUMBER = 0
    TEXT = 1
    MOMENT = 2
    BOOLEAN = 3
    STRUCT = 4
    LIST = 5
    GEOMETRY = 6


_SORTS = {
    str: Sort.TEXT,
    bool: Sort.BOOLEAN,
    int: Sort.NUMBER,
    float: Sort.NUMBER,
    dict: Sort.STRUCT,
    list: Sort.LIST,
    tuple: Sort.LIST,
}


@dataclass
class Place:
    """Gather what the values at one place of many items have been."""

    counts: dict[Sort, int] = field(default_factory=dict)
    fractions: bool = False
    """Some number was not a whole number that 64 bits hold."""
    fields: dict[str, Place] = field(default_factory=dict)
    element: Place | None = None

    @property
    def sort(self) -> Sort | None:
        """The sort that most values had; None when all were null."""
        return min(self.counts, key=lambda sort: (-self.counts[sort], sort)) if self.counts else None


class Survey:
    """Look through items to find the columns that hold them.

    Mutable and fed batch by batch: the outcome takes memory by the number of places, not of items.
    """

    def __init__(self) -> None:
        self._assets, self._links, self._properties = Place(), Place(), Place()
        self._left = _MAX_FIELDS
        self._elevation = False
        self._kinds: set[str] = set()

    def add(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Take items in."""
        for item in items:
            self._look(self._properties, item.get("properties"), "", 0)
            self._look(self._assets, item.get("assets"), "", 0)
            self._look(self._links, item.get("links"), "", 0)
            bbox = item.get("bbox")
            self._elevation |= isinstance(bbox, list | tuple) and len(bbox) == 6
            geometry = item.get("geometry")
            if isinstance(geometry, dict):
                self._kinds.add(_name_kind(geometry))

    def geometry_types(self) -> list[str]:
        """List the geometry types seen, as GeoParquet spells them; empty when one is not known there."""
        return [] if "" in self._kinds else sorted(self._kinds)

    def schema(self) -> pa.Schema:
        """Give the columns: those of the item, its properties by name, and ``EXACT``."""
        properties = _type_of(self._properties)
        assets = _type_of(self._assets)
        links = _type_of(self._links)
        columns: dict[str, pa.DataType | None] = {
            **dict.fromkeys(_TEXTS, pa.string()),
            "stac_extensions": pa.list_(pa.string()),
            "geometry": pa.binary(),
            "bbox": bbox_type(elevation=self._elevation),
            "links": links if _is_list_of_structs(links) else None,
            "assets": assets if assets is not None and pa.types.is_struct(assets) else None,
        }
        named = [pa.field(name, columns[name]) for name in ITEM_COLUMNS if columns[name] is not None]
        found = {} if properties is None or not pa.types.is_struct(properties) else properties
        own = {each.name: each for each in found if each.name not in _RESERVED}
        own["datetime"] = pa.field("datetime", TIMESTAMP)  # required, and always a timestamp
        return pa.schema([*named, *(own[name] for name in sorted(own)), pa.field(EXACT, pa.string())])

    def _look(self, place: Place, value: object, name: str, depth: int) -> None:
        if value is None:
            return
        sort = sort_of(value, name, depth)
        place.counts[sort] = place.counts.get(sort, 0) + 1
        if sort is Sort.NUMBER:
            place.fractions |= isinstance(value, float) or value not in _INT64
        elif depth >= _MAX_DEPTH:
            return
        elif sort is Sort.STRUCT:
            assert isinstance(value, dict)
            self._look_into(place, value, depth)
        elif sort is Sort.LIST:
            assert isinstance(value, list | tuple)
            place.element = place.element or Place()
            for member in value:
                self._look(place.element, member, "", depth + 1)

    def _look_into(self, place: Place, value: Mapping[str, object], depth: int) -> None:
        for name, member in value.items():
            if name not in place.fields:
                if not self._left:
                    continue
                self._left -= 1
                place.fields[name] = Place()
            self._look(place.fields[name], member, name, depth + 1)


def sort_of(value: object, name: str, depth: int) -> Sort:
    """Tell the sort of a JSON value that is not null; ``name`` and ``depth`` say where it stands."""
    sort = _SORTS.get(type(value), Sort.TEXT)
    if sort is Sort.TEXT and depth == 1 and name in MOMENTS and to_moment(value) is not None:
        return Sort.MOMENT
    if sort is Sort.STRUCT and name in GEOMETRIES:
        return Sort.GEOMETRY
    return sort


def to_moment(text: object) -> int | None:
    """Read text that spells a moment as microseconds since 1970; None when it does not."""
    try:
        return parse_moment(text, where="moment")
    except InputError:
        return None


def bbox_type(*, elevation: bool) -> pa.DataType:
    """Give the struct that holds bounding boxes: four numbers, or six where any item has six."""
    names: Sequence[str] = ("xmin", "ymin", "xmax", "ymax")
    if elevation:
        names = ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")
    return pa.struct([pa.field(name, pa.float64()) for name in names])


def _type_of(place: Place) -> pa.DataType | None:
    """Give the type that holds most values of a place; None when there is none."""
    scalars = {
        Sort.TEXT: pa.string(),
        Sort.MOMENT: TIMESTAMP,
        Sort.BOOLEAN: pa.bool_(),
        Sort.GEOMETRY: pa.binary(),
    }
    sort = place.sort
    if sort is None:
        return None
    if sort is Sort.NUMBER:
        return pa.float64() if place.fractions else pa.int64()
    if sort is Sort.STRUCT:
        # an empty name and structs without fields are more than Parquet takes
        fields = [(name, _type_of(member)) for name, member in place.fields.items() if name]
        typed = [pa.field(name, kind) for name, kind in fields if kind is not None]
        return pa.struct(typed) if typed else None
    if sort is Sort.LIST:
        empty = place.element is None or place.element.sort is None
        element = pa.string() if empty else _type_of(place.element or Place())
        return None if element is None else pa.list_(element)
    return scalars[sort]


def _is_list_of_structs(kind: pa.DataType | None) -> bool:
    return kind is not None and pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)


def _name_kind(geometry: Mapping[str, Any]) -> str:
    """Name a geometry's type as GeoParquet does; empty when its dimensions cannot be told."""
    name = geometry.get("type")
    first = geometry.get("coordinates")
    while isinstance(first, list | tuple) and first and isinstance(first[0], list | tuple):
        first = first[0]
    if not isinstance(name, str) or not isinstance(first, list | tuple) or len(first) not in (2, 3):
        return ""
    return f"{name} Z" if len(first) == 3 else name
