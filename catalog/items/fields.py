"""Spell what items of every collection say in one way: envelope, links, software, moments, projections."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from pyproj import CRS

from catalog.footprints import Footprint
from catalog.items.assets import to_number
from catalog.items.collections import MLM, PROCESSING, STAC_VERSION
from catalog.records import Grid

_EXTENSIONS = {
    "proj:": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster:": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "eo:": "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "sar:": "https://stac-extensions.github.io/sar/v1.3.0/schema.json",
    "sat:": "https://stac-extensions.github.io/sat/v1.2.0/schema.json",
    "view:": "https://stac-extensions.github.io/view/v1.1.0/schema.json",
    "cube:": "https://stac-extensions.github.io/datacube/v2.3.0/schema.json",
    "file:": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "processing:": PROCESSING,
    "mlm:": MLM,
    "table:": "https://stac-extensions.github.io/table/v1.2.0/schema.json",
    "classification:": "https://stac-extensions.github.io/classification/v1.1.0/schema.json",
    "version": "https://stac-extensions.github.io/version/v1.2.0/schema.json",
    "renders": "https://stac-extensions.github.io/render/v2.0.0/schema.json",
}
"""Field prefix → the extension that defines it."""

_MONTHS = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)  # not the locale's
_AUTHORITY = re.compile(r"[A-Za-z0-9_]+:[A-Za-z0-9_.-]+")


def build_item(
    item_id: str,
    collection: str,
    footprint: Footprint,
    *,
    properties: dict[str, Any],
    assets: dict[str, dict[str, Any]],
    links: list[dict[str, Any]],
) -> dict[str, Any]:
    """Put a STAC 1.1 Item together; its extensions are those whose fields it has.

    Args:
        item_id: The product's.
        collection: Id of the collection that it is published into.
        footprint: Where its data lie.
        properties: Times, figures, and all else.
        assets: Key → asset.
        links: To its collection, and to what it was made from.
    """
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": item_id,
        "collection": collection,
        "geometry": footprint.geometry,
        "bbox": list(footprint.bbox),
        "properties": properties,
        "assets": assets,
        "links": links,
    }
    return item | {"stac_extensions": used_extensions(item)}


def list_links(
    collection: str, own: Iterable[dict[str, Any]], execution_href: str | None
) -> list[dict[str, Any]]:
    """List an item's links: to its collection, its own, and to the run that made it where that is told."""
    # Core STAC wants the first wherever there is a "collection"; relative, it holds below any API's root.
    links = [{"rel": "collection", "href": f"../../{collection}", "type": "application/json"}, *own]
    if execution_href:
        links.append({"rel": "processing-execution", "href": execution_href, "title": "Run"})
    return links


def derived_link(collection: str, item_id: str, title: str) -> dict[str, str]:
    """Lead to another item of the catalogue that a product was made from."""
    href = f"../../{collection}/items/{quote(item_id)}"
    return {"rel": "derived_from", "href": href, "type": "application/geo+json", "title": title}


def software_fields(software: Mapping[str, str]) -> dict[str, Any]:
    """State the packages that wrote a product and this project's version; nothing of what is not known."""
    fields: dict[str, Any] = {}
    if software:
        fields["processing:software"] = dict(sorted(software.items()))
    if "terraloom" in software:
        fields["processing:version"] = software["terraloom"]
    return fields


def to_rfc3339(instant: dt.datetime) -> str:
    """Spell an instant in UTC with ``Z``; fractions of a second only when there are any."""
    utc = instant.astimezone(dt.UTC)
    return utc.isoformat(timespec="microseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")


def spell_day(day: dt.date) -> str:
    """Spell a day for readers, e.g. ``18 Mar 2020``."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def projection_fields(grid: Grid) -> dict[str, Any]:
    """Describe a pixel grid by the projection extension; a CRS without a code is spelled out."""
    named = bool(_AUTHORITY.fullmatch(grid.crs))
    left, bottom, right, top = grid_bounds(grid)
    crs: dict[str, Any] = {"proj:code": grid.crs}
    if not named:
        parsed = CRS.from_user_input(grid.crs)
        crs = {"proj:code": None, "proj:wkt2": parsed.to_wkt(), "proj:projjson": parsed.to_json_dict()}
    return crs | {
        "proj:shape": list(grid.shape_yx),
        "proj:transform": [to_number(value) for value in grid.transform],
        "proj:bbox": [to_number(value) for value in (left, bottom, right, top)],
    }


def grid_bounds(grid: Grid) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a grid in its CRS: the outer pixel edges."""
    a, b, c, d, e, f = grid.transform
    rows, cols = grid.shape_yx
    xs = [c, c + a * cols, c + b * rows, c + a * cols + b * rows]
    ys = [f, f + d * cols, f + e * rows, f + d * cols + e * rows]
    return min(xs), min(ys), max(xs), max(ys)


def spell_reference_system(crs: str) -> str | int:
    """Spell a CRS as the datacube extension does: the EPSG code where there is one, else WKT 2."""
    authority, _, code = crs.partition(":")
    if authority == "EPSG" and code.isdigit():
        return int(code)
    return str(CRS.from_user_input(crs).to_wkt())


def used_extensions(item: dict[str, Any]) -> list[str]:
    """List the extensions whose fields the item really has."""
    fields = set(_field_names([item["properties"], *item["assets"].values()]))
    return [url for prefix, url in _EXTENSIONS.items() if any(name.startswith(prefix) for name in fields)]


def _field_names(entries: Iterable[dict[str, Any]]) -> Iterable[str]:
    for entry in entries:
        yield from entry
        for band in entry.get("bands", ()):
            yield from band
