"""Write a catalogue as a tree of JSON files that any web server or object storage offers as it is.

    catalog.json                      written last: without it there is no catalogue
    scenes/collection.json            links to its items, or where there are many to pages
    scenes/0007/catalog.json          one page: links to 1,000 items at most
    scenes/0007/<item>/<item>.json    the item, and beside it what was copied of its assets

Links are relative, so the tree may be moved or served from anywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from catalog.database.documents import SERVER_RELS
from catalog.exports.asset_files import AssetFiles
from catalog.exports.spool import Document, Spool
from infra.errors import InputError
from infra.storage import Storage

ROOT_NAME = "catalog.json"
PAGE_LINKS = 1_000
"""Most links in one file, and most folders in one folder."""
_MARKER = "terraloom-export.json"
"""Stands from the first write to the last: by it an export that was cut off is known, and made again."""
_MADE_BY = "terraloom:export"
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_SLUG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*|[A-Za-z0-9_-]*~[0-9a-f]{16}")
_PLAIN_CHARS = 120
_WRITERS = 8
_NO_COPY = -1
_JSON = "application/json"
_GEOJSON = "application/geo+json"
Link = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class StaticTree:
    """Tell what was written."""

    root: str
    """Where ``catalog.json`` is: a path or ``s3://`` URI."""
    collections: int
    items: int
    copied: int
    """Files of assets."""
    copied_bytes: int


def write_static_catalogue(
    collections: Sequence[Mapping[str, Any]],
    items_of: Callable[[str], Iterable[Document]],
    target: Storage,
    *,
    assets: AssetFiles,
    replace: bool = False,
) -> StaticTree:
    """Write collections and their items as a self-contained STAC catalogue.

    Memory holds a batch of items, and one file of an asset for each writer.

    Args:
        collections: STAC collections.
        items_of: Gives the items of a collection, by its id.
        target: Empty folder or prefix.
        assets: What becomes of assets.
        replace: Take an older export away first; while the new one is written there is none.

    Raises:
        InputError: the target holds other things, or a catalogue that is not to be replaced.
        NotFoundError: an asset that is to be copied does not exist.
        ConfigError: the target cannot be written.
    """
    names = [slug_of(each["id"]) for each in collections]
    assets.check(target)
    _clear(target, replace=replace)
    target.write(_MARKER, _spell({"folders": names}))
    writer = _TreeWriter(target, assets)
    for name, collection in zip(names, collections, strict=True):
        writer.write_collection(name, collection, items_of(collection["id"]))
    target.write(ROOT_NAME, _spell(_root_document(names, collections)))
    target.delete(_MARKER)
    return StaticTree(
        root=target.href(ROOT_NAME),
        collections=len(names),
        items=writer.items,
        copied=writer.copied,
        copied_bytes=writer.copied_bytes,
    )


_OWN_NAMES = frozenset({"catalog.json", "collection.json", "terraloom-export.json"})
"""Files of the export itself."""


def slug_of(identifier: str) -> str:
    """Name the folder of an id: the id itself where that is plain, else what is plain of it and a digest.

    The name means the same in a path and in a URL, which are spelt differently beyond these characters.
    """
    plain = _PLAIN.fullmatch(identifier) and len(identifier) <= _PLAIN_CHARS
    if plain and identifier.lower() not in _OWN_NAMES:
        return identifier
    kept = re.sub(r"[^A-Za-z0-9_-]+", "-", identifier)[:60].strip("-")
    return f"{kept}~{hashlib.sha256(identifier.encode()).hexdigest()[:16]}"


