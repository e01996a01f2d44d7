"""Walk a static catalogue, local or by http: every item it links to, once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.search.fetch import JsonReader
from catalog.search.query import FoundItem
from catalog.sources.links import links_of, self_url
from infra.errors import DataError, InputError, NotFoundError

MAX_DOCUMENTS = 100_000
_THREADS = 8
_ENTRY_FILES = ("catalog.json", "collection.json")


@dataclass(frozen=True, kw_only=True)
class _Visit:
    href: str
    collection: Mapping[str, Any] | None


def entry_documents(location: str) -> list[str]:
    """List the documents a walk starts with.

    Args:
        location: URL, JSON file, or folder: of a catalogue, a collection, or of loose item files.

    Raises:
        NotFoundError: a folder without any of them.
    """
    path = Path(location)
    if location.startswith(("http://", "https://")) or not path.is_dir():
        return [location]
    for name in _ENTRY_FILES:
        if (path / name).is_file():
            return [str(path / name)]
    loose = sorted(str(file) for pattern in ("*.json", "*.geojson") for file in path.glob(pattern))
    if not loose:
        images = any(file.suffix.lower() in (".tif", ".tiff", ".jp2") for file in path.rglob("*"))
        mend = (
            f"make one: terraloom stac {path} --collection ID --out FOLDER" if images else "name its folder"
        )
        raise NotFoundError(f"{path} holds neither catalog.json nor collection.json nor items; {mend}")
    return loose


def walk_items(
    reader: JsonReader,
    location: str,
    wanted: Sequence[str],
    seen: set[str],
    entry: dict[str, Any] | None = None,
) -> Iterator[FoundItem]:
    """Yield every item of a static catalogue, breadth first.

    Documents are read once however often they are linked; links to parents are not followed. Items of
    collections that are not wanted are not read. Over http, a level's documents are read side by side.

    Args:
        reader: Reads documents, under the policy.
        location: As ``entry_documents``.
        wanted: Collection ids; empty for all.
        seen: Filled with the id of every collection document that is met.
        entry: The first document, when it has been read already.

    Raises:
        NotFoundError, TransientError: a document cannot be read.
        DataError: it is no STAC.
        InputError: a link leaves the policy, or the catalogue is larger than ``MAX_DOCUMENTS``.
    """
    level = [_Visit(href=href, collection=None) for href in entry_documents(location)]
    visited = {visit.href for visit in level}
    remote = location.startswith(("http://", "https://"))
    with ThreadPoolExecutor(_THREADS if remote else 1) as pool:
        while level:
            documents = [entry] if entry else list(pool.map(lambda visit: reader.read(visit.href), level))
            entry = None
            following: list[_Visit] = []
            for visit, document in zip(level, documents, strict=True):
                yield from _items_in(document, visit)
                if is_collection(document):
                    seen.add(str(document.get("id")))
                for link in _links_to_follow(document, visit, wanted, reader):
                    if link.href not in visited:
                        visited.add(link.href)
                        following.append(link)
            if len(visited) > MAX_DOCUMENTS:
                raise InputError(
                    f"catalogue {location} has more than {MAX_DOCUMENTS} documents; name one collection"
                )
            level = following


def is_container(document: Mapping[str, Any]) -> bool:
    """Tell whether a document is a catalogue or collection, of any STAC version."""
    kind = document.get("type")
    return kind in ("Catalog", "Collection") or (kind is None and "links" in document and "id" in document)


def is_collection(document: Mapping[str, Any]) -> bool:
    """Tell whether a document is a collection, of any STAC version."""
    return document.get("type") == "Collection" or (document.get("type") is None and "extent" in document)


def _items_in(document: dict[str, Any], visit: _Visit) -> Iterator[FoundItem]:
    kind = document.get("type")
    if kind == "Feature":
        yield FoundItem(item=document, base_href=visit.href, collection=_own(document, visit.collection))
    elif kind == "FeatureCollection":
        for feature in document.get("features") or ():
            if not isinstance(feature, dict) or "assets" not in feature:
                raise DataError(f"{visit.href} holds features that are no STAC items (they have no assets)")
            base = self_url(feature) or visit.href
            yield FoundItem(item=feature, base_href=base, collection=_own(feature, visit.collection))
    elif not is_container(document):
        raise DataError(f"{visit.href} is no STAC catalogue, collection or item (type {kind!r})")


def _links_to_follow(
    document: Mapping[str, Any], visit: _Visit, wanted: Sequence[str], reader: JsonReader
) -> Iterator[_Visit]:
    if not is_container(document):
        return
    collection = document if is_collection(document) else visit.collection
    rels = {"child", "item"}
    if is_collection(document) and wanted and document.get("id") not in wanted:
        rels = {"child"}
    for link in links_of(document, *rels):
        href = reader.policy.check(link["href"], base=visit.href)
        yield _Visit(href=href, collection=collection)


def _own(item: Mapping[str, Any], collection: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    stated = item.get("collection")
    return collection if collection and stated in (None, collection.get("id")) else None
