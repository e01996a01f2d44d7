"""Translate between where a store keeps its files and where the server answers them, in both directions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from catalog.database.derived import SIBLING_HREF
from catalog.database.documents import Document
from catalog.items.collections import COLLECTION_IDS

FILES = "files"
_REPORT = re.compile(r"runs/[^/]+/report\.html")
_SIBLING_PATH = re.compile(r"[^/?#]+/items/[^/?#]+")
_FORBIDDEN = frozenset({"Cc", "Cs"})
"""Control characters and half surrogate pairs (Unicode categories): no product's name holds any."""


def is_served(path: str) -> bool:
    """Say whether an object of a store may be asked for over HTTP.

    Only files inside a product's folder and the reports of runs are: the catalogue, leases, parameters and
    half-written files never.

    Args:
        path: Relative to the store's root, ``/``-separated, decoded.
    """
    segments = path.split("/")
    if any(not part or part.startswith(".") or "\\" in part for part in segments):
        return False
    if any(unicodedata.category(sign) in _FORBIDDEN for sign in path):
        return False
    in_product = segments[0] in COLLECTION_IDS and len(segments) > 2
    return in_product or _REPORT.fullmatch(path) is not None


@dataclass(frozen=True)
class StoreAddresses:
    """Know the root of the store whose files are served; without roots, hrefs of files stay as they are.

    Links from item to item (``../../collection/items/id``) become URLs, too, and are stored as they were.
    """

    roots: tuple[str, ...] = ()
    """Spellings of one root: absolute paths or ``s3://`` URIs, no slash at the end; the first is written."""

    @classmethod
    def of_store(cls, uri: str) -> StoreAddresses:
        """Make the addresses of a store; a local folder is known by its real path as well.

        Args:
            uri: As ``Storage.uri`` spells it.
        """
        spellings = [uri] if "://" in uri else [uri, str(Path(uri).resolve())]
        return cls(tuple(dict.fromkeys(spellings)))

    def to_web(self, document: Document, base_url: str) -> Document:
        """Return a stored document with the hrefs of served files and of sibling items as URLs.

        Args:
            document: Item or collection as stored.
            base_url: Address of the API as the client sees it, with a slash at the end.
        """
        served: Document = self._map(document, lambda href: self._serve(href, base_url))
        return served

    def from_web(self, document: Document, base_url: str) -> Document:
        """Return a document that a client sent with its URLs of served files as they are stored.

        What was read and is written back unchanged is then stored unchanged. A FeatureCollection is taken
        item by item; whatever is malformed is left for whoever stores it to refuse.
        """
        stored: Document = self._map(document, lambda href: self._store(href, base_url))
        return stored

    def _map(self, document: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 (not checked yet)
        if not isinstance(document, dict):
            return document
        mapped = dict(document)
        if isinstance(document.get("features"), list):
            mapped["features"] = [self._map(each, change) for each in document["features"]]
        if isinstance(document.get("assets"), dict):
            mapped["assets"] = {key: _with_href(each, change) for key, each in document["assets"].items()}
        if isinstance(document.get("links"), list):
            mapped["links"] = [_with_href(each, change) for each in document["links"]]
        return mapped

    def _serve(self, href: str, base_url: str) -> str:
        for root in self.roots:
            path = href.removeprefix(f"{root}/")
            if path != href and _may_name(path):
                return f"{base_url}{FILES}/{quote(path)}"
        sibling = SIBLING_HREF.fullmatch(href)
        return href if sibling is None else f"{base_url}collections/{sibling[1]}/items/{sibling[2]}"

    def _store(self, href: str, base_url: str) -> str:
        path = href.removeprefix(f"{base_url}{FILES}/")
        if path != href and _may_name(unquote(path)):
            return f"{self.roots[0]}/{unquote(path)}" if self.roots else href
        sibling = href.removeprefix(f"{base_url}collections/")
        return f"../../{sibling}" if sibling != href and _SIBLING_PATH.fullmatch(sibling) else href


NO_STORE = StoreAddresses()
"""Leaves the hrefs of files as they are."""


def _may_name(path: str) -> bool:
    """Say whether an href may be translated: a file that is served, or a Zarr group, which is a folder."""
    return is_served(path.rstrip("/"))


def _with_href(entry: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 (not checked yet)
    if not isinstance(entry, dict) or not isinstance(entry.get("href"), str):
        return entry
    return {**entry, "href": change(entry["href"])}
