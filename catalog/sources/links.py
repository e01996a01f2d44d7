"""Read the links of STAC documents, tolerant of what others write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def links_of(document: Mapping[str, Any], *rels: str) -> list[dict[str, Any]]:
    """List the well-formed links with any of these relations, in the document's order."""
    links = document.get("links")
    return [
        link
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict) and link.get("rel") in rels and isinstance(link.get("href"), str)
    ]


def self_url(document: Mapping[str, Any]) -> str | None:
    """Return the absolute address a document gives itself, if it gives one."""
    return next((link["href"] for link in links_of(document, "self") if "://" in link["href"]), None)