class _TreeWriter:
    """Write collections one by one, and count."""

    def __init__(self, target: Storage, assets: AssetFiles) -> None:
        self._target = target
        self._assets = assets
        self.items = self.copied = self.copied_bytes = 0

    def write_collection(self, name: str, collection: Mapping[str, Any], items: Iterable[Document]) -> None:
        """Write a collection's pages and items, and then the collection."""
        with Spool(batch_items=PAGE_LINKS) as spool:
            for _ in spool.fill(items):
                pass
            pages = math.ceil(len(spool) / PAGE_LINKS)
            links = self._write_pages(name, collection["id"], pages, spool)
        document = {**collection, "links": [*_above(1, "catalog.json"), *_own_links(collection), *links]}
        self._target.write(f"{name}/collection.json", _spell(document))

    def _write_pages(self, name: str, collection: str, pages: int, spool: Spool) -> list[Link]:
        """Write all items page by page; return the links of the collection."""
        links: list[Link] = []
        groups: dict[str, list[Link]] = {}
        for number, batch in enumerate(spool.batches()):
            page = page_folder(number, pages)
            found = self._write_items(name, page, batch)
            if not page:
                return found
            group, _, _ = page.rpartition("/")
            groups.setdefault(group, links if not group else []).append(
                self._write_page(
                    name,
                    page,
                    f"Items {number * PAGE_LINKS + 1} to {number * PAGE_LINKS + len(batch)}",
                    found,
                )
            )
        for group, members in groups.items():
            if group:
                links.append(self._write_page(name, group, f"Part {int(group) + 1} of {collection}", members))
        return links

    def _write_page(self, name: str, page: str, title: str, links: Sequence[Link]) -> Link:
        """Write the catalogue of a page, or of a group of pages; return the link to it."""
        depth = 1 + len(page.split("/"))
        document = {
            "type": "Catalog",
            "stac_version": "1.1.0",
            "id": f"{name}-{page.replace('/', '-')}",
            "title": title,
            "description": f"{title}, as one of several files because they are many.",
            "links": [*_above(depth, "collection.json" if depth == 2 else ROOT_NAME), *links],
        }
        self._target.write(f"{name}/{page}/{ROOT_NAME}", _spell(document))
        return _link("child", f"./{page.rpartition('/')[2]}/{ROOT_NAME}") | {"title": title}

    def _write_items(self, name: str, page: str, items: Sequence[Document]) -> list[Link]:
        """Write the items of a page and their files; return the links to them."""
        above = f"{name}/{page}" if page else name
        depth = 1 + len(above.split("/"))
        jobs: list[Callable[[], int]] = []
        links = []
        for item in items:
            slug = slug_of(item["id"])
            placed = self._assets.place(item, f"{above}/{slug}", self._target)
            own = [*_above(depth, ROOT_NAME if page else "collection.json"), *_own_links(item)]
            own.insert(2, _link("collection", f"{'../' * (depth - 1)}collection.json"))
            text = _spell({**item, "assets": placed.assets, "links": own})
            jobs.append(partial(self._put, f"{above}/{slug}/{slug}.json", text))
            jobs += [partial(self._copy, source, path) for path, source in placed.copies.items()]
            links.append(
                _link("item", f"./{slug}/{slug}.json", _GEOJSON) | _title_of(item.get("properties", {}))
            )
        with ThreadPoolExecutor(_WRITERS) as pool:
            sizes = [size for size in pool.map(lambda job: job(), jobs) if size >= 0]
        self.items += len(items)
        self.copied += len(sizes)
        self.copied_bytes += sum(sizes)
        return links

    def _put(self, path: str, text: bytes) -> int:
        self._target.write(path, text)
        return _NO_COPY

    def _copy(self, source: str, path: str) -> int:
        assert self._assets.store is not None
        data = self._assets.store.read(source)
        self._target.write(path, data)
        return len(data)


def page_folder(number: int, pages: int) -> str:
    """Name the folder of a page, below its collection's; empty where one page holds all.

    Args:
        number: Of the page, from 0.
        pages: How many there are.
    """
    if pages < 2:
        return ""
    if pages <= PAGE_LINKS:
        return f"{number:04}"
    return f"{number // PAGE_LINKS:04}/{number % PAGE_LINKS:04}"


def _clear(target: Storage, *, replace: bool) -> None:
    """Make the target empty of exports, or refuse it."""
    if target.exists(ROOT_NAME):
        root = _read(target, ROOT_NAME)
        if not replace or _MADE_BY not in root:
            raise InputError(
                f"{target.uri} holds a catalogue already: name an empty place"
                + (", or replace it with --replace" if _MADE_BY in root else "")
            )
        links = [str(link.get("href")) for link in root.get("links", ()) if link.get("rel") == "child"]
        folders = [href.split("/")[1] for href in links if href.count("/") == 2]
        target.delete(ROOT_NAME)
    elif target.exists(_MARKER):  # an export that was cut off
        folders = [str(name) for name in _read(target, _MARKER).get("folders", ())]
    elif next(iter(target.list_objects("")), None) is not None:
        raise InputError(f"{target.uri} holds other things: name an empty place for the export")
    else:
        return
    for folder in folders:
        if _SLUG.fullmatch(folder):  # nobody's word but ours leads to a deletion
            target.delete_folder(folder)


def _read(target: Storage, name: str) -> Document:
    try:
        content = json.loads(target.read(name))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _root_document(names: Sequence[str], collections: Sequence[Mapping[str, Any]]) -> Document:
    children = [
        _link("child", f"./{name}/collection.json") | _title_of(each)
        for name, each in zip(names, collections, strict=True)
    ]
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": "terraloom-export",
        "title": "Terraloom",
        "description": f"{len(names)} collections, taken out of a Terraloom catalogue.",
        _MADE_BY: "static",
        "links": [_link("root", "./catalog.json"), *children],
    }


def _above(depth: int, parent: str) -> list[Link]:
    """Link to the root, ``depth`` folders up, and to the file one folder up."""
    return [_link("root", f"{'../' * depth}{ROOT_NAME}"), _link("parent", f"../{parent}")]


def _own_links(document: Mapping[str, Any]) -> list[Link]:
    return [link for link in document.get("links") or () if link.get("rel") not in SERVER_RELS]


def _link(rel: str, href: str, media_type: str = _JSON) -> Link:
    return {"rel": rel, "href": href, "type": media_type}


def _title_of(facts: Mapping[str, Any]) -> Link:
    return {"title": facts["title"]} if isinstance(facts.get("title"), str) else {}


def _spell(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1).encode()
