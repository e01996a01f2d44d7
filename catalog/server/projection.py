"""Cut documents down to the fields that a request asks for.

Source: STAC API fields extension 1.0.0, section "Include/Exclude Semantics".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from catalog.database.documents import Document
from infra.errors import InputError

_KEPT = ("type", "stac_version", "id", "collection")
"""Always answered: small, and what tells one document from another."""
_ITEM_DEFAULTS = (
    "geometry",
    "bbox",
    "links",
    "assets",
    "properties.datetime",
    "properties.start_datetime",
    "properties.end_datetime",
)
_COLLECTION_DEFAULTS = ("title", "description", "license", "extent", "links")
_MEMBERS = {*_KEPT, "stac_extensions", "geometry", "bbox", "properties", "links", "assets"}
"""Fields of every item: no property is meant by these names."""
_MAX_FIELDS = 1_000
_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half of a pair: UTF-8 cannot spell it, and the next link must."""
_MAX_DEPTH = 30


@dataclass
class _Node:
    """Hold what is said of one field, and of the fields inside it."""

    wanted: bool | None = None
    members: dict[str, _Node] = field(default_factory=dict)


class Projection:
    """Say which fields of a document are answered; of two statements the one that reaches deeper counts.

    Field names are paths with dots, ``properties.eo:cloud_cover`` or ``assets.visual.href``; a property may
    go without its ``properties.``. What a document does not have is no error.

    Args:
        include: Fields wanted. None, that is left out, wants all; an empty list wants what makes a document
            valid, no more.
        exclude: Fields not wanted; a field that is in both lists is answered.

    Raises:
        InputError: an empty name, one that reaches deeper than 30 objects, or more than 1,000 fields.
    """

    def __init__(self, *, include: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> None:
        for name in (*(include or ()), *exclude):
            if not all(name.split(".")) or name.count(".") > _MAX_DEPTH or _SURROGATE.search(name):
                raise InputError(f"fields names {name[:60]!r}: expected names such as properties.datetime")
        if len(include or ()) + len(exclude) > _MAX_FIELDS:
            raise InputError(f"fields names more than {_MAX_FIELDS} fields: name whole objects instead")
        self._all = include is None
        self._items = _plant(include, exclude, _ITEM_DEFAULTS)
        self._collections = _plant(include, exclude, _COLLECTION_DEFAULTS)

    def of_item(self, item: Document) -> Document:
        """Return the item with the fields asked for; ``id``, ``collection`` and its type are always there."""
        return _trim(item, self._items, wanted=self._all)

    def of_collection(self, collection: Document) -> Document:
        """Return the collection with the fields asked for; ``id`` and its type are always there."""
        return _trim(collection, self._collections, wanted=self._all)


def read_projection(text: str) -> Projection:
    """Read ``fields`` from an address: names with commas between; ``-`` excludes, ``+`` and nothing include.

    Raises:
        InputError: an empty name.
    """
    if not text.strip():
        return Projection(include=[])
    include: list[str] = []
    exclude: list[str] = []
    for part in text.split(","):
        name = part.strip()  # an unescaped + reaches us as a space
        (exclude if name.startswith("-") else include).append(name[1:] if name[:1] in {"+", "-"} else name)
    return Projection(include=include or None, exclude=exclude)


def _plant(include: Sequence[str] | None, exclude: Iterable[str], defaults: Sequence[str]) -> _Node:
    root = _Node()
    for name in exclude:
        _state(root, _spell_out(name), wanted=False)
    for name in include or ():
        _state(root, _spell_out(name), wanted=True)
    if include is not None and not include:
        for name in defaults:
            if _stated(root, name) is None:
                _state(root, [name], wanted=True)
    for name in _KEPT:
        _state(root, [name], wanted=True)
    return root


def _spell_out(name: str) -> list[str]:
    """Give the places that a name may mean: a field of that name, or else a property."""
    return [name] if name.split(".")[0] in _MEMBERS else [name, f"properties.{name}"]


def _state(root: _Node, paths: Sequence[str], *, wanted: bool) -> None:
    for path in paths:
        node = root
        for part in path.split("."):
            node = node.members.setdefault(part, _Node())
        node.wanted = wanted


def _stated(root: _Node, name: str) -> bool | None:
    """Tell what is said of a field, by its own name or by that of an object around it."""
    node, wanted = root, None
    for part in name.split("."):
        if part not in node.members:
            break
        node = node.members[part]
        wanted = wanted if node.wanted is None else node.wanted
    return wanted


def _trim(value: Document, node: _Node, *, wanted: bool) -> Document:
    kept: Document = {}
    for name, member in value.items():
        inner = _find(node, name)
        keep = wanted if inner is None or inner.wanted is None else inner.wanted
        if inner is None or not inner.members or not isinstance(member, dict):
            if keep:
                kept[name] = member
            continue
        trimmed = _trim(member, inner, wanted=keep)
        if keep or trimmed:
            kept[name] = trimmed
    return kept


def _find(node: _Node, name: str) -> _Node | None:
    """Find what is said of a member; names with dots in them are reached as they are spelt."""
    found: _Node | None = node
    for part in name.split("."):
        found = found.members.get(part) if found is not None else None
    return found
